//! Tells a connected node how much the databases of its projects may hold by their plans, at once and whenever it changes.

use std::time::Duration;

use futures::future::BoxFuture;
use supalove_core::{
    Core,
    error::{Error, Result, chain},
};
use supalove_failpoints::failpoint;
use supalove_fleet::{Session, SessionHandler};
use supalove_proto::node::v1::{DatabaseLimit, SetDatabaseLimitsRequest};
use tonic::{Code, Status};

use crate::store::limits;

/// Pause after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Handles the sessions of nodes. Cheap to clone.
#[derive(Clone)]
pub struct TellLimits {
    core: Core,
}

/// What a node knows of the limits of databases.
enum Bounded {
    /// Its agent knows no such call.
    Unknown,
    /// Project and MiB.
    As(Vec<(String, i64)>),
}

impl SessionHandler for TellLimits {
    fn run(&self, session: Session) -> BoxFuture<'static, ()> {
        let tells = self.clone();
        Box::pin(async move {
            let ended = session.ended.clone();
            // The end of the session is other handlers' to see: limits never end one.
            ended.run_until_cancelled(tells.follow(&session)).await;
        })
    }
}

impl TellLimits {
    /// On the control database.
    pub fn new(core: &Core) -> Self {
        Self { core: core.for_work() }
    }

    async fn follow(&self, session: &Session) {
        let node = session.node;
        let mut told: Option<Vec<(String, i64)>> = None;
        loop {
            let pause = match self.tell(session, told.as_ref()).await {
                Ok(Bounded::Unknown) => {
                    tracing::info!(%node, "the node's agent is too old to bound databases by their plans");
                    return std::future::pending().await;
                }
                Ok(Bounded::As(now)) => {
                    told = Some(now);
                    self.core.times.usage_limits
                }
                Err(error) => {
                    tracing::warn!(%node, error = chain(&error), "cannot tell a node what databases may hold; trying again");
                    RETRY_AFTER
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn tell(&self, session: &Session, told: Option<&Vec<(String, i64)>>) -> Result<Bounded> {
        let now = limits::of_node(&self.core.db, session.node).await?;
        if told == Some(&now) {
            return Ok(Bounded::As(now));
        }
        failpoint!("controller.usage.limits_found");
        let each = now.iter().map(|(project_ref, mib)| DatabaseLimit {
            project_ref: project_ref.clone(),
            mib: mib.unsigned_abs(),
        });
        let request = SetDatabaseLimitsRequest { limits: each.collect() };
        let limit = self.core.times.agent_call;
        let call = async move { session.usage().set_database_limits(request).await };
        let answer = tokio::time::timeout(limit, call).await;
        match answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("the agent did not answer"))) {
            Ok(_) => {
                failpoint!("controller.usage.limits_told");
                Ok(Bounded::As(now))
            }
            Err(status) if status.code() == Code::Unimplemented => Ok(Bounded::Unknown),
            Err(status) => Err(Error::internal(status)),
        }
    }
}
