//! Logs of a project's services, from its node to a caller. In: a call that is allowed. Out: lines and notes, until the caller
//! leaves or loses the right, or the node goes away.
//!
//! Nothing is kept for a slow caller: this waits for the caller, and the agent for this, so a tail costs some messages. What
//! the caller may do is decided again every 15 s, and before a caller who has kept the tail waiting gets more.

mod request;
mod tail;

use supalove_core::{
    Core,
    access::Call,
    error::{Error, Result},
    ids::{NodeId, ProjectRef, UserId},
};
use supalove_fleet::Fleet;
use supalove_net::allowance::{Allowance, Full, Taken};
use supalove_proto::{
    node::v1::{ReadLogsRequest, ReadLogsResponse},
    v1::{ErrorReason, TailLogsRequest, TailLogsResponse},
};
use supalove_spec::limits::LOG_READERS;
use tokio::sync::mpsc;
use tonic::{Code, Response, Status, Streaming};

use self::tail::Tail;
use crate::store::projects;

/// Messages kept for a slow caller.
const BUFFER: usize = 16;
/// Longest message of an agent in bytes: a line of 16 KiB with its names.
const MESSAGE: usize = 64 * 1024;

/// Starts tails. Cheap to clone.
#[derive(Clone)]
pub struct Logs {
    core: Core,
    fleet: Fleet,
    by_user: Allowance<UserId>,
    by_node: Allowance<NodeId>,
}

impl Logs {
    /// On the control database and the nodes of the fleet.
    pub fn new(core: &Core, fleet: &Fleet) -> Self {
        Self {
            by_user: Allowance::new(core.limits.tails, core.limits.tails_per_user),
            by_node: Allowance::new(core.limits.tails, LOG_READERS),
            core: core.clone(),
            fleet: fleet.clone(),
        }
    }

    /// Starts a tail for a caller who may read the project's logs.
    pub async fn tail(
        &self,
        call: Call,
        project: &ProjectRef,
        body: TailLogsRequest,
    ) -> Result<mpsc::Receiver<Result<TailLogsResponse>>> {
        let found = projects::get(&self.core.db, project).await?;
        let services: Vec<&str> = found.services.iter().map(|service| service.name.as_str()).collect();
        let request = request::checked(body, &services)?;
        let node = found.node.ok_or_else(not_placed)?;
        let counted = self.count(&call, node)?;
        let follow = request.follow;
        let lines = self.open(node, request).await?;
        // Audit first, so that nobody reads a log without an audit row.
        self.core.mutation(&call).commit(project.as_str(), []).await?;

        let (out, reader) = mpsc::channel(BUFFER);
        let tail = Tail { core: self.core.clone(), call, project: project.clone(), node, follow, lines, out };
        self.core.tasks.connection_until("tail of logs", |stop| async move {
            let _counted = counted;
            tail.run(stop).await;
        });
        Ok(reader)
    }

    fn count(&self, call: &Call, node: NodeId) -> Result<(Taken<UserId>, Taken<NodeId>)> {
        let user = call.principal()?.user;
        let full = |full: Full| {
            self.core.refusals.note("logs: too many tails", user);
            Error::full(full, "tails of logs")
        };
        let by_user = self.by_user.take(user, 1).map_err(full)?;
        // Those of a node are other callers', too.
        let by_node = self.by_node.take(node, 1).map_err(|_| full(Full::All(LOG_READERS)))?;
        Ok((by_user, by_node))
    }

    async fn open(&self, node: NodeId, request: ReadLogsRequest) -> Result<Streaming<ReadLogsResponse>> {
        // A tail keeps a few messages for a slow caller, and a node may be somebody's own: none is larger than an agent's.
        let mut bulk = self.fleet.bulk(node).await?.max_decoding_message_size(MESSAGE);
        let limit = self.core.times.agent_call;
        let opened = tokio::time::timeout(limit, bulk.read_logs(request)).await;
        let opened = opened.unwrap_or_else(|_| Err(Status::unavailable("its agent did not answer in time")));
        opened.map(Response::into_inner).map_err(|status| failed(&self.core, node, &status))
    }
}

/// What an agent's error means to the caller. Whatever a broken connection is called, the node is away.
fn failed(core: &Core, node: NodeId, status: &Status) -> Error {
    match status.code() {
        Code::NotFound => Error::FailedPrecondition {
            reason: ErrorReason::NoLogs,
            message: "the project's node does not have the project, or not this service (any more), and so no logs of it; look \
                      at the state and the services of the project, and try again when it is up"
                .to_owned(),
        },
        Code::Unimplemented => Error::FailedPrecondition {
            reason: ErrorReason::AgentTooOld,
            message: format!("the agent of node {node} is too old to send logs; ask the operator to install the newest agent on its host"),
        },
        Code::ResourceExhausted => Error::Busy,
        _ => Error::Unavailable {
            message: format!("node {node} went away, or cannot read logs: {}", status.message()),
            retry_after: core.times.poll,
        },
    }
}

fn not_placed() -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::NotPlaced,
        message: "the project has no node (it waits for capacity, or was removed), and so no logs".to_owned(),
    }
}

fn no_logs(services: &[String]) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::NoLogs,
        message: format!(
            "there are no lines, because these services have no container, with which a log goes: {}; start the project, or \
             follow its logs to see what it prints when it comes up",
            services.join(", ")
        ),
    }
}
