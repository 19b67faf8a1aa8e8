//! Logs of a project on a real engine: every line, exactly those that were asked for, new ones as they come, across restarts, for
//! slow readers, and when the node goes away.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use supalove_proto::v1::{
    LogLine, LogNoteKind, LogOutput, LogPosition, RestartProjectRequest, StopProjectRequest, TailLogsRequest,
    TailLogsResponse, tail_logs_response::Item,
};
use supalove_system_tests::{Api, CORE, Fleet, Options, SLACK, Tenant, docker, wait_for};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::database::internal_password;

const SERVICES: [&str; 3] = ["functions", "gateway", "postgres"];
/// For a line to come from a container to the reader.
const SOON: Duration = Duration::from_secs(3);
/// Growth of a program that a slow reader may cause, in MiB. What is written meanwhile is several times more.
const BOUND_MIB: u64 = 24;

fn request(tenant: &Tenant) -> TailLogsRequest {
    TailLogsRequest { project_ref: tenant.project_ref.clone(), ..TailLogsRequest::default() }
}

async fn open(api: &Api, request: TailLogsRequest) -> Result<Streaming<TailLogsResponse>, Status> {
    Ok(api.projects().tail_logs(request).await?.into_inner())
}

/// The lines of a tail that ends.
async fn all(api: &Api, request: TailLogsRequest) -> Result<Vec<LogLine>, Status> {
    let mut stream = open(api, request).await?;
    let mut lines = Vec::new();
    while let Some(message) = stream.message().await? {
        if let Some(Item::Line(line)) = message.item {
            lines.push(line);
        }
    }
    Ok(lines)
}

/// Reads until an item is wanted; it must come in time.
async fn next<T>(
    stream: &mut Streaming<TailLogsResponse>,
    limit: Duration,
    mut wanted: impl FnMut(&Item) -> Option<T>,
) -> T {
    let found = async {
        loop {
            let message = stream.message().await.unwrap().expect("the tail goes on");
            if let Some(found) = message.item.as_ref().and_then(&mut wanted) {
                return found;
            }
        }
    };
    tokio::time::timeout(limit * SLACK, found).await.expect("it comes in time")
}

fn is_line(item: &Item, text: &str) -> Option<()> {
    matches!(item, Item::Line(line) if line.text.contains(text)).then_some(())
}

