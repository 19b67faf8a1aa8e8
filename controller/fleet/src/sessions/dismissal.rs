//! Ends a session from the controller's side: tells the agent why, then closes the connection. Each replica polls the
//! database for sessions to close, so that a decision of any replica is enforced on all of them.

use std::time::Duration;

use supalove_proto::node::v1::{
    GoodbyeReason, GoodbyeRequest, node_agent_service_client::NodeAgentServiceClient,
};
use tonic::{Code, transport::Channel};

use super::{Fleet, Session, store};
use supalove_core::{
    error::{Result, chain},
    ids::NodeId,
    times::Times,
    wire,
};

/// Why the controller ends a session, as the agent gets it.
#[derive(Debug, Clone)]
pub struct Dismissal {
    reason: GoodbyeReason,
    message: String,
    retry_after: Duration,
}

impl Dismissal {
    /// The operator revoked the node.
    pub fn revoked(times: &Times) -> Self {
        Self {
            reason: GoodbyeReason::Revoked,
            message: "this node was revoked by an operator; to bring the host back, join it again under another name"
                .to_owned(),
            retry_after: times.revoked_retry,
        }
    }

    /// Another agent uses the same identity.
    pub fn duplicate(retry_after: Duration) -> Self {
        Self {
            reason: GoodbyeReason::DuplicateIdentity,
            message: "another agent with this node's identity is connected: the state directory was copied; stop one \
                      of the two, and join its host again"
                .to_owned(),
            retry_after,
        }
    }

    fn superseded() -> Self {
        let message = "a newer session of this agent has taken over".to_owned();
        Self { reason: GoodbyeReason::Superseded, message, retry_after: Duration::ZERO }
    }

    fn retired() -> Self {
        let message = "the root that signed this connection's certificate is no longer trusted".to_owned();
        Self { reason: GoodbyeReason::CertificateRetired, message, retry_after: Duration::ZERO }
    }
}

/// Sends the Goodbye; true if the agent answers. An old agent that does not know the call answers too.
pub async fn tell(channel: Channel, dismissal: &Dismissal, times: &Times) -> bool {
    let request = GoodbyeRequest {
        reason: dismissal.reason.into(),
        message: dismissal.message.clone(),
        retry_after: Some(wire::proto_duration(dismissal.retry_after)),
    };
    let mut client = NodeAgentServiceClient::new(channel);
    match tokio::time::timeout(times.goodbye, client.goodbye(request)).await {
        Ok(Ok(_)) => true,
        Ok(Err(status)) => status.code() == Code::Unimplemented,
        Err(_) => false,
    }
}

impl Fleet {
    /// Ends a session: stops its work, tells the agent, closes the connection. True if the agent answered.
    async fn dismiss(&self, session: Session, dismissal: &Dismissal) -> bool {
        self.forget(session.node, session.epoch);
        session.ended.cancel();
        let heard = tell(session.channel.clone(), dismissal, &self.0.core.times).await;
        tracing::info!(
            node = %session.node, epoch = session.epoch, reason = ?dismissal.reason, heard, "session closed by the controller"
        );
        session.cut.cancel();
        heard
    }

    /// Ends a session because the node has a newer one, here or on another replica. If another agent process still
    /// answers on the older one, two agents have the identity.
    pub(super) async fn supersede(&self, older: Session, run_id: &str, boot_id: &str) {
        if older.run_id == run_id {
            self.dismiss(older, &Dismissal::superseded()).await;
            return;
        }
        let node = older.node;
        let dismissal = Dismissal::duplicate(self.0.core.times.duplicate_hold);
        let detail = format!(
            "two agents have this identity: run {} on boot {}, and run {run_id} on boot {boot_id}; the controller serves the newest",
            older.run_id, older.boot_id
        );
        if !self.dismiss(older, &dismissal).await {
            return;
        }
        tracing::error!(%node, detail, "two agents use the identity of this node");
        if let Err(error) = self.raise_duplicate(node, &detail).await {
            tracing::warn!(%node, error = chain(&error), "cannot record the alarm of a duplicate identity");
        }
    }

    async fn raise_duplicate(&self, node: NodeId, detail: &str) -> Result<()> {
        let mut write = self.0.core.system_write(node.to_string());
        store::duplicate(&mut write, node, detail, &self.0.core.times).await?;
        write.commit([]).await
    }

    /// Checks the sessions of this replica once.
    pub async fn judge(&self) -> Result<()> {
        let held: Vec<Session> = self.lock().values().cloned().collect();
        let trusted = self.0.pki.roots().fingerprints();
        for session in &held {
            if session.issuer.is_some_and(|issuer| !trusted.contains(&issuer)) {
                self.spawn_dismissal(session.clone(), Dismissal::retired());
            }
        }
        let nodes: Vec<_> = held.iter().map(|session| session.node.0).collect();
        let epochs: Vec<_> = held.iter().map(|session| session.epoch).collect();
        for ended in store::to_end(&self.0.core.db, &nodes, &epochs).await? {
            let Some(session) = held.iter().find(|session| session.node == ended.node).cloned() else {
                continue;
            };
            if ended.revoked {
                self.spawn_dismissal(session, Dismissal::revoked(&self.0.core.times));
            } else {
                let fleet = self.clone();
                self.0.core.tasks.connection("goodbye", async move {
                    fleet.supersede(session, &ended.run_id, &ended.boot_id).await;
                });
            }
        }
        Ok(())
    }

    /// Ends a session in a task of its own, so that agents that do not answer do not delay the others.
    fn spawn_dismissal(&self, session: Session, dismissal: Dismissal) {
        // So that the next check does not end it again.
        self.forget(session.node, session.epoch);
        let fleet = self.clone();
        self.0.core.tasks.connection("goodbye", async move { fleet.dismiss(session, &dismissal).await });
    }

    /// Hides a session from callers and closes its bulk connection.
    pub(super) fn forget(&self, node: NodeId, epoch: i64) {
        let mut sessions = self.lock();
        if sessions.get(&node).is_some_and(|live| live.epoch == epoch) {
            sessions.remove(&node);
            self.0.bulk.cut(node);
        }
    }
}
