//! Reconciles a connected node with the desired state while its session lasts.
//!
//! It runs two loops: one judges the agent's reports, the other takes an inventory to learn what the agent has, and then
//! applies generations that the agent has not stored. Calls are idempotent, so it remembers only the
//! generation that the agent has stored.

mod budget;
mod due;
mod intake;
pub mod judge;

use std::{collections::HashMap, time::Duration};

use futures::{StreamExt as _, future::BoxFuture};
use supalove_failpoints::failpoint;
use supalove_proto::node::v1::{
    ApplyStackRequest, InventoryRequest, InventoryResponse, NodeConditions, Placement, RemoveStackRequest,
    RunState, WatchStateRequest, watch_state_response::Report,
};
use tokio::{task::JoinSet, time::Instant};
use tonic::{Code, Request, Status};

use self::{budget::Budget, due::Due};
use crate::{capacity, endpoints, store::secrets, types::Desired, verdict::Source};
use supalove_core::{
    Core, SystemWrite,
    error::{Error, Result, chain},
    hints::Hint,
    ids::{NodeId, ProjectRef},
};
use supalove_fleet::{
    AgentClient, Session, SessionHandler,
    clusters::{self, HelloValues},
};

/// Maximum number of concurrent calls to one node.
const PARALLEL: usize = 16;
/// Pause before the retry of a call that the agent refused or did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Handles the sessions of nodes. Cheap to clone.
#[derive(Clone)]
pub struct Reconciler {
    core: Core,
    /// Of reports, by node.
    reports: Budget,
}

