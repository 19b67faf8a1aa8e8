//! The end of a test: rows, memory and nodes say the same.

use std::time::{Duration, Instant};

use supalove_proto::v1::{CheckConsistencyRequest, CheckConsistencyResponse};

use super::{Api, SLACK};

/// What a test has begun is done, at the latest.
const SETTLED: Duration = Duration::from_secs(20);

impl Api {
    /// Compares once.
    pub async fn check_consistency(&self) -> CheckConsistencyResponse {
        self.platform().check_consistency(CheckConsistencyRequest {}).await.unwrap().into_inner()
    }

    /// Waits until nothing differs and so many nodes have been compared. What a test has begun may have to end first.
    pub async fn assert_consistent(&self, nodes: u32) {
        let until = Instant::now() + SETTLED * SLACK;
        loop {
            let found = self.check_consistency().await;
            if found.differences.is_empty() && found.nodes == nodes {
                return;
            }
            assert!(Instant::now() < until, "the platform is not consistent: {found:#?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
