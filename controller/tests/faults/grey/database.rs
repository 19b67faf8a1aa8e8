//! Faults of the control database. Each fleet has a database whose faults do not meet the others.

use std::time::{Duration, Instant};

use supalove_proto::v1::ProjectState;
use supalove_system_tests::{Postgres, SLACK, TcpProxy, wait_for};

use super::{
    TOLD, lasts,
    scene::{Act, SMALL, Scene, start_of},
    table::{Cell, Met},
};

/// Longer than a job waits for an answer.
const SHORT: Duration = Duration::from_secs(8);

const SILENT: Option<&str> = Some("the control database does not answer");

/// One fault. `begin` and `end` are what a test does to the database.
struct Fault<B, E> {
    name: &'static str,
    /// What `/healthz` says until the end; `None` if the controller mends it itself, so that the fault has no end.
    says: Option<&'static str>,
    begin: B,
    end: E,
}

/// A project that nothing is done to, with its container.
struct Steady {
    container: String,
    project_ref: String,
}

impl Steady {
    async fn new(scene: &Scene) -> Self {
        let project_ref = scene.api.create_healthy("steady", SMALL).await.r#ref;
        Self { container: start_of(&project_ref), project_ref }
    }

    /// How many of its containers were started again.
    fn restarts(&self) -> usize {
        usize::from(start_of(&self.project_ref) != self.container)
    }
}

impl<B: AsyncFnOnce(), E: AsyncFnOnce()> Fault<B, E> {
    async fn meets(self, scene: &Scene, steady: &Steady, act: Act) -> (Cell, String) {
        let Self { name, says, begin, end } = self;
        let began = Instant::now();
        begin().await;
        let mut told = None;
        if let Some(says) = says {
            let asked = tokio::spawn({
                let act = act.clone();
                async move { act.ask().await }
            });
            scene.told(says, TOLD * SLACK).await;
            told = Some(began.elapsed());
            tokio::time::sleep(lasts(SHORT).saturating_sub(began.elapsed())).await;
            scene.told(says, TOLD).await;
            assert_eq!(steady.restarts(), 0, "{name}: a container was started again");
            end().await;
            asked.await.unwrap();
        }
        let ended = Instant::now();
        let since = scene.rows.now().await;
        scene.reads_newer_than(since).await;
        let asked = act.is_done().await;
        scene.is_true_again(name, since, &[]).await;
        let true_again = ended.elapsed();
        let cell = Cell { fault: name, met: Met::Database, told, true_again, restarts: steady.restarts() };
        println!("{name}, database: {cell}");
        assert_eq!(cell.restarts, 0, "{name}: a container was started again");
        (cell, asked.project)
    }
}

/// Frozen, slow, refusing.
pub async fn behind_a_cable(server: &Postgres) -> Vec<Cell> {
    let cable = TcpProxy::to(&server.address).await;
    let url = server.url.replace(&server.address, &cable.address);
    let mut scene = Scene::set(url, Some((&cable.address, &server.address))).await;
    scene.join_straight().await;
    let steady = Steady::new(&scene).await;
    let fault = Fault {
        name: "frozen",
        says: SILENT,
        begin: async || cable.set_frozen(true),
        end: async || cable.set_frozen(false),
    };
    let (frozen, changed) = fault.meets(&scene, &steady, Act::create(&scene, "changed")).await;
    let fault = Fault {
        name: "slow 2 s",
        says: SILENT,
        // In each direction.
        begin: async || cable.set_delay(Duration::from_secs(1)),
        end: async || cable.set_delay(Duration::ZERO),
    };
    let (slow, _) = fault.meets(&scene, &steady, Act::stop(&scene, &changed)).await;
    let fault = Fault {
        name: "refusing",
        says: SILENT,
        begin: async || {
            cable.set_refusing(true);
            cable.reset();
        },
        end: async || cable.set_refusing(false),
    };
    let (refusing, _) = fault.meets(&scene, &steady, Act::start(&scene, &changed)).await;
    vec![frozen, slow, refusing]
}

