//! The supervisor of `make up` where there is no systemd: it brings back a controller that a job's panic has ended.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use supalove_failpoints::DIRECTORY;
use supalove_proto::v1::ListJobsRequest;
use supalove_system_tests::{Controller, Options, SLACK, root, wait_for};

use crate::panics::{BACK, arm};

/// A supervisord of the test's own. It is no child of the test, so it is told to shut down.
struct Supervisor(PathBuf);

impl Drop for Supervisor {
    fn drop(&mut self) {
        let control = |act: &str| {
            let configuration = self.0.join("supervisord.conf");
            Command::new("supervisorctl").arg("--configuration").arg(configuration).arg(act).output()
        };
        let _ = control("shutdown");
        let until = Instant::now() + Duration::from_secs(20);
        while self.0.join("supervisord.pid").exists() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("controller.log")).unwrap_or_default()
}

#[tokio::test]
async fn the_supervisor_brings_back_a_controller_that_a_job_ended_by_its_panic() {
    let points = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = root().join("controller/tests/failpoints/supervised.sh");
    // supervisord gives its programs an environment of their own.
    let under = [
        script.display().to_string(),
        folder.path().display().to_string(),
        "/usr/bin/env".to_owned(),
        format!("{DIRECTORY}={}", points.path().display()),
    ];
    let supervisor = Supervisor(folder.path().to_owned());
    let options = Options { under: under.to_vec(), ..Options::default() };
    let controller = Controller::start_with(options).await;
    let api = controller.operator().await;
    let replica = async || {
        let mut now = controller.api();
        now.use_token(&api.token);
        let answer = now.platform().list_jobs(ListJobsRequest {}).await.ok()?.into_inner();
        Some(answer.answering_replica.unwrap().controller_id)
    };
    let before = replica().await.unwrap();

    arm(points.path(), "controller.jobs.sealed");
    // It is audited, and the row is sealed.
    api.create_organization("audited").await;
    let limit = Duration::from_secs(10) * SLACK;
    wait_for("the panic", limit, async || log(folder.path()).contains("job panicked").then_some(())).await;
    let panicked = Instant::now();
    let after = wait_for("the controller to be back", limit, async || {
        replica().await.filter(|replica| *replica != before)
    })
    .await;
    let took = panicked.elapsed();
    let log = log(folder.path());
    assert!(log.contains("core.seal_audit"), "{log}");
    assert_eq!(log.matches("job panicked").count(), 1, "it ended once, and {after} goes on: {log}");
    assert!(took < BACK * SLACK, "back after {took:?}");
    println!("back under supervisord {took:?} after the panic");
    drop(supervisor);
}