impl SessionHandler for Reconciler {
    fn greet<'a>(
        &'a self,
        write: &'a mut SystemWrite,
        node: NodeId,
        hello: &'a HelloValues,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(capacity::save_hello(write, node, hello))
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
        Self { core: core.clone(), reports: Budget::default() }
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
            match self.call(client.inventory(InventoryRequest {})).await {
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

    /// Repeats the inventory, because slots become blocked or free and remains appear while a session lasts.
    async fn look_again(&self, session: &Session) -> Result<()> {
        let mut client = session.client.clone();
        loop {
            tokio::time::sleep(self.core.times.inventory).await;
            match self.call(client.inventory(InventoryRequest {})).await {
                Ok(inventory) => self.take_inventory(session.node, &inventory).await?,
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
        // Read before the transaction opens: one connection at a time, or many nodes at once wait for each other.
        let unexplained = due::unexplained(&self.core.db, node, inventory).await?;
        let mut write = self.core.system_write(node.to_string());
        let blocked = capacity::save_blocked(&mut write, node, &inventory.blocked_slots).await?;
        let changed = clusters::store::save_unexplained(&mut write, node, &unexplained).await?;
        if changed && !unexplained.is_empty() {
            let projects = unexplained.join(" ");
            tracing::error!(%node, projects, "node has containers that no placement explains; they keep running");
        }
        let hints = [(blocked, Hint::Capacity), (blocked || changed, Hint::Node(node))];
        write.commit(hints.into_iter().filter_map(|(given, hint)| given.then_some(hint))).await
    }

    /// At the beginning of a session the inventory replaces what was known of the agent.
    async fn forget_applied(&self, node: NodeId, inventory: &InventoryResponse) -> Result<()> {
        let mut write = self.core.system_write(node.to_string());
        due::forget_applied(&mut write, node, inventory).await?;
        write.commit([]).await
    }

    async fn note_applied(&self, source: Source, project: &ProjectRef, generation: i64) -> Result<()> {
        let mut write = self.core.system_write(source.node.to_string());
        due::applied(&mut write, source, project, generation).await?;
        write.commit([]).await
    }

    /// Judges reports until the stream ends.
    async fn watch_state(&self, session: &Session) -> Result<()> {
        let node = session.node;
        let mut client = session.client.clone();
        let source = Source { node, epoch: session.epoch };
        let mut reports =
            client.watch_state(WatchStateRequest {}).await.map_err(Error::internal)?.into_inner();
        let mut told_conditions = false;
        while let Some(message) = reports.next().await {
            let result = match message.map_err(Error::internal)?.report {
                Some(Report::Observed(observed)) => self.observed(source, &observed).await,
                Some(Report::Progress(step)) => self.progress(source, &step).await,
                Some(Report::Conditions(told)) => {
                    told_conditions = true;
                    self.conditions(source, &told).await
                }
                // An older agent reports none, whatever a newer one said before it.
                Some(Report::SnapshotEnd(_)) if !told_conditions => {
                    self.conditions(source, &NodeConditions::default()).await
                }
                Some(Report::SnapshotEnd(_)) | None => Ok(()),
            };
            match result {
                Ok(()) => {}
                // The report is lost, so end the session: a new one starts with all reports.
                Err(error @ (Error::Unavailable { .. } | Error::Aborted(_))) => return Err(error),
                // One report that cannot be stored must not end the session.
                Err(error) => {
                    tracing::warn!(%node, error = chain(&error), "cannot record a report of the agent");
                }
            }
        }
        Ok(())
    }

    /// Applies due generations at each hint and at every poll. Returns only if the database is unreachable.
    async fn drive(&self, session: &Session) -> Result<()> {
        let Session { node, epoch, ref client, .. } = *session;
        let source = Source { node, epoch };
        let mut changed = self.core.hints.listen(Hint::Node(node));
        let mut calls = Calls::default();
        loop {
            for due in due::list(&self.core.db, node).await? {
                calls.start(self, client, due);
            }
            let poll = calls
                .next_retry()
                .map_or(self.core.times.hinted_poll, |retry| retry.min(self.core.times.hinted_poll));
            tokio::select! {
                () = changed.woken() => {}
                Some(done) = calls.next() => calls.finish(self, source, done).await?,
                () = tokio::time::sleep(poll) => {}
            }
        }
    }
}

/// Result of a call for a project.
type Done = (ProjectRef, i64, Result<(), Status>);

/// Calls in progress, and projects whose last call failed.
#[derive(Default)]
struct Calls {
    running: JoinSet<Done>,
    /// Time of the next allowed call; `None` while a call is in progress.
    not_before: HashMap<ProjectRef, (i64, Option<Instant>)>,
}

impl Calls {
    /// Starts a call unless one is in progress for the project, its last one has just failed, or too many are in
    /// progress.
    fn start(&mut self, reconciler: &Reconciler, client: &AgentClient, due: Due) {
        let blocked = self.not_before.get(&due.project).is_some_and(|(generation, until)| match until {
            None => true,
            Some(until) => *generation == due.generation && Instant::now() < *until,
        });
        if blocked || self.running.len() >= PARALLEL {
            return;
        }
        self.not_before.insert(due.project.clone(), (due.generation, None));
        let reconciler = reconciler.clone();
        let client = client.clone();
        self.running.spawn(async move {
            let result = apply(&reconciler, client, &due).await;
            (due.project, due.generation, result)
        });
    }

    /// Returns how long until the next failed call may be retried.
    fn next_retry(&self) -> Option<Duration> {
        let now = Instant::now();
        self.not_before
            .values()
            .filter_map(|(_, until)| *until)
            .filter(|until| *until > now)
            .min()
            .map(|until| until - now)
    }

    async fn next(&mut self) -> Option<Done> {
        self.running.join_next().await?.ok()
    }

    async fn finish(
        &mut self,
        reconciler: &Reconciler,
        source: Source,
        (project, generation, result): Done,
    ) -> Result<()> {
        let node = source.node;
        let Err(status) = result else {
            failpoint!("controller.apply.answered", project.as_str());
            self.not_before.remove(&project);
            reconciler.note_applied(source, &project, generation).await?;
            failpoint!("controller.apply.noted", project.as_str());
            return Ok(());
        };
        tracing::warn!(%node, %project, generation, code = ?status.code(), message = status.message(), "agent refused a generation or did not answer; trying again");
        self.not_before.insert(project.clone(), (generation, Some(Instant::now() + RETRY_AFTER)));
        if matches!(status.code(), Code::InvalidArgument | Code::FailedPrecondition) {
            reconciler.refused(node, &project, generation, status.message()).await?;
        }
        Ok(())
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
