//! Faults between the controller and its agents, and between agents and their engine: each on a node of its own, all at once.

use std::time::{Duration, Instant};

use futures::future::join_all;
use supalove_proto::v1::{Node, NodeState, ProjectState};
use supalove_system_tests::{AgentOptions, SLACK, TcpProxy, Way, wait_for};

use super::{
    TOLD, TRUE_AGAIN, lasts,
    scene::{Act, SMALL, Scene, start_of},
    table::{Cell, Met},
};

/// A node is unhealthy after this silence (`silent_after` of the controller's times), and it takes two writes and a look to
/// know of it.
const SILENCE_TOLD: Duration = Duration::from_secs(20 + 5 + 1);
/// How long a slow cable has to change nothing: longer than an engine may be silent.
const SLOW: Duration = Duration::from_secs(12);
/// Memory of a node, in MiB: for two projects.
const MEMORY: &str = "40";

#[derive(Clone, Copy)]
enum Fault {
    Frozen,
    Slow,
    Cut,
    HalfOpen,
}

impl Fault {
    const ALL: [Self; 4] = [Self::Frozen, Self::Slow, Self::Cut, Self::HalfOpen];

    fn name(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::Slow => "slow 2 s",
            Self::Cut => "cut",
            Self::HalfOpen => "half-open",
        }
    }

    fn begin(self, cable: &TcpProxy, met: Met) {
        match (self, met) {
            (Self::Frozen, _) => cable.set_frozen(true),
            // In each direction.
            (Self::Slow, _) => cable.set_delay(Duration::from_secs(1)),
            (Self::Cut, _) => cable.set_cut(true),
            // What is asked arrives, and no answer comes back. The agent dials, but the controller asks.
            (Self::HalfOpen, Met::AgentLink) => cable.set_half_open(Some(Way::There)),
            (Self::HalfOpen, _) => {
                // Established connections are closed on one side.
                cable.half_close();
                cable.set_half_open(Some(Way::Back));
            }
        }
    }

    fn end(self, cable: &TcpProxy) {
        match self {
            Self::Frozen => cable.set_frozen(false),
            Self::Slow => cable.set_delay(Duration::ZERO),
            Self::Cut => cable.set_cut(false),
            Self::HalfOpen => cable.set_half_open(None),
        }
    }
}

/// A node with its fault.
struct Struck {
    fault: Fault,
    met: Met,
    cable: TcpProxy,
    node: String,
    /// Nothing is done to this project; the other one is stopped during the fault.
    steady: String,
    stopped: String,
}

pub async fn all_at_once() -> Vec<Cell> {
    let server = std::env::var("SUPALOVE_TEST_DATABASE_URL").unwrap();
    let mut scene = Scene::set(server, None).await;
    let mut struck = Vec::new();
    for met in [Met::AgentLink, Met::Engine] {
        for fault in Fault::ALL {
            struck.push(join(&mut scene, fault, met).await);
        }
    }
    scene.api.wait_ready_nodes(struck.len()).await;
    fill(&scene, &mut struck).await;

    let cells = join_all(struck.iter().map(|struck| meet(&scene, struck))).await;
    let since = scene.rows.now().await;
    scene.is_true_again("all faults of nodes", since, &[]).await;
    cells
}

async fn join(scene: &mut Scene, fault: Fault, met: Met) -> Struck {
    let straight = scene.controller.node_address.clone();
    let (cable, address, engine_cable) = match met {
        Met::AgentLink => {
            let cable = TcpProxy::to(&straight).await;
            let address = cable.address.clone();
            (cable, address, None)
        }
        _ => {
            let cable = TcpProxy::to_engine().await;
            let engine = format!("tcp://{}", cable.address);
            (cable, straight, Some(engine))
        }
    };
    let arguments = ["--memory-mib", MEMORY].map(str::to_owned).to_vec();
    let options = AgentOptions { arguments, engine_cable, ..AgentOptions::default() };
    let node = scene.join(&address, options).await;
    Struck { fault, met, cable, node, steady: String::new(), stopped: String::new() }
}

