//! The list of all failpoints. The test that dies at each of them is `controller/tests/failpoints/`.

/// A place at which a test can kill a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// `<side>.<what>.<moment>`.
    pub name: &'static str,
    /// What has happened when the program passes the point, and what has not.
    pub when: &'static str,
}

/// Which program a point is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// supalove-controller.
    Controller,
    /// supalove-agent.
    Agent,
}

impl Point {
    const fn at(name: &'static str, when: &'static str) -> Self {
        Self { name, when }
    }

    /// Which program it is in.
    pub fn side(&self) -> Side {
        if self.name.starts_with("agent.") { Side::Agent } else { Side::Controller }
    }
}

/// Every failpoint, in the order in which the life of a project passes them.
pub const POINTS: &[Point] = &[
    // The controller: a create.
    Point::at("controller.create.decided", "validated and rendered, nothing is written"),
    Point::at("controller.create.committed", "the statement that places it is committed, nobody is told"),
    Point::at("controller.place.committed", "a waiting project is placed, the reconciler is not told"),
    // Other acts, within and after their transaction.
    Point::at("controller.act.compute_taken", "cpu and memory are taken in the transaction"),
    Point::at("controller.act.desired_written", "the new generation is written in the transaction"),
    Point::at("controller.act.operation_written", "operation and first event are written in the transaction"),
    Point::at("controller.act.written", "request key and audit row are written, nothing is committed"),
    Point::at("controller.act.committed", "it is committed, neither reconciler nor caller are told"),
    // Any call that changes something outside the placing statement.
    Point::at(
        "controller.call.written",
        "change, audit row and request key are written, nothing is committed",
    ),
    Point::at("controller.call.committed", "it is committed, the caller is not told"),
    // A push of an image.
    Point::at("controller.images.part_written", "a part of the content is durable, no row names it"),
    Point::at("controller.images.part_noted", "its row names it, the caller is not told"),
    Point::at(
        "controller.images.rows_removed",
        "rows of content that no image needs are gone, its bytes are there",
    ),
    // An upgrade, which writes more than other acts.
    Point::at(
        "controller.upgrade.written",
        "secrets, specification, the way back and the operation are written, nothing is committed",
    ),
    Point::at("controller.upgrade.committed", "it is committed, neither reconciler nor caller are told"),
    // A resize, which takes its room before it writes the rest.
    Point::at("controller.resize.room_taken", "the larger size's room is taken in the transaction"),
    Point::at(
        "controller.resize.written",
        "specification, the way back and the operation are written, nothing is committed",
    ),
    Point::at("controller.resize.committed", "it is committed, neither reconciler nor caller are told"),
    // A change of settings or secrets.
    Point::at("controller.change.desired_written", "the new generation is written in the transaction"),
    Point::at("controller.change.inputs_written", "settings, secrets and specification are written as well"),
    Point::at(
        "controller.change.written",
        "the operation and the way back are written, nothing is committed",
    ),
    Point::at("controller.change.committed", "it is committed, neither reconciler nor caller are told"),
    Point::at("controller.start.room_found", "a waiting start has its room, nothing is committed"),
    Point::at("controller.start.room_committed", "the same, committed, the reconciler is not told"),
    // A transfer to another organization.
    Point::at(
        "controller.transfer.moved",
        "quotas and the project's organization are written, nothing is committed",
    ),
    Point::at("controller.transfer.told", "the event is written as well, nothing is committed"),
    // Leftovers on a node.
    Point::at(
        "controller.leftover.adopted",
        "room, placement and the next generation of its project are written, nothing is committed",
    ),
    Point::at("controller.leftover.gone", "the row of what is gone from the host is deleted, not committed"),
    // The session with the agent.
    Point::at("controller.session.numbered", "the session has its epoch, the agent was not greeted"),
    Point::at("controller.session.greeted", "the agent's Hello is stored, nobody works with the session"),
    Point::at("controller.session.inventory", "what the agent has is stored, nothing is applied"),
    Point::at("controller.apply.asked", "a generation is due, the agent was not called"),
    Point::at("controller.apply.answered", "the agent has stored it, the controller has not noted that"),
    Point::at("controller.apply.noted", "that is noted"),
    // What the agent reports.
    Point::at("controller.progress.written", "a step is written as an event, not committed"),
    Point::at("controller.progress.committed", "a step is committed, watchers are not told"),
    Point::at("controller.report.received", "an observed state has come, nothing is decided"),
    Point::at("controller.report.compute_freed", "cpu and memory are free in the transaction"),
    Point::at("controller.report.project_written", "the project's row is written in the transaction"),
    Point::at("controller.report.operation_ended", "the operation's end is written, its event is not"),
    Point::at("controller.upgrade.returned", "the old content is a newer generation in the transaction"),
    Point::at(
        "controller.change.settled",
        "of two versions one is left in the transaction, the way back is still there",
    ),
    Point::at("controller.report.written", "all is written, nothing is committed"),
    Point::at("controller.report.committed", "it is committed, watchers are not told"),
    // The end of a project.
    Point::at("controller.removal.quota_freed", "the organization's quota is free in the transaction"),
    Point::at("controller.removal.node_freed", "the node's reservation and slot are free as well"),
    Point::at("controller.removal.placement_gone", "placement and endpoints are gone as well"),
    Point::at("controller.removal.secrets_gone", "secrets and specs are gone as well, nothing is committed"),
    // Background jobs.
    Point::at("controller.jobs.expired", "an operation's time is up, its end is not written"),
    Point::at("controller.jobs.purged", "an undo window is over and that is committed, nobody is told"),
    Point::at("controller.jobs.sealed", "audit rows are chained, not committed"),
    // What projects use, and their sizes.
    Point::at("controller.usage.written", "a batch of usage is written in the transaction"),
    Point::at("controller.usage.committed", "it is committed, the agent has no acknowledgement"),
    Point::at("controller.usage.summed", "an hour and its day are summed in the transaction"),
    Point::at("controller.usage.sum_committed", "they are committed, other hours are left"),
    Point::at(
        "controller.usage.limits_found",
        "what a node's databases may hold has changed, the node is not told",
    ),
    Point::at("controller.usage.limits_told", "the node has stored it, the controller has not noted that"),
    Point::at(
        "controller.usage.size_written",
        "a level, its event and its mails are written in the transaction",
    ),
    Point::at("controller.usage.size_committed", "they are committed, nobody is told"),
    // The outbox of mails.
    Point::at("controller.mail.claimed", "a mail is claimed, the mail server knows nothing of it"),
    Point::at("controller.mail.taken", "the mail server has taken a mail, that is not written down"),
    // The replacement of the master key. `controller/tests/api/master_key.rs` dies at these.
    Point::at("controller.rotation.begun", "the new key seals in the transaction, nothing is committed"),
    Point::at(
        "controller.rotation.wrapped",
        "values are wrapped anew in the transaction, nothing is committed",
    ),
    Point::at("controller.rotation.wrapped_committed", "a batch of them is committed, others are left"),
    // The agent: its start and its session.
    Point::at("agent.start.loaded", "the records are loaded, nothing is done with them"),
    Point::at("agent.start.closed_in", "every project's rules are loaded, no project is looked after"),
    Point::at("agent.start.resumed", "every project is looked after, nobody was dialled"),
    Point::at("agent.session.greeted", "the controller's Hello is accepted, not answered"),
    Point::at("agent.session.inventory", "the inventory is taken, not answered"),
    // The agent accepts a generation or a removal.
    Point::at("agent.apply.received", "a generation is validated and newer, nothing is stored"),
    Point::at("agent.removal.received", "a removal is accepted, nothing is stored"),
    Point::at("agent.state.synced", "a sealed file is written beside its place and synced, not renamed"),
    Point::at("agent.state.renamed", "a sealed file is in its place, its directory is not synced"),
    Point::at("agent.apply.stored", "the generation is stored, nobody works on it"),
    Point::at("agent.removal.stored", "the removal is stored, nobody works on it"),
    Point::at("agent.apply.begun", "the project's task has it, the controller has no answer"),
    Point::at("agent.removal.begun", "the project's task has it, the controller has no answer"),
    // The agent creates the parts of a project.
    Point::at("agent.prepare.closed_in", "the rules close the project in, it has no bridge yet"),
    // An image from the controller.
    Point::at("agent.images.chunk", "a chunk of an image's content is on disk, more of it is to come"),
    Point::at("agent.images.fetched", "all content of an image is on disk, the engine has none of it"),
    Point::at("agent.images.loaded", "the engine has the image, its content is on disk"),
    Point::at("agent.prepare.images", "every image is there"),
    Point::at("agent.prepare.outdated_gone", "containers that do not fit any more are gone"),
    Point::at("agent.network.created", "the network is created, nothing hangs on it"),
    Point::at("agent.volume.known", "a volume's identity is stored, nothing else of it is there"),
    Point::at("agent.volume.folder", "a volume's folder is made, the engine does not know it"),
    Point::at("agent.volume.created", "a volume is there"),
    Point::at("agent.volume.forgotten", "a lost volume's new identity is stored, nothing else is made"),
    Point::at("agent.volume.move_begun", "it is stored that a volume moves, its data is where it was"),
    Point::at(
        "agent.volume.moved",
        "a volume's data and mark are in the new folder, the engine has the old volume",
    ),
    Point::at("agent.volume.unbound", "the engine's old volume is gone, the new one is not made"),
    Point::at("agent.config.unfinished", "a configuration directory is written beside its place"),
    Point::at("agent.config.renamed", "a configuration directory is in its place, not synced"),
    Point::at("agent.container.created", "a container is created, nobody has its id"),
    Point::at("agent.prepare.created", "every container exists, old configuration is not swept"),
    Point::at("agent.prepare.done", "all is made, no service is looked after"),
    Point::at("agent.service.starting", "what a service depends on is ready, it is about to start"),
    Point::at("agent.service.started", "a container is started"),
    Point::at(
        "agent.start_sql.running",
        "a database takes connections, a file of its start SQL is about to run",
    ),
    Point::at("agent.service.ready", "a service has answered its probe, nobody is told"),
    Point::at(
        "agent.first_start.removed",
        "container and volumes of a database that never was ready are gone",
    ),
    Point::at("agent.first_start.remade", "its volumes are there again, empty, its container is not"),
    Point::at("agent.first_start.marked", "it is written down that a database was ready, nobody is told"),
    // The agent reports.
    Point::at("agent.report.sending", "a state is about to be sent"),
    Point::at("agent.report.sent", "a state is handed to the session"),
    // What is taken away.
    Point::at("agent.teardown.begun", "containers are listed, none is stopped"),
    Point::at("agent.service.stopped", "a container is stopped, not removed"),
    Point::at("agent.container.removed", "a container is removed"),
    Point::at("agent.network.removed", "the network is removed"),
    Point::at("agent.stop.unruled", "the rules of a stopped project are gone, that is not reported"),
    Point::at("agent.volume.removed", "a volume is removed"),
    Point::at("agent.removal.unruled", "nothing is left on the engine nor in the rules"),
    Point::at("agent.removal.files_gone", "the project's directory is gone"),
    Point::at("agent.removal.buried", "the tombstone is stored, the record is still there"),
    Point::at("agent.removal.forgotten", "the record is gone"),
    Point::at("agent.removal.done", "the removal has ended, that is not reported"),
];

/// Whether a point of this name is in [`POINTS`]; [`failpoint!`](crate::failpoint) asks when it is compiled.
pub const fn is_listed(name: &str) -> bool {
    let mut at = 0;
    while at < POINTS.len() {
        if same(POINTS[at].name.as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

const fn same(left: &[u8], right: &[u8]) -> bool {
    let mut at = 0;
    while at < left.len() && at < right.len() && left[at] == right[at] {
        at += 1;
    }
    at == left.len() && at == right.len()
}
