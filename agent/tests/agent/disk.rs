//! A tenant that fills its disk is told, stopped, and let back in, and its neighbour does not notice.
#![allow(clippy::disallowed_methods, reason = "tests spawn their peers bare")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::docker::{container, docker, try_docker};
use crate::support::spec::{PASSWORD, newer_postgres, stack};
use crate::support::{Fleet, Session};
use supalove_agent::config::Times;
use supalove_proto::node::v1::{ApplyStackRequest, ObservedStack, StackPhase, VolumeKind};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// Projects that fill their disk, and the neighbour of the second one.
const MEASURED: &str = "diskaaaaaaaaaaaaaaaa";
const LOOPED: &str = "diskcccccccccccccccc";
const NEIGHBOUR: &str = "diskdddddddddddddddd";
/// MiB; a new database has about 80.
const SIZE: u32 = 320;
/// Pause after each MiB, so that the agent sees a disk that is full before one that is far too full.
const PACE: Duration = Duration::from_millis(100);
const UP: u64 = 90;
const SOON: u64 = 60;

fn request(fleet: &Fleet, project: &str, slot: u32, generation: u64, size: u32) -> ApplyStackRequest {
    let mut request = stack(fleet, project, slot, generation, vec![newer_postgres()]);
    let volumes = &mut request.spec.as_mut().unwrap().volumes;
    volumes[0].kind = VolumeKind::Data.into();
    volumes[0].size_mib = size;
    request
}

/// The tenant's own connection.
async fn tenant(fleet: &Fleet, slot: u16) -> tokio_postgres::Client {
    try_tenant(fleet, slot).await.unwrap()
}

