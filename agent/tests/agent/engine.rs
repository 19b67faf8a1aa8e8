//! A Docker Engine that falls silent, goes away or hangs in one kind of call must not take the session with the controller
//! along, nor a project; and the node says what is wrong.

use std::time::{Duration, Instant};

use crate::support::docker::{container, docker, id};
use crate::support::engine_proxy::EngineProxy;
use crate::support::spec::{gateway, stack};
use crate::support::{Fleet, Session};
use supalove_agent::config::Times;
use supalove_proto::node::v1::{InventoryRequest, RemoveStackRequest, StackPhase, WatchStateRequest};
use tonic::Code;

const ONE: &str = "hangaaaaaaaaaaaaaaaa";
const CHECK: Duration = Duration::from_millis(100);
const SILENT: Duration = Duration::from_millis(500);
/// A silent engine is told within 10 s; here within half a second, and the machine may be slow.
const TOLD: u64 = 15;
/// Everything converges within so long afterwards.
const BACK: u64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_without_an_engine_is_unavailable_in_time_and_the_session_stays() {
    let mut fleet = Fleet::start(5).await;
    let socket = fleet.state.path().join("engine.sock");
    let engine = EngineProxy::start(&socket);
    fleet.run_agent_with(&["--docker-host", &format!("unix://{}", socket.display())]);
    let mut session = fleet.session().await;
    let mut client = session.client.clone();
    let call = || session.call(InventoryRequest::default());
    client.inventory(call()).await.unwrap();

    engine.set_silent(true);
    let asked = Instant::now();
    let silent = client.inventory(call()).await.unwrap_err();
    assert_eq!(silent.code(), Code::Unavailable, "{silent}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(silent.message().contains("Docker Engine"), "{silent}");
    engine.set_silent(false);
    client.inventory(call()).await.unwrap();

    engine.end().await;
    let asked = Instant::now();
    let gone = client.inventory(call()).await.unwrap_err();
    assert_eq!(gone.code(), Code::Unavailable, "{gone}");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    let watch = session.call(WatchStateRequest {});
    session.client.watch_state(watch).await.expect("the session goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_hangs_in_one_kind_of_call_is_told_and_takes_nothing_along() {
    let mut fleet = Fleet::start(10).await;
    let socket = fleet.state.path().join("engine.sock");
    let engine = EngineProxy::start(&socket);
    let times = Times {
        engine_check: CHECK,
        engine_silent: SILENT,
        truth: Duration::from_millis(300),
        ..Times::DEFAULT
    };
    let stop = fleet.run_agent_here_with(
        &times,
        &["--volume-quota", "measure", "--docker-host", &format!("unix://{}", socket.display())],
    );
    let mut session = fleet.session().await;
    session.wait_conditions(TOLD, &[]).await;

    // Each hangs in its turn while the project comes up.
    engine.hold("POST", &["/networks/create"]);
    session.client.apply_stack(session.call(stack(&fleet, ONE, 0, 1, vec![gateway()]))).await.unwrap();
    for next in [Some("/containers/create"), Some("/start"), None] {
        hangs_and_is_told(&engine, &mut session).await;
        match next {
            Some(part) => engine.hold("POST", &[part]),
            None => engine.release(),
        }
    }
    session.wait_for(ONE, 1, StackPhase::Healthy, BACK).await;
    session.wait_conditions(BACK, &[]).await;
    let started = id(ONE, "gateway");

    // Without lists nobody knows what runs: the project cannot be called healthy.
    engine.hold("GET", &["/containers/json"]);
    let said = session.wait_conditions(TOLD, &["ENGINE_SILENT"]).await;
    assert!(said.contains("systemctl restart docker"), "{said}");
    let seen = session.wait_for(ONE, 1, StackPhase::Unhealthy, TOLD).await;
    assert_eq!(seen.error.unwrap().reason, "ENGINE_SILENT");
    let status = String::from_utf8(fleet.agent("status", &[]).stdout).unwrap();
    assert!(status.contains("condition   ENGINE_SILENT since"), "{status}");
    engine.release();
    session.wait_for(ONE, 1, StackPhase::Healthy, BACK).await;
    session.wait_conditions(BACK, &[]).await;

    // The agent looks at each container now and then, and sets its limits right.
    let part = format!("/{}/json", started.split(' ').next().unwrap());
    engine.hold("GET", &[&part]);
    hangs_and_is_told(&engine, &mut session).await;
    engine.release();
    session.wait_conditions(BACK, &[]).await;
    limits_are_kept();
    engine.hold("POST", &["/update"]);
    docker(&["update", "--pids-limit", "1000", &container(ONE, "gateway")]);
    hangs_and_is_told(&engine, &mut session).await;
    engine.release();
    session.wait_conditions(BACK, &[]).await;
    assert_eq!(id(ONE, "gateway"), started, "the same container, never started again");

    engine.hold("POST", &["/stop"]);
    let removal = RemoveStackRequest { project_ref: ONE.into(), generation: 2, delete_volumes: true };
    session.client.remove_stack(session.call(removal)).await.unwrap();
    // Networks and volumes go at once.
    for next in [&["/containers/"][..], &["/networks/", "/volumes/"], &["/volumes/"]] {
        hangs_and_is_told(&engine, &mut session).await;
        engine.hold("DELETE", next);
    }
    hangs_and_is_told(&engine, &mut session).await;
    engine.release();
    session.wait_for(ONE, 2, StackPhase::Removed, BACK).await;
    session.wait_conditions(BACK, &[]).await;
    stop.cancel();
}

/// A call hangs; that is told, and the session goes on.
async fn hangs_and_is_told(engine: &EngineProxy, session: &mut Session) {
    engine.until_held().await;
    // What is told then is not left from a call before.
    tokio::time::sleep(SILENT + 2 * CHECK).await;
    let said = session.wait_conditions(TOLD, &["ENGINE_SLOW"]).await;
    assert!(said.contains("unanswered"), "{said}");
    session.assert_alive().await;
}

/// Somebody changes what a container may use, behind the agent's back.
fn limits_are_kept() {
    let name = container(ONE, "gateway");
    let held = || {
        let format = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} \
             {{.HostConfig.RestartPolicy.Name}}";
        docker(&["inspect", "--format", format, &name])
    };
    let right = held();
    let changes = ["--memory=64m", "--memory-swap=64m", "--cpus=0.1", "--pids-limit=7", "--restart=always"];
    docker(&[&["update"][..], &changes, &[&name]].concat());
    assert_ne!(held(), right);
    let until = Instant::now() + Duration::from_secs(TOLD);
    while held() != right {
        assert!(Instant::now() < until, "limits stay {} in place of {right}", held());
        std::thread::sleep(Duration::from_millis(100));
    }
}
