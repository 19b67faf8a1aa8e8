//! Reconciles a connected node with the desired state while its session lasts.
//!
//! It runs two loops: one judges the agent's reports, the other takes an inventory to learn what the agent has, and then
//! applies generations that the agent has not stored. Calls are idempotent, so it remembers only the
//! generation that the agent has stored.

mod budget;
mod calls;
pub mod consistency;
pub mod due;
mod intake;
pub mod judge;
mod levels;
mod restored;

use std::{collections::HashSet, time::Duration};

use futures::{StreamExt as _, future::BoxFuture};
use supalove_failpoints::failpoint;
use supalove_proto::node::v1::{
    ApplyStackRequest, BlockedSlot, InventoryRequest, InventoryResponse, NodeConditions, Placement, Progress,
    ProjectInventory, RemoveStackRequest, RunState, WatchStateRequest, watch_state_response::Report,
};
use tokio::time::{Instant, MissedTickBehavior};
use tonic::{Code, Request, Status};

use self::{
    budget::Budget,
    calls::{Calls, Done, Refusal},
    due::Due,
    intake::Ahead,
    levels::Levels,
};
use crate::{
    capacity, endpoints, leftovers,
    store::{addresses, secrets},
    types::Desired,
    verdict::Source,
};
use supalove_core::{
    Core, SystemWrite, Write as _,
    error::{Error, Result, chain},
    hints::Hint,
    ids::{ClusterId, NodeId, ProjectRef},
    jobs::Failures,
    mutation::Mutation,
};
use supalove_fleet::{
    AgentClient, Session, SessionHandler,
    clusters::{self, HelloValues},
};

/// Pause before the retry of an inventory, and of conditions that could not be stored.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Handles the sessions of nodes. Cheap to clone.
#[derive(Clone)]
pub struct Reconciler {
    core: Core,
    /// Of states, digests and conditions, by node.
    reports: Budget,
    /// Of progress, by node: a host that starts a hundred projects tells so much of it that their states would wait.
    progress: Budget,
}

impl SessionHandler for Reconciler {
    fn greet<'a>(
        &'a self,
        write: &'a mut SystemWrite,
        node: NodeId,
        hello: &'a HelloValues,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            capacity::save_hello(write, node, hello).await?;
            restored::compare(write, node, &hello.stored).await?;
            // Last: a generation more than the agent has must not hide that the agent is ahead.
            addresses::follow(write, node).await?;
            Ok(())
        })
    }

    fn recompute<'a>(
        &'a self,
        write: &'a mut Mutation,
        cluster: ClusterId,
    ) -> BoxFuture<'a, Result<Vec<String>>> {
        Box::pin(capacity::recompute(write, cluster))
    }

    fn run(&self, session: Session) -> BoxFuture<'static, ()> {
        let reconciler = self.clone();
        Box::pin(async move {
            let node = session.node;
            let ended = session.ended.clone();
            let work = Box::pin(reconciler.reconcile(session));
            if let Some(Err(error)) = ended.run_until_cancelled(work).await {
                tracing::warn!(%node, error = chain(&error), "reconciler of a node stopped");
            }
        })
    }
}

impl Reconciler {
    /// On the control database.
    pub fn new(core: &Core) -> Self {
        Self { core: core.for_work(), reports: Budget::default(), progress: Budget::default() }
    }

    async fn reconcile(&self, session: Session) -> Result<()> {
        // An engine that does not answer keeps the inventory waiting, and the reports say that it does not.
        tokio::select! {
            watched = self.watch_state(&session) => watched,
            applied = self.apply_all(&session) => applied,
        }
    }

    async fn apply_all(&self, session: &Session) -> Result<()> {
        self.first_inventory(session).await?;
        tokio::select! {
            driven = self.drive(session) => driven,
            looked = self.look_again(session) => looked,
        }
    }

