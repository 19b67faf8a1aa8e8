//! Faults between the controller and its agents, and between agents and their engine: each on a node of its own, all at once.

use std::time::{Duration, Instant};

use futures::future::join_all;
use supalove_proto::v1::{GetProjectRequest, ListNodesRequest, Node, NodeState, Project, ProjectState};
use supalove_system_tests::{AgentOptions, Postgres, SLACK, TcpProxy, Way};

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
/// Between two looks at a node.
const LOOK: Duration = Duration::from_millis(400);
/// Memory of a node, in MiB: half as much again is given out, so that it has room for two projects.
const MEMORY: &str = "24";

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

pub async fn all_at_once(server: &Postgres) -> Vec<Cell> {
    let mut scene = Scene::set(server.url.clone(), None).await;
    scene.nodes_share_an_engine = true;
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
    let (cable, address, engine_cable) = if met == Met::AgentLink {
        let cable = TcpProxy::to(&straight).await;
        let address = cable.address.clone();
        (cable, address, None)
    } else {
        let cable = TcpProxy::to_engine().await;
        let engine = format!("tcp://{}", cable.address);
        (cable, straight, Some(engine))
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
            tokio::time::sleep(LOOK).await;
            let Some(seen) = look(scene, struck).await else { continue };
            assert!(seen.is_well(), "{name}, {met:?}: {seen:?}");
        }
        None
    } else {
        told(scene, struck).await;
        let told = began.elapsed();
        assert!(told > Duration::from_secs(5), "{name}, {met:?}: a blip is no silence");
        tokio::time::sleep(lasts(Duration::ZERO).saturating_sub(began.elapsed())).await;
        act.is_accepted().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Some(seen) = look(scene, struck).await {
            assert_eq!(
                seen.stopped,
                ProjectState::Pausing,
                "{name}, {met:?}: nobody can know that it has stopped"
            );
        }
        Some(told)
    };
    scene.is_healthy(TOLD * SLACK).await;
    assert_eq!(start_of(steady), container, "{name}, {met:?}: a container was started again");

    fault.end(cable);
    let ended = Instant::now();
    act.is_done().await;
    until("the node to be as before", TRUE_AGAIN, scene, struck, |seen| {
        seen.is_well() && seen.stopped == ProjectState::Inactive
    })
    .await;
    let true_again = ended.elapsed();
    let restarts = usize::from(start_of(steady) != container);
    let cell = Cell { fault: name, met: *met, told, true_again, restarts };
    println!("{name}, {met:?}: {cell}");
    assert_eq!(restarts, 0, "{name}, {met:?}: a container was started again");
    cell
}

/// What the API says of a node and its projects.
#[derive(Debug)]
struct Seen {
    node: Node,
    steady: Project,
    stopped: ProjectState,
}

impl Seen {
    fn is_well(&self) -> bool {
        let ready = self.node.state() == NodeState::Ready && self.node.conditions.is_empty();
        ready && self.steady.state() == ProjectState::ActiveHealthy
    }
}

/// `None` if the controller is too busy to say.
async fn look(scene: &Scene, struck: &Struck) -> Option<Seen> {
    let nodes = scene.api.clusters().list_nodes(ListNodesRequest::default()).await.ok()?.into_inner().nodes;
    let node = nodes.into_iter().find(|node| node.name == struck.node).unwrap();
    let project = async |project_ref: &str| {
        let request = GetProjectRequest { project_ref: project_ref.to_owned() };
        scene.api.projects().get_project(request).await.ok()?.into_inner().project
    };
    let (steady, stopped) = (project(&struck.steady).await?, project(&struck.stopped).await?);
    Some(Seen { node, steady, stopped: stopped.state() })
}

/// Looks until it is so. Slowly, because there are eight who look.
async fn until(what: &str, limit: Duration, scene: &Scene, struck: &Struck, is_so: impl Fn(&Seen) -> bool) {
    let began = Instant::now();
    loop {
        let seen = look(scene, struck).await;
        if seen.as_ref().is_some_and(&is_so) {
            return;
        }
        let Struck { fault, met, .. } = struck;
        assert!(began.elapsed() < limit * SLACK, "{}, {met:?}: waited for {what}: {seen:#?}", fault.name());
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until the node and its project say what is wrong.
async fn told(scene: &Scene, struck: &Struck) {
    let (limit, reason, why) = match struck.met {
        Met::Engine => (TOLD, "ENGINE_SILENT", "the Docker Engine does not answer"),
        _ => (SILENCE_TOLD, "", "has been silent since"),
    };
    until(&format!("node and project to say {why:?}"), limit, scene, struck, |seen| {
        let conditions = &seen.node.conditions;
        let shown = reason.is_empty() || conditions.iter().any(|one| one.blocking && one.reason == reason);
        let unhealthy = seen.steady.state() == ProjectState::ActiveUnhealthy;
        shown
            && seen.node.state() == NodeState::Unhealthy
            && unhealthy
            && seen.steady.state_reason.contains(why)
    })
    .await;
}
