//! What a real agent counts, against the counters of the containers' control groups: over outages, restarts, and a wall clock that
//! jumps. Each is the truth of the kernel, read by the test just before a container ends.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use supalove_proto::v1::{GetProjectUsageRequest, RestartProjectRequest};
use supalove_system_tests::{
    Agent, AgentOptions, CORE, Clock, Controller, Options, Rows, SLACK, docker, families, free_port,
    on_dashboard, scrape, wait_for,
};

const SOON: Duration = Duration::from_secs(10);
/// Interval of the agent's samples; a record has four.
const SAMPLE_MS: u64 = 250;

/// Containers of a project that run: id and first process.
fn running(project_ref: &str) -> Vec<(String, String)> {
    let filter = format!("label=supalove.project={project_ref}");
    let ids = docker(None, &["ps", "--quiet", "--no-trunc", "--filter", &filter]);
    let inspect = |id: &str| docker(None, &["inspect", "--format", "{{.State.Pid}}", id]);
    ids.lines().map(|id| (id.to_owned(), inspect(id))).collect()
}

/// File with the processor time of the control group of a process.
fn counter(process: &str) -> PathBuf {
    let groups = std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
    let root = PathBuf::from("/sys/fs/cgroup");
    let of = |word: &str| {
        groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|one| one == word).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    match of("cpuacct") {
        Some(path) => root.join("cpuacct").join(path).join("cpuacct.usage"),
        None => root.join(of("").unwrap()).join("cpu.stat"),
    }
}

/// What it says, in microseconds; none if the control group is gone.
fn cpu_us(counter: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(counter).ok()?;
    if let Some(line) = text.lines().find_map(|line| line.strip_prefix("usage_usec ")) {
        return line.parse().ok();
    }
    Some(text.trim().parse::<u64>().ok()? / 1000)
}

/// What the kernel has counted, by run of a container.
#[derive(Default)]
struct Truth(BTreeMap<(String, String), (PathBuf, u64)>);

impl Truth {
    /// Reads the counters of the containers that run, and of those that ran.
    fn read(&mut self, project_ref: &str) -> u64 {
        for (id, process) in running(project_ref) {
            let counter = counter(&process);
            self.0.entry((id, process)).or_insert((counter, 0));
        }
        self.look()
    }

    /// The same of those that are known.
    fn look(&mut self) -> u64 {
        for (counter, counted) in self.0.values_mut() {
            *counted = cpu_us(counter).unwrap_or_default().max(*counted);
        }
        self.0.values().map(|(_, counted)| counted).sum()
    }
}

/// Uses a second or so of a processor in the project's database.
fn work(project_ref: &str) {
    let container = format!("supalove_{project_ref}_postgres");
    let loops = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    docker(None, &["exec", &container, "sh", "-c", loops]);
}

/// Waits for the samples of the moment before, so that nothing is used unseen when a container ends.
async fn quiet() {
    tokio::time::sleep(Duration::from_millis(SAMPLE_MS * 3)).await;
}

/// The wall clock of a record in the agent's spool, in milliseconds since 1970.
#[derive(Clone, PartialEq, prost::Message)]
struct Spooled {
    #[prost(uint64, tag = "4")]
    wall_ms: u64,
}

/// The same of the newest record.
fn newest_spooled(agent: &Agent) -> Option<u64> {
    let spool = std::fs::read_dir(agent.state.path().join("usage")).unwrap();
    let files = spool.map(|file| file.unwrap().path());
    let newest = files.filter(|file| file.extension().is_some_and(|end| end == "records")).max()?;
    let bytes = std::fs::read(newest).unwrap();
    let mut left = bytes.as_slice();
    let mut found = None;
    // Each record is its length, four bytes of its hash, and its content.
    while let Some((length, rest)) = left.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap();
        let Some(content) = rest.get(4..4 + length) else { break };
        found = Some(<Spooled as prost::Message>::decode(content).unwrap().wall_ms);
        left = &rest[4 + length..];
    }
    found
}

/// Waits until the agent makes records at a time so many hours from now. Nobody takes them meanwhile.
async fn until_clock_jumped(agent: &Agent, hours: i64) {
    wait_for(&format!("records that are {hours} h away"), SOON * SLACK, async || {
        let wanted = chrono::Utc::now().timestamp_millis() + hours * 3_600_000;
        let found = i64::try_from(newest_spooled(agent)?).unwrap();
        ((found - wanted).abs() < 60_000).then_some(())
    })
    .await;
}