    /// Takes the inventory that must precede every apply. If the engine is unreachable it retries, so that the
    /// session, and with it the node's other reports, can stay open.
    async fn first_inventory(&self, session: &Session) -> Result<()> {
        let mut client = session.client.clone();
        loop {
            match self.call(client.inventory(InventoryRequest::default())).await {
                Ok(inventory) => {
                    self.forget_applied(session.node, &inventory).await?;
                    failpoint!("controller.session.inventory");
                    return self.take_inventory(session.node, &inventory).await;
                }
                Err(status) if status.code() == Code::Unavailable => {
                    tracing::warn!(node = %session.node, message = status.message(), "agent cannot take its first inventory yet; retrying");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(status) => return Err(Error::internal(status)),
            }
        }
    }

    /// Repeats the inventory, because slots become blocked or free and remains appear while a session lasts; soon after each other
    /// while the agent deletes leftovers, whose end only an inventory tells.
    async fn look_again(&self, session: &Session) -> Result<()> {
        let mut client = session.client.clone();
        let mut changed = self.core.hints.listen(Hint::Node(session.node));
        let mut looked = Instant::now();
        loop {
            let deleting =
                leftovers::store::is_deleting(&self.core.db, session.node).await.unwrap_or_default();
            let pause = if deleting { RETRY_AFTER } else { self.core.times.inventory };
            tokio::select! {
                () = tokio::time::sleep_until(looked + pause) => {}
                () = changed.woken() => continue,
            }
            looked = Instant::now();
            match self.call(client.inventory(InventoryRequest::default())).await {
                Ok(inventory) => {
                    if let Err(error) = self.take_inventory(session.node, &inventory).await {
                        tracing::warn!(node = %session.node, error = chain(&error), "cannot record an inventory; the next one follows");
                    }
                }
                Err(status) => {
                    tracing::warn!(node = %session.node, message = status.message(), "agent did not return its inventory; retrying");
                }
            }
        }
    }

    /// Makes a unary call with the protocol's timeout.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Status> {
        match tokio::time::timeout(self.core.times.agent_call, call).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("the agent did not answer in time")),
        }
    }

    /// Stores an inventory. Containers that no placement explains raise an alarm and keep running.
    async fn take_inventory(&self, node: NodeId, inventory: &InventoryResponse) -> Result<()> {
        let mut write = self.core.system_write(node.to_string());
        clusters::store::lock_node(&mut write, node).await?;
        // Under the lock, and on its connection: what is adopted meanwhile is no leftover.
        let unexplained = due::unexplained(write.connection().await?, node, inventory).await?;
        let mut slots = inventory.blocked_slots.clone();
        let known: HashSet<&String> = unexplained.iter().collect();
        let unknown = |found: &&ProjectInventory| known.contains(&found.project_ref);
        let looked_at = inventory.projects.iter().take(leftovers::store::PROJECTS);
        slots.extend(looked_at.filter(unknown).filter_map(|found| {
            let slot = found.slot?;
            let reason = restored::reason(i32::try_from(slot).ok()?, &found.project_ref);
            Some(BlockedSlot { slot, reason })
        }));
        let shown = &unexplained[..unexplained.len().min(due::UNEXPLAINED_SHOWN)];
        let changed = clusters::store::save_unexplained(&mut write, node, shown).await?;
        let gone =
            leftovers::store::save(&mut write, node, inventory, &unexplained, due::UNEXPLAINED_SHOWN).await?;
        if gone > 0 {
            failpoint!("controller.leftover.gone");
            tracing::info!(%node, gone, "leftovers are gone from the node");
        }
        if changed && !unexplained.is_empty() {
            let projects = shown.join(" ");
            tracing::error!(%node, projects, "node has containers that no placement explains; they keep running");
        }
        let blocked = capacity::save_blocked(&mut write, node, &slots).await?;
        let moved = addresses::follow(&mut write, node).await?;
        let hints = [(blocked, Hint::Capacity), (blocked || changed || !moved.is_empty(), Hint::Node(node))];
        let hints = hints.into_iter().filter_map(|(given, hint)| given.then_some(hint));
        write.commit(hints.chain(moved.into_iter().map(Hint::Project))).await
    }

    /// At the beginning of a session the inventory replaces what was known of the agent.
    async fn forget_applied(&self, node: NodeId, inventory: &InventoryResponse) -> Result<()> {
        let mut write = self.core.system_write(node.to_string());
        clusters::store::lock_node(&mut write, node).await?;
        due::forget_applied(&mut write, node, inventory).await?;
        leftovers::store::ask_again(&mut write, node).await?;
        write.commit([]).await
    }

    async fn note_applied(&self, source: Source, project: &ProjectRef, generation: i64) -> Result<()> {
        let mut write = self.core.system_write(source.node.to_string());
        due::applied(&mut write, source, project, generation).await?;
        write.commit([]).await
    }

    /// Judges reports. Asks for all states again when what was judged may no longer be what is stored.
    async fn watch_state(&self, session: &Session) -> Result<()> {
        while self.watch_once(session).await? {
            tracing::info!(node = %session.node, "asking the agent for the states of all projects again");
        }
        Ok(())
    }

    /// Judges the reports of one stream. Returns true if all states have to be told again; false at the end of the stream.
    async fn watch_once(&self, session: &Session) -> Result<bool> {
        let node = session.node;
        let mut client = session.client.clone();
        let source = Source { node, epoch: session.epoch };
        let mut reports =
            client.watch_state(WatchStateRequest {}).await.map_err(Error::internal)?.into_inner();
        let mut levels = Levels::default();
        // What the node has last said of itself, until it is stored.
        let mut conditions = None;
        let mut has_conditions = false;
        // An agent may tell conditions as often as it likes; the newest count.
        let mut next_try = Instant::now();
        let mut compare = tokio::time::interval(self.core.times.resync);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        compare.tick().await;
        loop {
            tokio::select! {
                message = reports.next() => {
                    let Some(message) = message else { return Ok(false) };
                    match message.map_err(Error::internal)?.report {
                        Some(Report::Observed(observed)) => {
                            if !levels.put(observed) {
                                return Err(Error::Refused("the agent reports on too many projects"));
                            }
                        }
                        Some(Report::Progress(step)) => self.note_progress(source, &step).await?,
                        Some(Report::Digests(_)) if self.reports.spend(node).is_err() => {
                            self.core.refusals.note("digests of a node: too many reports", node);
                        }
                        Some(Report::Digests(digests)) => {
                            if let Some(rows) = self.rows_of(node).await && levels.differ_from(&digests, &rows) {
                                return Ok(true);
                            }
                        }
                        Some(Report::Conditions(told)) => {
                            has_conditions = true;
                            conditions = Some(told);
                        }
                        // An older agent reports none, whatever a newer one said before it.
                        Some(Report::SnapshotEnd(_)) if !has_conditions => {
                            conditions = Some(NodeConditions::default());
                        }
                        Some(Report::SnapshotEnd(_)) | None => {}
                    }
                }
                () = levels.wait() => {}
                () = tokio::time::sleep_until(next_try), if conditions.is_some() => {}
                _ = compare.tick() => {
                    if let Some(rows) = self.rows_of(node).await && levels.are_behind(&rows) {
                        return Ok(true);
                    }
                }
            }
            if let Some(told) = conditions.as_ref().filter(|_| Instant::now() >= next_try) {
                let stored = self.conditions(source, told).await;
                next_try = Instant::now() + RETRY_AFTER;
                match stored {
                    Ok(()) => conditions = None,
                    Err(error @ Error::Refused(_)) => return Err(error),
                    Err(error) => {
                        tracing::warn!(%node, error = chain(&error), "cannot record the conditions of a node; trying again");
                    }
                }
            }
            if let Some((project, report)) = levels.due() {
                match self.observed(source, &report).await {
                    Ok(revision) => levels.stored(&project, revision),
                    Err(error @ Error::Refused(_)) => return Err(error),
                    Err(error) => {
                        if levels.not_stored(&project) {
                            tracing::warn!(%node, %project, error = chain(&error), "cannot record a report of the agent; trying again until it is recorded");
                        }
                    }
                }
            }
        }
    }

    /// Progress may be lost: it is for people.
    async fn note_progress(&self, source: Source, step: &Progress) -> Result<()> {
        match self.progress(source, step).await {
            Err(error @ Error::Refused(_)) => Err(error),
            Err(error) => {
                tracing::warn!(node = %source.node, error = chain(&error), "cannot record progress of the agent");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// `None` if the database does not answer: the next turn compares.
    async fn rows_of(&self, node: NodeId) -> Option<Vec<levels::Row>> {
        match levels::rows(&self.core.db, node).await {
            Ok(rows) => Some(rows),
            Err(error) => {
                tracing::warn!(%node, error = chain(&error), "cannot compare a node's reports with its projects");
                None
            }
        }
    }

    /// Applies due generations at each hint and at every poll, for as long as the session lasts.
    async fn drive(&self, session: &Session) -> Result<()> {
        let Session { node, epoch, ref client, .. } = *session;
        let source = Source { node, epoch };
        let mut changed = self.core.hints.listen(Hint::Node(node));
        let mut calls = Calls::default();
        let mut polls = Failures::default();
        loop {
            let listed = self.due(node).await;
            polls.note(
                &format!("poll of node {node}"),
                listed.as_ref().err().map(|error| chain(error)).as_ref(),
            );
            let mut poll = self.core.times.hinted_poll;
            match listed {
                Ok(due) => {
                    calls.retain(&due);
                    calls.start(due, |due| {
                        let reconciler = self.clone();
                        let client = client.clone();
                        async move { apply(&reconciler, client, &due).await }
                    });
                }
                Err(_) => poll = self.core.times.poll,
            }
            let poll = calls.next_repetition().map_or(poll, |next| next.min(poll));
            tokio::select! {
                () = changed.woken() => {}
                Some(done) = calls.next() => self.finish(&mut calls, source, done).await,
                () = tokio::time::sleep(poll) => {}
            }
        }
    }

    /// What the agent has to be told: generations of the projects on the node, and leftovers to delete.
    async fn due(&self, node: NodeId) -> Result<Vec<Due>> {
        let mut due = due::list(&self.core.db, node).await?;
        due.extend(leftovers::store::due(&self.core.db, node).await?);
        Ok(due)
    }

    /// Records the end of a call about a leftover. The list of what is due has it again if this cannot be written.
    async fn told_leftover(
        &self,
        node: NodeId,
        project: &ProjectRef,
        refused: Option<&Status>,
    ) -> Result<()> {
        let newer = refused.and_then(|status| match Refusal::from_status(status) {
            Refusal::Ahead { stored, .. } => Some(stored),
            _ => None,
        });
        let why = refused.map(|status| judge::printable(status.message()));
        let mut write = self.core.system_write(node.to_string());
        leftovers::store::told(&mut write, node, project, why.as_deref(), newer).await?;
        write.commit([Hint::Node(node)]).await
    }

    /// Records the end of a call. What cannot be recorded makes the project due again.
    async fn finish(&self, calls: &mut Calls, source: Source, done: Done) {
        let Done { project, generation, leftover, result } = done;
        let node = source.node;
        let Err(status) = result else {
            failpoint!("controller.apply.answered", project.as_str());
            calls.succeeded(&project);
            let noted = if leftover {
                self.told_leftover(node, &project, None).await
            } else {
                self.note_applied(source, &project, generation).await
            };
            if let Err(error) = noted {
                tracing::warn!(%node, %project, error = chain(&error), "cannot record that the agent has a generation; sending it again");
            }
            failpoint!("controller.apply.noted", project.as_str());
            return;
        };
        let refusal = Refusal::from_status(&status);
        let failures = calls.failed(&project, refusal);
        tracing::warn!(%node, %project, generation, failures, code = ?status.code(), message = status.message(), ?refusal, "agent refused a generation or did not answer");
        let written = match refusal {
            _ if leftover => self.told_leftover(node, &project, Some(&status)).await,
            Refusal::Passing => Ok(()),
            Refusal::Blocked | Refusal::Final => {
                self.refused(node, &project, generation, status.message()).await
            }
            Refusal::Ahead { stored, removed } => {
                self.agent_is_ahead(
                    node,
                    &project,
                    Ahead { ours: generation, stored, removed },
                    status.message(),
                )
                .await
            }
        };
        if let Err(error) = written {
            // Called again, so that the refusal is recorded then.
            calls.failed(&project, Refusal::Passing);
            tracing::warn!(%node, %project, error = chain(&error), "cannot record a refusal of the agent");
        }
    }
}

async fn apply(reconciler: &Reconciler, mut client: AgentClient, due: &Due) -> Result<(), Status> {
    failpoint!("controller.apply.asked", due.project.as_str());
    let generation = due.generation.unsigned_abs();
    if due.desired == Desired::Removed {
        let project_ref = due.project.to_string();
        let request = RemoveStackRequest { project_ref, generation, delete_volumes: true };
        return reconciler.call(client.remove_stack(request)).await.map(|_| ());
    }
    let request = apply_request(reconciler, due).await?;
    reconciler.call(client.apply_stack(Request::new(request))).await.map(|_| ())
}

async fn apply_request(reconciler: &Reconciler, due: &Due) -> Result<ApplyStackRequest, Status> {
    let (generation, sealed) =
        secrets::newest_spec(&reconciler.core.db, &due.project, due.generation).await?;
    let spec = secrets::open_spec(&reconciler.core.vault, &due.project, generation, &sealed)?;
    let port = |offset: i32| due.port_base.saturating_add(offset).unsigned_abs();
    let run_state = match due.desired {
        Desired::Running => RunState::Running,
        Desired::Stopped | Desired::Removed => RunState::Stopped,
    };
    Ok(ApplyStackRequest {
        project_ref: due.project.to_string(),
        generation: due.generation.unsigned_abs(),
        run_state: run_state.into(),
        restart_token: due.restart_token.clone(),
        new_volumes: due.new_volumes.clone(),
        spec: Some(spec),
        placement: Some(Placement {
            slot: due.slot.unsigned_abs(),
            port_base: port(0),
            subnet: due.subnet.clone(),
            api_url: endpoints::api_url(&due.host, due.port_base),
            api_host: due.host.clone(),
            api_port: port(endpoints::port_offset(supalove_proto::node::v1::NamedPort::Api)),
            db_port: port(endpoints::port_offset(supalove_proto::node::v1::NamedPort::Db)),
        }),
    })
}