/// Read-only, disk full.
pub async fn on_a_small_disk() -> Vec<Cell> {
    let server = Postgres::on_small_disk("64m").await;
    let mut scene = Scene::set(server.url.clone(), None).await;
    scene.join_straight().await;
    let steady = Steady::new(&scene).await;

    let fault = Fault {
        name: "read-only",
        says: Some("the control database is read-only"),
        begin: async || server.set_read_only(true).await,
        end: async || server.set_read_only(false).await,
    };
    let (read_only, changed) = fault.meets(&scene, &steady, Act::create(&scene, "changed")).await;
    let fault = Fault {
        name: "disk full",
        says: Some("the disk of the control database is full"),
        begin: async || server.fill_disk(),
        end: async || server.free_disk(),
    };
    let (disk_full, _) = fault.meets(&scene, &steady, Act::delete(&scene, &changed)).await;
    vec![read_only, disk_full]
}

/// Failed over silently, restored.
pub async fn with_a_standby() -> Vec<Cell> {
    let primary = Postgres::start();
    let standby = primary.standby();
    let cable = TcpProxy::to(&primary.address).await;
    let server = primary.url.replace(&primary.address, &cable.address);
    let mut scene = Scene::set(server, Some((&cable.address, &primary.address))).await;
    scene.join_straight().await;
    let steady = Steady::new(&scene).await;

    // The old server goes on, and answers what only reads.
    cable.set_frozen(true);
    standby.catch_up(&primary).await;
    primary.set_read_only(true).await;
    standby.promote();
    scene.rows_move_to(&cable.address, &standby.address).await;
    let fault = Fault {
        name: "failed over silently",
        says: None,
        begin: async || {
            cable.lead_to(&standby.address);
            cable.set_frozen(false);
        },
        end: async || unreachable!(),
    };
    let (left_behind, changed) = fault.meets(&scene, &steady, Act::create(&scene, "changed")).await;
    drop(primary);

    // Statements are on their way to a server that says nothing any more.
    let fault = Fault {
        name: "failed over silently",
        says: None,
        begin: async || {
            cable.set_frozen(true);
            tokio::time::sleep(Duration::from_secs(4)).await;
            cable.fail_over_silently();
        },
        end: async || unreachable!(),
    };
    let (swallowed, _) = fault.meets(&scene, &steady, Act::stop(&scene, &changed)).await;
    let failed_over = if left_behind.true_again > swallowed.true_again { left_behind } else { swallowed };

    vec![failed_over, restored(&scene, &steady, &standby, &changed).await]
}

const RESTORED: &str = "restored to an earlier time";

/// Somebody puts an earlier state in the place of the database, while the controller runs.
async fn restored(scene: &Scene, steady: &Steady, server: &Postgres, stopped: &str) -> Cell {
    let gone = scene.api.create_healthy("gone", SMALL).await.r#ref;
    server.back_up();
    // What the database forgets: a start, a create, a delete.
    Act::start(scene, stopped).is_done().await;
    let unknown = Act::create(scene, "unknown").is_done().await.project;
    Act::delete(scene, &gone).is_done().await;
    tokio::time::sleep(lasts(Duration::from_secs(6))).await;
    let unknown_start = start_of(&unknown);

    let began = Instant::now();
    server.restore();
    scene.told("the control database does not answer", TOLD * SLACK).await;
    let told = began.elapsed();
    server.run_again();
    let ended = Instant::now();
    let since = scene.rows.now().await;
    let shown = scene.api.wait_state(&gone, ProjectState::ActiveUnhealthy, super::TRUE_AGAIN * SLACK).await;
    assert!(shown.state_reason.contains("removed it after the backup"), "{shown:?}");
    Act::delete(scene, &gone).is_done().await;
    scene.is_true_again(RESTORED, since, &[&unknown]).await;
    let true_again = ended.elapsed();
    // Stopped in the backup, running on the node: the database is right about what is wanted.
    assert_eq!(scene.api.project(stopped).await.state(), ProjectState::Inactive);
    // The next inventory finds it.
    wait_for("the node to show what the database does not know", super::TRUE_AGAIN * SLACK, async || {
        let found = scene.api.nodes().await.remove(0).unexplained_projects;
        found.contains(&unknown).then_some(())
    })
    .await;
    assert_eq!(start_of(&unknown), unknown_start, "it runs on");
    let confirmed = scene.api.confirm_restores().await;
    assert!(confirmed.len() == 1 && !confirmed[0].is_empty(), "{confirmed:?}");
    let cell = Cell {
        fault: RESTORED,
        met: Met::Database,
        told: Some(told),
        true_again,
        restarts: steady.restarts(),
    };
    println!("{RESTORED}, database: {cell}");
    assert_eq!(cell.restarts, 0, "a container was started again");
    cell
}
