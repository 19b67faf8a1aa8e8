//! How fast the batches of a node are taken: each one rewrites the counters of its node. A backlog of days comes without haste, but at
//! once; a node that goes on like that is taken over, and waits.

use std::time::Duration;

use tokio::time::Instant;

/// Batches that come one after the other: more than a full spool has (64 MiB, 128 KiB each).
const BURST: f64 = 600.0;
/// Batches per second over a longer time. An agent makes one in a minute.
const RATE: f64 = 0.1;
/// Shortest time between two.
const LEAST: Duration = Duration::from_millis(100);

/// The pace of one node.
#[derive(Debug)]
pub struct Pace {
    left: f64,
    at: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { left: BURST, at: Instant::now() }
    }
}

impl Pace {
    /// A batch was taken; returns how long to wait before the next one.
    pub fn spend(&mut self) -> Duration {
        let now = Instant::now();
        let earned = now.duration_since(self.at).as_secs_f64() * RATE;
        self.at = now;
        self.left = (self.left + earned).min(BURST) - 1.0;
        if self.left >= 0.0 { LEAST } else { Duration::from_secs_f64(-self.left / RATE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn takes(pace: &mut Pace, batches: u32) -> Duration {
        let began = Instant::now();
        for _ in 0..batches {
            tokio::time::sleep(pace.spend()).await;
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_spool_is_taken_in_a_minute_and_what_never_ends_slowly() {
        let mut pace = Pace::default();
        let spool = takes(&mut pace, 512).await;
        assert!(spool < Duration::from_mins(1), "{spool:?}");
        takes(&mut pace, 120).await;
        let more = takes(&mut pace, 60).await;
        assert!(more > Duration::from_mins(9) && more < Duration::from_mins(11), "{more:?}");
        // A batch each minute never waits.
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_mins(1)).await;
            assert!(pace.spend() <= Duration::from_secs(10));
        }
        assert_eq!(pace.spend(), LEAST);
    }
}