/// Waits until the controller has counted as much as the kernel, within 2 %.
async fn assert_counted(rows: &Rows, project_ref: &str, truth: &mut Truth, after: &str) {
    let mut shown = (0, 0);
    let until = std::time::Instant::now() + SOON * SLACK;
    loop {
        let kernel = truth.read(project_ref);
        let (counted, _, _) = rows.used(project_ref, "MINUTE").await;
        let counted = u64::try_from(counted).unwrap();
        shown = (counted, kernel.max(shown.1));
        assert!(counted <= kernel * 102 / 100, "after {after}: {counted} µs counted, {kernel} used");
        if counted >= kernel * 98 / 100 {
            break;
        }
        assert!(std::time::Instant::now() < until, "after {after}: {} µs counted, {} used", shown.0, shown.1);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("after {after}: {} µs counted, {} used", shown.0, shown.1);
}

/// The agent's port of metrics shows what the dashboard wants, and names no project.
async fn assert_metrics(port: u16) {
    let shown = scrape(port).await.unwrap();
    for line in ["supalove_agent_session_connected 1", "supalove_agent_projects{phase=\"HEALTHY\"} 1"] {
        assert!(shown.lines().any(|known| known == line), "{line}:\n{shown}");
    }
    let known = families(&shown);
    let wanted = on_dashboard();
    let missing: Vec<&String> =
        wanted.iter().filter(|name| name.starts_with("supalove_agent_") && !known.contains(*name)).collect();
    assert!(missing.is_empty() && !shown.contains("metered"), "{missing:?}:\n{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_is_what_the_kernel_counted_whatever_fails_meanwhile() {
    let arguments = vec!["--usage-roll-up=1".to_owned()];
    let mut controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.operator().await;
    let clock = Clock::start();
    let metrics = free_port();
    let options = AgentOptions {
        under: clock.under(),
        arguments: vec![
            "--usage-sample".into(),
            SAMPLE_MS.to_string(),
            format!("--metrics-listen={metrics}"),
        ],
        ..AgentOptions::default()
    };
    let mut agent = Agent::start_with(&controller, &api.join_token().await, options);
    api.wait_ready_nodes(1).await;
    let rows = controller.database.rows().await;
    let project = api.create_healthy("metered", CORE).await.r#ref;
    assert_metrics(metrics).await;
    let mut truth = Truth::default();
    work(&project);
    assert_counted(&rows, &project, &mut truth, "the start").await;

    // Nobody takes the records for a while: they are on disk, and come later, some of them twice.
    controller.process.kill();
    work(&project);
    quiet().await;
    agent.process.kill();
    work(&project);
    agent.restart();
    work(&project);
    quiet().await;
    controller.restart().await;
    assert_counted(&rows, &project, &mut truth, "an outage of the controller and a kill of the agent").await;

    // Other containers take the place of these: what these used stays.
    quiet().await;
    truth.read(&project);
    let request = RestartProjectRequest { project_ref: project.clone(), ..Default::default() };
    let restarted = api.projects().restart_project(request).await.unwrap().into_inner();
    let operation = restarted.operation.unwrap().id;
    let restarting = api.wait(&operation);
    let mut restarting = std::pin::pin!(restarting);
    // Until their end.
    while tokio::time::timeout(Duration::from_millis(20), &mut restarting).await.is_err() {
        truth.look();
    }
    work(&project);
    assert_counted(&rows, &project, &mut truth, "a restart of the project").await;

    // The wall clock of the host jumps while records wait, forwards and backwards,
    controller.process.kill();
    work(&project);
    for hours in [30, -30] {
        clock.jump(hours);
        until_clock_jumped(&agent, hours).await;
        work(&project);
        quiet().await;
    }
    // and again before they are sent: to another time than the controller's, but one at which certificates are valid.
    clock.jump(1);
    controller.restart().await;
    assert_counted(&rows, &project, &mut truth, "jumps of the clock while nobody listened").await;
    for hours in [30, -30] {
        clock.jump(hours);
        work(&project);
        assert_counted(&rows, &project, &mut truth, &format!("a jump by {hours} h in a session")).await;
    }
    clock.jump_minutes(-30);
    controller.process.kill();
    work(&project);
    quiet().await;
    controller.restart().await;
    assert_counted(&rows, &project, &mut truth, "a clock that is half an hour late").await;
    let listed = api
        .usage()
        .get_project_usage_series(supalove_proto::v1::GetProjectUsageSeriesRequest {
            project_ref: project.clone(),
            step: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert!(listed.points.len() <= 2, "nothing lies in hours that have not been");

    // The volumes, too; and sums are what the minutes are.
    wait_for("measured volumes", SOON * SLACK, async || {
        let request = GetProjectUsageRequest { project_ref: project.clone() };
        let shown = api.usage().get_project_usage(request).await.unwrap().into_inner().usage.unwrap();
        shown.volumes.filter(|volumes| volumes.database_bytes > 1024 * 1024)
    })
    .await;
    wait_for("the sums of the same moment", SOON * SLACK, async || {
        let minutes = rows.used(&project, "MINUTE").await;
        let same =
            minutes == rows.used(&project, "HOUR").await && minutes == rows.used(&project, "DAY").await;
        same.then_some(())
    })
    .await;
    let (_, received, _) = rows.used(&project, "DAY").await;
    assert!(received > 0, "probes come over the network");
    api.assert_consistent(1).await;
}
