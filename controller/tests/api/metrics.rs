//! The controller's port of metrics: what it shows, and what it does not.

use std::time::Duration;

use supalove_system_tests::{
    CORE, Controller, Double, Options, SLACK, families, free_port, on_dashboard, program, scrape, wait_for,
};

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_numbers_of_the_platform_and_name_no_tenant() {
    let port = free_port();
    let arguments = vec![format!("--metrics-listen={port}")];
    let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.operator().await;
    let _double = Double::join(&controller.node_address, &api.join_token().await, "metered").await;
    api.wait_ready_nodes(1).await;
    let project = api.create_healthy("very-own-name", CORE).await.r#ref;
    let shown = wait_for("jobs that have run", Duration::from_secs(10) * SLACK, async || {
        let shown = scrape(port).await?;
        let ran = |job: &str| {
            shown.contains(&format!("supalove_job_last_success_timestamp_seconds{{job=\"{job}\"}}"))
        };
        (ran("usage.roll_up") && ran("usage.limits")).then_some(shown)
    })
    .await;
    for line in [
        "supalove_nodes{state=\"ready\"} 1",
        "supalove_projects{state=\"active_healthy\"} 1",
        "supalove_connection_panics_total 0",
        "supalove_job_failing{job=\"usage.roll_up\"} 0",
        "supalove_build_info{version=",
    ] {
        assert!(shown.lines().any(|known| known.starts_with(line)), "{line}:\n{shown}");
    }
    for word in [project.as_str(), "very-own-name", "acme", "operator@example.com"] {
        assert!(!shown.contains(word), "{word}:\n{shown}");
    }
    assert!(shown.len() < 20_000, "{} bytes", shown.len());
    let known = families(&shown);
    let missing: Vec<String> = on_dashboard()
        .into_iter()
        .filter(|name| !name.starts_with("supalove_agent_") && !known.contains(name))
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "the dashboard shows what is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_is_refused_and_one_that_is_taken_ends_the_start() {
    let port = free_port();
    let arguments = vec![format!("--metrics-listen=127.0.0.1:{port}")];
    let mut controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    controller.process.kill();
    let taken = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let said = controller.refused_start();
    assert!(said.contains("metrics port") && said.contains(&port.to_string()), "{said}");
    drop(taken);
    controller.restart().await;
    assert!(scrape(port).await.is_some());

    let program = program("supalove-controller");
    let output =
        std::process::Command::new(program).args(["run", "--metrics-listen", "here:9100"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("must be a port"), "{said}");
}