async fn try_tenant(fleet: &Fleet, slot: u16) -> Option<tokio_postgres::Client> {
    let port = fleet.port_base + 8 * slot + 1;
    let config = format!("host=127.0.0.1 port={port} user=postgres password={PASSWORD} dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

/// Asks until it is told to stop; returns how long each answer took.
fn ask_on(client: tokio_postgres::Client, end: Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<Duration>> {
    tokio::spawn(async move {
        let mut took = Vec::new();
        while !end.load(Ordering::Relaxed) {
            let began = Instant::now();
            client.simple_query("insert into asked values (1); select count(*) from asked").await.unwrap();
            took.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        took
    })
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

async fn told(session: &mut Session, project: &str, generation: u64, reason: &str) -> ObservedStack {
    session
        .wait_until(SOON, &format!("{reason} of generation {generation}"), |stack| {
            let same = stack.project_ref == project && stack.generation == generation;
            same && stack.error.as_ref().is_some_and(|error| error.reason == reason)
        })
        .await
}

/// Writes 1 MiB at a time until it is refused; returns the refusal.
async fn write_on(client: &tokio_postgres::Client) -> String {
    for _ in 0..2 * SIZE {
        if let Err(error) = client.simple_query("insert into big values (repeat('x', 1048576))").await {
            return error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
        }
        tokio::time::sleep(PACE).await;
    }
    "it was never refused".to_owned()
}

async fn a_full_disk(number: u8, quota: &str, greedy_ref: &str, neighbour_ref: Option<&str>) {
    let mut fleet = Fleet::start(number).await;
    let times = Times {
        disk_check: Duration::from_millis(1500),
        database_setting: Duration::from_secs(1),
        disk_check_least: Duration::from_millis(200),
        ..Times::DEFAULT
    };
    let stop = fleet.run_agent_here_with(&times, &["--volume-quota", quota]);
    let mut session = fleet.session().await;
    let session = &mut session;
    let all = [Some((greedy_ref, 0, SIZE)), neighbour_ref.map(|project| (project, 1, 1024))];
    for (project, slot, size) in all.into_iter().flatten() {
        let request = request(&fleet, project, slot, 1, size);
        session.client.apply_stack(session.call(request)).await.unwrap();
    }
    for (project, ..) in all.into_iter().flatten() {
        session.wait_for(project, 1, StackPhase::Healthy, UP).await;
    }
    let volume = format!("supalove_{greedy_ref}_db_data");
    let folder = fleet.state.path().join("volumes").join(volume);
    assert_eq!(folder.join("disk.img").exists(), quota == "loop");
    let end = Arc::new(AtomicBool::new(false));
    let during = if neighbour_ref.is_some() {
        let asked = tenant(&fleet, 1).await;
        asked.simple_query("create table asked (x int)").await.unwrap();
        Some(ask_on(asked, end.clone()))
    } else {
        None
    };

    // It fills its disk, and is refused.
    let greedy = tenant(&fleet, 0).await;
    greedy
        .simple_query("create table big (x text); alter table big alter x set storage external")
        .await
        .unwrap();
    let refused = write_on(&greedy).await;
    assert!(refused.contains("read-only transaction"), "{refused}");
    let full = told(session, greedy_ref, 1, "DISK_FULL").await;
    assert_eq!(full.phase(), StackPhase::Unhealthy);
    let message = full.error.unwrap().message;
    assert!(
        message.contains(&format!("of {SIZE}")) && message.contains("set transaction read write"),
        "{message}"
    );
    let usage = full.volumes.iter().find(|volume| volume.name == "db_data").unwrap();
    assert!(usage.used_mib >= SIZE.into() && usage.limit_mib == u64::from(SIZE), "{usage:?}");

    // A start empties the file that says so in this image; it is said again.
    docker(&["restart", &container(greedy_ref, "postgres")]);
    let greedy = refused_again(&fleet).await;

    // It writes on regardless, and is stopped; its data stays.
    // A statement of its own: the transaction that it is in has begun as read-only.
    greedy.simple_query("set default_transaction_read_only = off").await.unwrap();
    write_on(&greedy).await;
    let over = told(session, greedy_ref, 1, "DISK_LIMIT").await;
    assert!(over.error.unwrap().message.contains("the data is kept"));
    let stopped = || {
        docker(&["inspect", "--format", "{{.State.Running}}", &container(greedy_ref, "postgres")]) == "false"
    };
    let until = Instant::now() + Duration::from_secs(SOON);
    while !stopped() {
        assert!(Instant::now() < until, "it runs on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let used = docker_du(&folder);
    assert!(used <= u64::from(SIZE) * 9 / 5, "{used} MiB");
    end.store(true, Ordering::Relaxed);
    if let Some(during) = during {
        println!("{quota}: p99 of the neighbour's queries {:?}", p99(during.await.unwrap()));
    }

    // Started again it may delete, and then all is well.
    let again = request(&fleet, greedy_ref, 0, 2, SIZE);
    session.client.apply_stack(session.call(again)).await.unwrap();
    told(session, greedy_ref, 2, "DISK_FULL").await;
    // That is known before the database is up.
    let until = Instant::now() + Duration::from_secs(UP);
    let greedy = loop {
        if let Some(client) = try_tenant(&fleet, 0).await {
            break client;
        }
        assert!(Instant::now() < until, "its database does not come up");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    // Read-only again, as soon as its start is noticed.
    while greedy.simple_query("create table more (x int); drop table more").await.is_ok() {
        assert!(Instant::now() < until, "it is still full");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    greedy.batch_execute("begin; set transaction read write; drop table big; commit").await.unwrap();
    greedy.batch_execute("checkpoint").await.ok();
    told_fine(session, greedy_ref).await;
    tenant(&fleet, 0).await.simple_query("create table more (x int)").await.unwrap();
    if let Some(neighbour_ref) = neighbour_ref {
        let all = session.snapshot().await;
        let neighbour = all.into_iter().find(|stack| stack.project_ref == neighbour_ref).unwrap();
        assert_eq!((neighbour.phase(), neighbour.services[0].restarts), (StackPhase::Healthy, 0));
        assert!(try_docker(&["inspect", &container(neighbour_ref, "postgres")]).status.success());
    }
    stop.cancel();
}

/// Asks until a restarted database answers, and refuses to write; returns the connection. Its stop may have removed so much
/// WAL that it is no longer full: then it is filled again.
async fn refused_again(fleet: &Fleet) -> tokio_postgres::Client {
    let until = Instant::now() + Duration::from_secs(SOON);
    let is_not_full = Instant::now() + Duration::from_secs(SOON / 4);
    loop {
        if let Some(client) = try_tenant(fleet, 0).await
            && let Ok(rows) = client.simple_query("show default_transaction_read_only").await
        {
            let is = |row: &SimpleQueryMessage| matches!(row, SimpleQueryMessage::Row(row) if row.get(0) == Some("on"));
            if rows.iter().any(is) {
                return client;
            }
            if Instant::now() > is_not_full {
                write_on(&client).await;
            }
        }
        assert!(Instant::now() < until, "a full database that was started again lets its tenant write");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn told_fine(session: &mut Session, project: &str) {
    session
        .wait_until(SOON, "the disk to have room again", |stack| {
            let used =
                stack.volumes.iter().find(|volume| volume.name == "db_data").map(|volume| volume.used_mib);
            let room = used.is_some_and(|used| used < u64::from(SIZE) * 95 / 100);
            stack.project_ref == project && stack.phase() == StackPhase::Healthy && room
        })
        .await;
}

fn docker_du(folder: &Path) -> u64 {
    let output = std::process::Command::new("du").args(["-sm"]).arg(folder.join("fs/data")).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_fills_a_measured_disk_is_stopped_and_comes_back() {
    a_full_disk(11, "measure", MEASURED, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_fills_a_disk_of_its_own_is_stopped_and_comes_back() {
    a_full_disk(12, "loop", LOOPED, Some(NEIGHBOUR)).await;
}