/// Two projects on each node; there is no room for more.
async fn fill(scene: &Scene, struck: &mut [Struck]) {
    let names: Vec<String> = (0..2 * struck.len()).map(|number| format!("project-{number}")).collect();
    let projects = join_all(names.iter().map(|name| scene.api.create_healthy(name, SMALL))).await;
    for one in struck {
        let here = projects.iter().filter(|project| project.node_name == one.node);
        let here: Vec<String> = here.map(|project| project.r#ref.clone()).collect();
        let [steady, stopped] = here.try_into().expect("two projects on each node");
        one.steady = steady;
        one.stopped = stopped;
    }
}

/// The fault, from its beginning until the node is as it is said to be.
async fn meet(scene: &Scene, struck: &Struck) -> Cell {
    let Struck { fault, met, cable, steady, stopped, .. } = struck;
    let name = fault.name();
    let container = start_of(steady);
    let began = Instant::now();
    fault.begin(cable, *met);
    let act = Act::stop(scene, stopped);
    let told = if matches!(fault, Fault::Slow) {
        // Slower than it should be, but it works.
        act.is_done().await;
        while began.elapsed() < lasts(SLOW) {
            let node = node(scene, struck).await;
            assert_eq!(node.state(), NodeState::Ready, "{name}, {met:?}: {:?}", node.conditions);
            assert_eq!(
                scene.api.project(steady).await.state(),
                ProjectState::ActiveHealthy,
                "{name}, {met:?}"
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        None
    } else {
        told(scene, struck).await;
        let told = began.elapsed();
        tokio::time::sleep(lasts(Duration::ZERO).saturating_sub(began.elapsed())).await;
        act.ask().await.expect("the controller works");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let state = scene.api.project(stopped).await.state();
        assert_eq!(state, ProjectState::Pausing, "{name}, {met:?}: nobody can know that it has stopped");
        Some(told)
    };
    let (code, text) = scene.health().await.expect("an answer of /healthz");
    assert_eq!((code, text.as_str()), (200, "ok\n"), "{name}, {met:?}: the controller itself works");
    assert_eq!(start_of(steady), container, "{name}, {met:?}: a container was started again");

    fault.end(cable);
    let ended = Instant::now();
    act.is_done().await;
    wait_for("the node to be as before", TRUE_AGAIN * SLACK, async || {
        let node = node(scene, struck).await;
        let well = node.state() == NodeState::Ready && node.conditions.is_empty();
        let up = scene.api.project(steady).await.state() == ProjectState::ActiveHealthy;
        let down = scene.api.project(stopped).await.state() == ProjectState::Inactive;
        (well && up && down).then_some(())
    })
    .await;
    let true_again = ended.elapsed();
    let restarts = usize::from(start_of(steady) != container);
    let cell = Cell { fault: name, met: *met, told, true_again, restarts };
    println!("{name}, {met:?}: {cell}");
    assert_eq!(restarts, 0, "{name}, {met:?}: a container was started again");
    cell
}

async fn node(scene: &Scene, struck: &Struck) -> Node {
    scene.api.nodes().await.into_iter().find(|node| node.name == struck.node).unwrap()
}

/// Waits until the node and its project say what is wrong.
async fn told(scene: &Scene, struck: &Struck) {
    let Struck { fault, met, steady, .. } = struck;
    let (limit, reason, why) = match met {
        Met::Engine => (TOLD, "ENGINE_SILENT", "the Docker Engine does not answer"),
        _ => (SILENCE_TOLD, "", "has been silent since"),
    };
    let what = format!("{}, {met:?}: node and project to say {why:?}", fault.name());
    wait_for(&what, limit * SLACK, async || {
        let node = node(scene, struck).await;
        let shown =
            reason.is_empty() || node.conditions.iter().any(|one| one.blocking && one.reason == reason);
        if node.state() != NodeState::Unhealthy || !shown {
            return None;
        }
        let project = scene.api.project(steady).await;
        (project.state() == ProjectState::ActiveUnhealthy && project.state_reason.contains(why)).then_some(())
    })
    .await;
}
