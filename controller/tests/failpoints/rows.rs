//! The rows of the test: which act, and the point at which a process dies in the middle of it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use super::acts::Act::{
    self, Configure, Create, Delete, Grow, Outgrow, Remove, Restart, Shrink, Start, Stop, Undelete, Upgrade,
};

/// Circumstances of the act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// Nothing: both run, there is room.
    Usual,
    /// The agent is dead, and is started after the act was asked for.
    AgentAway,
    /// There is no room on the node, and some is found after the act was asked for.
    NoRoom,
    /// The agent is dead, and the operation's time is up before it is started.
    TimeUp,
    /// The project has a real database.
    Database,
    /// The same, and the database dies in the middle of its first start.
    DatabaseDies,
    /// The data is kept for a second after the delete, then goes by itself.
    ShortWindow,
    /// An agent of before made the project's volumes: they lie in the engine's folders.
    OldVolumes,
    /// A volume that holds no data has lost its folder.
    LostCache,
}

/// One death.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// In the middle of this act.
    pub act: Act,
    /// See [`Scene`].
    pub scene: Scene,
    /// At this point.
    pub point: &'static str,
    /// When it is passed for this time.
    pub pass: u32,
}

/// Acts, scene, and points with the passes at which to die.
type Group = (Act, Scene, &'static [(&'static str, &'static [u32])]);

const ONCE: &[u32] = &[1];
const BOTH: &[u32] = &[1, 2];
const SECOND: &[u32] = &[2];

const GROUPS: &[Group] = &[
    (
        Create,
        Scene::Usual,
        &[
            ("controller.create.decided", ONCE),
            ("controller.create.committed", ONCE),
            ("controller.apply.asked", ONCE),
            ("controller.apply.answered", ONCE),
            ("controller.apply.noted", ONCE),
            ("controller.progress.written", BOTH),
            ("controller.progress.committed", BOTH),
            ("controller.report.received", BOTH),
            ("controller.report.project_written", ONCE),
            ("controller.report.operation_ended", ONCE),
            ("controller.report.written", ONCE),
            ("controller.report.committed", ONCE),
            ("controller.jobs.sealed", ONCE),
            ("agent.apply.received", ONCE),
            ("agent.state.synced", ONCE),
            ("agent.state.renamed", ONCE),
            ("agent.apply.stored", ONCE),
            ("agent.apply.begun", ONCE),
            ("agent.prepare.closed_in", ONCE),
            ("agent.prepare.images", ONCE),
            ("agent.prepare.outdated_gone", ONCE),
            ("agent.network.created", ONCE),
            ("agent.volume.known", BOTH),
            ("agent.volume.folder", ONCE),
            ("agent.volume.created", BOTH),
            ("agent.config.unfinished", BOTH),
            ("agent.config.renamed", BOTH),
            ("agent.container.created", BOTH),
            ("agent.prepare.created", ONCE),
            ("agent.prepare.done", ONCE),
            ("agent.service.starting", BOTH),
            ("agent.service.started", BOTH),
            ("agent.service.ready", BOTH),
            ("agent.report.sending", BOTH),
            ("agent.report.sent", BOTH),
        ],
    ),
    (
        Create,
        Scene::AgentAway,
        &[
            ("controller.session.numbered", ONCE),
            ("controller.session.greeted", ONCE),
            ("controller.session.inventory", ONCE),
            ("agent.session.greeted", ONCE),
            ("agent.session.inventory", ONCE),
        ],
    ),
    (Create, Scene::Database, &[("agent.first_start.marked", ONCE), ("agent.start_sql.running", ONCE)]),
    (Create, Scene::DatabaseDies, &[("agent.first_start.removed", ONCE), ("agent.first_start.remade", ONCE)]),
    (Create, Scene::NoRoom, &[("controller.place.committed", ONCE)]),
    (Create, Scene::TimeUp, &[("controller.jobs.expired", ONCE)]),
    (
        Stop,
        Scene::Usual,
        &[
            ("controller.act.desired_written", ONCE),
            ("controller.act.operation_written", ONCE),
            ("controller.act.written", ONCE),
            ("controller.act.committed", ONCE),
            ("controller.apply.asked", ONCE),
            ("controller.apply.answered", ONCE),
            ("controller.apply.noted", ONCE),
            ("controller.progress.written", ONCE),
            ("controller.report.compute_freed", ONCE),
            ("controller.report.operation_ended", ONCE),
            ("controller.report.committed", ONCE),
            ("agent.apply.received", ONCE),
            ("agent.state.synced", ONCE),
            ("agent.state.renamed", ONCE),
            ("agent.apply.stored", ONCE),
            ("agent.apply.begun", ONCE),
            ("agent.teardown.begun", ONCE),
            ("agent.service.stopped", BOTH),
            ("agent.container.removed", BOTH),
            ("agent.network.removed", ONCE),
            ("agent.stop.unruled", ONCE),
            ("agent.report.sending", ONCE),
        ],
    ),
    (
        Stop,
        Scene::AgentAway,
        &[
            ("agent.start.loaded", ONCE),
            ("agent.start.closed_in", ONCE),
            ("agent.start.resumed", ONCE),
            ("controller.session.inventory", ONCE),
        ],
    ),
    (
        Start,
        Scene::Usual,
        &[
            ("controller.act.compute_taken", ONCE),
            ("controller.act.written", ONCE),
            ("controller.act.committed", ONCE),
            ("controller.apply.answered", ONCE),
            ("controller.report.operation_ended", ONCE),
            ("agent.apply.stored", ONCE),
            ("agent.network.created", ONCE),
            ("agent.container.created", BOTH),
            ("agent.service.started", BOTH),
            ("agent.service.ready", BOTH),
        ],
    ),
    (
        Start,
        Scene::OldVolumes,
        &[("agent.volume.move_begun", ONCE), ("agent.volume.moved", BOTH), ("agent.volume.unbound", ONCE)],
    ),
    (Start, Scene::LostCache, &[("agent.volume.forgotten", ONCE)]),
    (
        Start,
        Scene::NoRoom,
        &[("controller.start.room_found", ONCE), ("controller.start.room_committed", ONCE)],
    ),
    (
        Restart,
        Scene::Usual,
        &[
            ("controller.act.written", ONCE),
            ("controller.act.committed", ONCE),
            ("controller.apply.answered", ONCE),
            ("controller.report.operation_ended", ONCE),
            ("agent.apply.stored", ONCE),
            ("agent.service.stopped", BOTH),
            ("agent.container.removed", BOTH),
            ("agent.prepare.outdated_gone", ONCE),
            ("agent.container.created", BOTH),
            ("agent.service.started", BOTH),
            ("agent.service.ready", SECOND),
        ],
    ),
    (
        Upgrade,
        Scene::Usual,
        &[
            ("controller.upgrade.written", ONCE),
            ("controller.upgrade.committed", ONCE),
            ("controller.report.operation_ended", ONCE),
            ("agent.apply.stored", ONCE),
            ("agent.prepare.outdated_gone", ONCE),
            ("agent.service.ready", ONCE),
        ],
    ),
    (Upgrade, Scene::TimeUp, &[("controller.upgrade.returned", ONCE)]),
    (
        Configure,
        Scene::Usual,
        &[
            ("controller.change.desired_written", ONCE),
            ("controller.change.inputs_written", ONCE),
            ("controller.change.written", ONCE),
            ("controller.change.committed", ONCE),
            ("controller.apply.asked", ONCE),
            ("controller.apply.answered", ONCE),
            ("controller.change.settled", ONCE),
            ("controller.report.operation_ended", ONCE),
            ("controller.report.written", ONCE),
            ("controller.report.committed", ONCE),
            ("agent.apply.stored", ONCE),
            ("agent.prepare.outdated_gone", ONCE),
            ("agent.container.created", ONCE),
            ("agent.service.started", ONCE),
            ("agent.service.ready", ONCE),
        ],
    ),
    (Configure, Scene::TimeUp, &[("controller.upgrade.returned", ONCE), ("controller.change.settled", ONCE)]),
    (
        Grow,
        Scene::Usual,
        &[
            ("controller.resize.room_taken", ONCE),
            ("controller.resize.written", ONCE),
            ("controller.resize.committed", ONCE),
            ("controller.apply.answered", ONCE),
            ("controller.change.settled", ONCE),
            ("controller.report.written", ONCE),
            ("controller.report.committed", ONCE),
            ("agent.apply.stored", ONCE),
            ("agent.service.stopped", ONCE),
            ("agent.container.created", ONCE),
            ("agent.service.started", ONCE),
            ("agent.service.ready", ONCE),
        ],
    ),
    (Outgrow, Scene::TimeUp, &[("controller.upgrade.returned", ONCE), ("controller.change.settled", ONCE)]),
    (
        Shrink,
        Scene::Usual,
        &[
            ("controller.resize.written", ONCE),
            ("controller.apply.asked", ONCE),
            ("controller.change.settled", ONCE),
            ("controller.report.committed", ONCE),
            ("agent.prepare.outdated_gone", ONCE),
            ("agent.prepare.created", ONCE),
        ],
    ),
    (
        Delete,
        Scene::Usual,
        &[
            ("controller.act.committed", ONCE),
            ("controller.apply.noted", ONCE),
            ("controller.report.compute_freed", ONCE),
            ("controller.report.committed", ONCE),
            ("agent.apply.stored", ONCE),
            ("agent.service.stopped", ONCE),
            ("agent.container.removed", SECOND),
            ("agent.network.removed", ONCE),
            ("agent.stop.unruled", ONCE),
        ],
    ),
    (
        Undelete,
        Scene::Usual,
        &[
            ("controller.act.compute_taken", ONCE),
            ("controller.act.committed", ONCE),
            ("controller.apply.asked", ONCE),
            ("controller.report.operation_ended", ONCE),
            ("agent.prepare.closed_in", ONCE),
            ("agent.container.created", ONCE),
            ("agent.service.started", ONCE),
        ],
    ),
    (
        Remove,
        Scene::Usual,
        &[
            ("controller.act.written", ONCE),
            ("controller.act.committed", ONCE),
            ("controller.apply.asked", ONCE),
            ("controller.apply.answered", ONCE),
            ("controller.apply.noted", ONCE),
            ("controller.removal.quota_freed", ONCE),
            ("controller.removal.node_freed", ONCE),
            ("controller.removal.placement_gone", ONCE),
            ("controller.removal.secrets_gone", ONCE),
            ("controller.report.operation_ended", ONCE),
            ("controller.report.committed", ONCE),
            ("agent.removal.received", ONCE),
            ("agent.state.synced", BOTH),
            ("agent.state.renamed", BOTH),
            ("agent.removal.stored", ONCE),
            ("agent.removal.begun", ONCE),
            ("agent.teardown.begun", ONCE),
            ("agent.service.stopped", BOTH),
            ("agent.container.removed", BOTH),
            ("agent.network.removed", ONCE),
            ("agent.volume.removed", BOTH),
            ("agent.removal.unruled", ONCE),
            ("agent.removal.files_gone", ONCE),
            ("agent.removal.buried", ONCE),
            ("agent.removal.forgotten", ONCE),
            ("agent.removal.done", ONCE),
            ("agent.report.sending", ONCE),
        ],
    ),
    (Remove, Scene::AgentAway, &[("agent.start.resumed", ONCE)]),
    (Remove, Scene::ShortWindow, &[("controller.jobs.purged", ONCE)]),
];

/// Environment variable that selects rows: the text with which their act and point begin.
const ONLY: &str = "SUPALOVE_FAILPOINT_ONLY";

/// The rows that are left and those that are done, shared by all workers.
#[derive(Clone)]
pub struct Rows(Arc<Mutex<(Vec<Row>, Vec<Done>)>>);

impl Default for Rows {
    fn default() -> Self {
        let only = std::env::var(ONLY).unwrap_or_default();
        let of_group = |(act, scene, points): &Group| -> Vec<Row> {
            let act = *act;
            let scene = *scene;
            let passes = |(point, passes): &(&'static str, &'static [u32])| -> Vec<Row> {
                passes.iter().map(|pass| Row { act, scene, point, pass: *pass }).collect()
            };
            points.iter().flat_map(passes).collect()
        };
        let mut rows: Vec<Row> = GROUPS.iter().flat_map(of_group).collect();
        rows.retain(|row| format!("{:?} {}", row.act, row.point).starts_with(&only));
        Self(Arc::new(Mutex::new((rows, Vec::new()))))
    }
}

impl Rows {
    /// Whether anything is to be done.
    pub fn are_left(&self) -> bool {
        !self.lock().0.is_empty()
    }

    /// Whether only some rows were asked for.
    pub fn are_some_left_out() -> bool {
        std::env::var_os(ONLY).is_some()
    }

    /// Whether a row is left for this act.
    pub fn want(&self, act: Act) -> bool {
        self.lock().0.iter().any(|row| row.act == act)
    }

    /// A row for this act.
    pub fn take(&self, act: Act) -> Option<Row> {
        let left = &mut self.lock().0;
        let next = left.iter().position(|row| row.act == act)?;
        Some(left.remove(next))
    }

    /// Notes an outcome.
    pub fn put(&self, done: Done) {
        println!("{done}");
        self.lock().1.push(done);
    }

    /// All outcomes, by act.
    pub fn done(&self) -> Vec<Done> {
        let mut done = self.lock().1.clone();
        done.sort_by_key(|one| (one.row.act, one.row.point, one.row.pass));
        done
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<Row>, Vec<Done>)> {
        self.0.lock().unwrap()
    }
}

/// How a row ended.
#[derive(Debug, Clone)]
pub struct Done {
    /// Which.
    pub row: Row,
    /// From the restart of the dead process until all was as asked; `None` = that did not come about.
    pub seconds: Option<f32>,
}

impl Done {
    /// Its outcome.
    pub fn new(row: Row, took: Option<Duration>) -> Self {
        Self { row, seconds: took.map(|took| took.as_secs_f32()) }
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { act, scene, point, pass } = self.row;
        let (side, _) = point.split_once('.').unwrap();
        let act = if scene == Scene::Usual { format!("{act:?}") } else { format!("{act:?}, {scene:?}") };
        let seconds = self.seconds.map_or_else(|| "FAILED".to_owned(), |seconds| format!("{seconds:.1}"));
        write!(f, "{point:<38} {side:<10} {act:<26} {pass:>5} {seconds:>6}")
    }
}