/// What the engine has of a service, oldest first: time and text.
fn of_engine(tenant: &Tenant, service: &str) -> Vec<(String, String)> {
    let name = format!("supalove_{}_{service}", tenant.project_ref);
    // Both outputs, as the engine's own program shows them.
    let both = format!("exec docker logs --timestamps {name} 2>&1");
    let shown = std::process::Command::new("sh").args(["-c", &both]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let line = |line: &str| {
        let (time, text) = line.split_once(' ').unwrap_or((line, ""));
        (time.to_owned(), text.trim_end_matches('\r').to_owned())
    };
    let mut lines: Vec<_> = shown.lines().map(line).collect();
    lines.sort();
    lines
}

fn stamp(line: &LogLine) -> String {
    let time = line.time.unwrap();
    let time = chrono::DateTime::from_timestamp(time.seconds, time.nanos.unsigned_abs()).unwrap();
    time.format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string()
}

fn positions(lines: &[LogLine]) -> Vec<LogPosition> {
    let mut seen: BTreeMap<(String, i32), LogPosition> = BTreeMap::new();
    for line in lines {
        let entry = seen.entry((line.service.clone(), line.output));
        let position = entry.or_insert_with(|| LogPosition {
            service: line.service.clone(),
            output: line.output,
            time: line.time,
            lines: 0,
        });
        position.lines = if position.time == line.time { position.lines + 1 } else { 1 };
        position.time = line.time;
    }
    seen.into_values().collect()
}

/// Makes the database write a line, so many times.
async fn write_lines(tenant: &Tenant, text: &str, times: usize) {
    let (client, connection) =
        tokio_postgres::connect(&tenant.db_url, tokio_postgres::NoTls).await.expect("the database is up");
    tokio::spawn(connection);
    let loops = format!("DO $$ BEGIN FOR i IN 1..{times} LOOP RAISE LOG '{text} %', i; END LOOP; END $$");
    client.batch_execute(&loops).await.unwrap();
}

fn memory_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_arrives_once_as_it_was_asked_for_and_none_has_a_secret() {
    let fleet = Fleet::start(Options::default()).await;
    let api = &fleet.api;
    let tenant = fleet.project("first", CORE).await;
    tenant.gateway.get("/functions/v1/hello", &[("apikey", &tenant.anon_key)]);
    write_lines(&tenant, "marker", 30).await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    // Exactly what the engine has, of every service, in the order of times.
    let asked = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string();
    let lines = all(api, TailLogsRequest { tail: Some(10_000), ..request(&tenant) }).await.unwrap();
    let times: Vec<String> = lines.iter().map(stamp).collect();
    assert!(times.is_sorted(), "past lines of all services are in the order of their times");
    let mut raw = String::new();
    for service in SERVICES {
        let of_service = lines.iter().filter(|line| line.service == service);
        let mut told: Vec<_> = of_service.map(|line| (stamp(line), line.text.clone())).collect();
        told.sort();
        let engine = of_engine(&tenant, service);
        let unique: BTreeSet<_> = told.iter().cloned().collect();
        assert_eq!(unique.len(), told.len(), "{service}: a line came twice");
        let stamps: BTreeSet<&String> = unique.iter().map(|(time, _)| time).collect();
        // The engine was asked later: beyond what was told it has only newer lines.
        let missing: Vec<_> =
            engine.iter().filter(|(time, _)| *time < asked && !stamps.contains(time)).collect();
        assert!(missing.is_empty(), "{service} misses {missing:#?}");
        let foreign = |line: &&(String, String)| !engine.contains(line) && !line.1.contains("[redacted]");
        let foreign: Vec<_> = unique.iter().filter(foreign).collect();
        assert!(foreign.is_empty(), "{service}: the engine does not have {foreign:#?}");
        raw.extend(engine.into_iter().map(|(_, text)| text + "\n"));
    }
    let printing: BTreeSet<&str> = lines.iter().map(|line| line.service.as_str()).collect();
    assert!(printing.contains("postgres") && printing.len() >= 2, "{printing:?}");

    // What the stack prints itself has none of its secrets.
    for service in SERVICES {
        let name = format!("supalove_{}_{service}", tenant.project_ref);
        let format = "{{range .Config.Env}}{{println .}}{{end}}";
        let environment = docker(None, &["inspect", "--format", format, &name]);
        for (name, value) in environment.lines().filter_map(|line| line.split_once('=')) {
            let named = ["PASS", "SECRET", "KEY", "TOKEN"].iter().any(|word| name.contains(word));
            assert!(!named || value.len() < 12 || !raw.contains(value), "{service} prints {name}");
        }
    }
    for secret in [&tenant.service_role_key, &tenant.anon_key] {
        assert!(!raw.contains(secret.as_str()), "a key is printed");
    }

    // A password of the platform that a service prints does not reach the reader.
    let password = internal_password(&tenant);
    write_lines(&tenant, &format!("leak {password}"), 1).await;
    let newest = TailLogsRequest { services: vec!["postgres".into()], tail: Some(50), ..request(&tenant) };
    let told = wait_for("the line", SOON * SLACK, async || {
        let lines = all(api, newest.clone()).await.unwrap();
        lines.iter().any(|line| line.text.contains("leak ") && line.text.contains(" 1")).then_some(lines)
    })
    .await;
    assert!(told.iter().any(|line| line.text.contains("leak [redacted] 1")), "{told:#?}");
    assert!(told.iter().all(|line| !line.text.contains(&password)), "the password is shown");
    let printed = format!("leak {password} 1");
    assert!(of_engine(&tenant, "postgres").iter().any(|(_, text)| text.contains(&printed)));

    // The last lines, and those from a time on.
    let of_postgres = TailLogsRequest { services: vec!["postgres".into()], ..request(&tenant) };
    let everything = all(api, TailLogsRequest { tail: Some(10_000), ..of_postgres.clone() }).await.unwrap();
    let last = all(api, TailLogsRequest { tail: Some(7), ..of_postgres.clone() }).await.unwrap();
    assert_eq!(last.as_slice(), &everything[everything.len() - 7..]);
    assert_eq!(last[0].output(), LogOutput::Stderr, "the database logs to standard error");
    let from = &everything[everything.len() - 20];
    let since = TailLogsRequest { since: from.time, tail: Some(10_000), ..of_postgres.clone() };
    let expected: Vec<_> = everything.iter().filter(|line| stamp(line) >= stamp(from)).cloned().collect();
    assert_eq!(all(api, since).await.unwrap(), expected);
    let none = TailLogsRequest { tail: Some(0), ..of_postgres.clone() };
    assert_eq!(all(api, none).await.unwrap(), []);
    // A caller who comes back gets what came after, and nothing twice.
    let (seen, rest) = everything.split_at(everything.len() / 2);
    let again = TailLogsRequest { tail: Some(10_000), after: positions(seen), ..of_postgres.clone() };
    assert_eq!(all(api, again).await.unwrap(), rest);

    for (wrong, field) in [
        (TailLogsRequest { services: vec!["sshd".into()], ..request(&tenant) }, "services[0]"),
        (TailLogsRequest { tail: Some(10_001), ..request(&tenant) }, "tail"),
    ] {
        let status = open(api, wrong).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, field);
    }

    // A stopped project has no containers.
    let stop = StopProjectRequest { project_ref: tenant.project_ref.clone(), ..Default::default() };
    let operation = api.projects().stop_project(stop).await.unwrap().into_inner().operation.unwrap();
    api.wait(&operation.id).await;
    let status = all(api, request(&tenant)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "NO_LOGS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sees_new_lines_across_restarts_and_is_told_when_the_node_goes() {
    let mut fleet = Fleet::start(Options::default()).await;
    let tenant = fleet.project("first", CORE).await;
    let api = fleet.api.clone();
    let follow = TailLogsRequest {
        services: vec!["postgres".into()],
        tail: Some(0),
        follow: true,
        ..request(&tenant)
    };
    let mut stream = open(&api, follow.clone()).await.unwrap();
    // The stream begins before anybody knows.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut lines: Vec<LogLine> = Vec::new();
    let mut notes = Vec::new();
    let mut keep = |item: &Item| match item {
        Item::Line(line) => lines.push(line.clone()),
        Item::Note(note) => notes.push(note.kind()),
        Item::KeepAlive(_) => {}
    };
    write_lines(&tenant, "before", 1).await;
    next(&mut stream, SOON, |item| {
        keep(item);
        is_line(item, "before 1")
    })
    .await;

    // The container ends and the agent starts it again; then all containers are made anew.
    docker(None, &["kill", &format!("supalove_{}_postgres", tenant.project_ref)]);
    next(&mut stream, Duration::from_mins(1), |item| {
        keep(item);
        is_line(item, "database system is ready")
    })
    .await;
    api.wait_state(
        &tenant.project_ref,
        supalove_proto::v1::ProjectState::ActiveHealthy,
        Duration::from_mins(2),
    )
    .await;
    write_lines(&tenant, "between", 1).await;
    next(&mut stream, SOON, |item| {
        keep(item);
        is_line(item, "between 1")
    })
    .await;
    let restart = RestartProjectRequest { project_ref: tenant.project_ref.clone(), ..Default::default() };
    let operation = api.projects().restart_project(restart).await.unwrap().into_inner().operation.unwrap();
    api.wait(&operation.id).await;
    write_lines(&tenant, "after", 1).await;
    next(&mut stream, SOON, |item| {
        keep(item);
        is_line(item, "after 1")
    })
    .await;
    let mut shown = BTreeSet::new();
    for line in &lines {
        assert!(shown.insert((stamp(line), line.text.clone(), line.output)), "twice: {line:?}");
    }
    assert!(notes.contains(&LogNoteKind::Ended), "{notes:?}");
    assert!(notes.contains(&LogNoteKind::Replaced), "{notes:?}");
    assert!(!notes.contains(&LogNoteKind::LinesLost), "{notes:?}");

    // The agent dies: the caller is told, a new call too, and nothing hangs.
    fleet.agent.process.kill();
    let told = async {
        loop {
            if let Err(status) = stream.message().await {
                return status;
            }
        }
    };
    let status = tokio::time::timeout(Duration::from_secs(10) * SLACK, told).await.expect("it is told");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let status = open(&api, follow.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    // It comes back: the caller goes on where it was.
    write_lines(&tenant, "meanwhile", 3).await;
    fleet.agent.restart();
    let resumed = TailLogsRequest { tail: Some(10_000), after: positions(&lines), ..follow };
    let mut stream =
        wait_for("the node", Duration::from_mins(1) * SLACK, async || open(&api, resumed.clone()).await.ok())
            .await;
    for expected in ["meanwhile 1", "meanwhile 2", "meanwhile 3"] {
        next(&mut stream, Duration::from_secs(10), |item| {
            if let Item::Line(line) = item {
                assert!(shown.insert((stamp(line), line.text.clone(), line.output)), "twice: {line:?}");
            }
            is_line(item, expected)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_costs_no_memory_and_holds_nobody_up() {
    let fleet = Fleet::start(Options::default()).await;
    let tenant = fleet.project("first", CORE).await;
    let api = &fleet.api;
    let follow = TailLogsRequest {
        services: vec!["postgres".into()],
        tail: Some(0),
        follow: true,
        ..request(&tenant)
    };
    let mut slow = open(api, follow.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pids = [fleet.agent.process.id(), fleet.controller.process.id()];
    let before = pids.map(memory_mib);
    // About 40 MiB with what the database says about each line; the engine keeps 30.
    let padding = "x".repeat(900);
    write_lines(&tenant, &format!("flood {padding}"), 20_000).await;
    // What is read behind the engine comes later: the most of some seconds.
    let mut after = pids.map(memory_mib);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = pids.map(memory_mib);
        after = [after[0].max(now[0]), after[1].max(now[1])];
    }
    for (before, after) in before.into_iter().zip(after) {
        assert!(after < before + BOUND_MIB, "{before} MiB became {after} MiB");
    }
    // Another reader is not held up.
    let other = TailLogsRequest { services: vec!["postgres".into()], tail: Some(5), ..request(&tenant) };
    let lines = tokio::time::timeout(SOON * SLACK, all(api, other)).await.expect("at once").unwrap();
    assert_eq!(lines.len(), 5);
    // The slow one gets the flood from its beginning, in order.
    for number in 1..=1000 {
        next(&mut slow, SOON, |item| is_line(item, &format!("flood {padding} {number}"))).await;
    }
}
