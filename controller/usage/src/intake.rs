//! Takes the records of a connected node while its session lasts, one batch at a time.
//!
//! The node's row is locked while a batch is stored: batches that two replicas get, or that an agent sends again, are counted
//! once. A batch is acknowledged when it is committed. What fails is asked for again from where the row says.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use futures::{future::BoxFuture, stream};
use supalove_core::{
    Core,
    error::{Error, Result, chain},
    ids::NodeId,
};
use supalove_failpoints::failpoint;
use supalove_fleet::{Session, SessionHandler};
use supalove_proto::node::v1::{StreamUsageRequest, StreamUsageResponse};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use crate::{
    counters::{self, RECORDS, is_spool},
    pace::Pace,
    store::intake as store,
};

/// Pause before the stream of a node is opened again, after a failure or its end.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How often the audit log says that a node's reports are refused.
const ALARM_EVERY: TimeDelta = TimeDelta::hours(1);
const METHOD: &str = "usage.refused";

/// Handles the sessions of nodes. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    core: Core,
    /// By node, so that a new session is no new start.
    paces: Arc<Mutex<HashMap<NodeId, Pace>>>,
}

/// Why a stream ended.
enum Ended {
    /// The agent has no such service.
    Unknown,
    /// To be opened again.
    Broken,
}

impl SessionHandler for Intake {
    fn run(&self, session: Session) -> BoxFuture<'static, ()> {
        let intake = self.clone();
        Box::pin(async move {
            let ended = session.ended.clone();
            // The end of the session is other handlers' to see: usage never ends one.
            ended.run_until_cancelled(intake.follow(&session)).await;
        })
    }
}

impl Intake {
    /// On the control database.
    pub fn new(core: &Core) -> Self {
        Self { core: core.for_work(), paces: Arc::default() }
    }

    /// How long the node waits before its next batch.
    fn spend(&self, node: NodeId) -> Duration {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner).entry(node).or_default().spend()
    }

    async fn follow(&self, session: &Session) {
        let node = session.node;
        loop {
            match self.stream(session).await {
                Ok(Ended::Unknown) => {
                    tracing::info!(%node, "the node's agent is too old to report what its projects use");
                    return std::future::pending().await;
                }
                Ok(Ended::Broken) => {}
                Err(error) => {
                    tracing::warn!(%node, error = chain(&error), "cannot take what a node reports of its projects' usage; trying again");
                }
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Stores the batches of one stream.
    async fn stream(&self, session: &Session) -> Result<Ended> {
        let node = session.node;
        let (spool, acknowledged) = store::cursor(&self.core.db, node).await?;
        let (sender, mut queued) = mpsc::channel(1);
        sender.try_send(StreamUsageRequest { spool, acknowledged }).map_err(Error::internal)?;
        let requests = stream::poll_fn(move |cx| queued.poll_recv(cx));
        let mut batches = match session.usage().stream_usage(requests).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::Unimplemented => return Ok(Ended::Unknown),
            Err(status) => return ended(status),
        };
        loop {
            let batch = match batches.message().await {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(Ended::Broken),
                Err(status) => return ended(status),
            };
            let acknowledged = self.store(node, &batch).await?;
            if sender.send(StreamUsageRequest { spool: batch.spool, acknowledged }).await.is_err() {
                return Ok(Ended::Broken);
            }
            tokio::time::sleep(self.spend(session.node)).await;
        }
    }

    /// Stores a batch; returns the number of its newest record.
    async fn store(&self, node: NodeId, batch: &StreamUsageResponse) -> Result<u64> {
        if !is_spool(&batch.spool) || batch.records.len() > RECORDS {
            return Err(Error::Refused("the agent's batch of usage has no spool, or too many records"));
        }
        // Read before the transaction opens: one connection at a time, or many nodes at once wait for each other.
        let found = store::node(&self.core.db, node).await?;
        let found = found.ok_or_else(|| Error::internal("a node without a capacity reports usage"))?;
        let named: Vec<String> = counters::named(batch).iter().map(ToString::to_string).collect();
        let standing = store::standing(&self.core.db, node, &named).await?;

        let mut write = self.core.system_write(node.to_string());
        let (mut state, now, alarmed_at) = store::lock(&mut write, node).await?;
        let taken = counters::take(&mut state, batch, &standing, found.host, now);
        if !taken.projects.is_empty() {
            store::add_projects(&mut write, &taken).await?;
        }
        if !taken.node.is_empty() {
            store::add_node(&mut write, node, found.cluster, &taken).await?;
        }
        let alarm = taken.refused > 0 && alarmed_at.is_none_or(|at| now - at >= ALARM_EVERY);
        store::save(&mut write, node, &state, &taken, alarm).await?;
        if alarm {
            tracing::error!(%node, refused = taken.refused, refusal = taken.refusal, "reports of a node on the usage of projects are refused");
            write.audit_outcome(METHOD, &node.to_string(), &taken.refusal);
        }
        failpoint!("controller.usage.written");
        write.commit([]).await?;
        failpoint!("controller.usage.committed");
        Ok(state.seq.unsigned_abs())
    }
}

/// Ends of sessions are no news.
fn ended(status: Status) -> Result<Ended> {
    match status.code() {
        Code::Cancelled | Code::Unavailable | Code::Unknown => Ok(Ended::Broken),
        _ => Err(Error::internal(status)),
    }
}
