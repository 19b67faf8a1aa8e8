//! Append-only record of who did what. An act writes its row in its own statement or transaction. One leased job [`seal`]s
//! the rows afterwards, so that no chain is a lock: it chains the rows of each organization, and those of the platform, by
//! hash. Another one signs [`checkpoints`] and [`digests`] of the chains, and cuts off what is older than the retention; [`verify`]
//! checks it all, and [`events`] reads rows for people. A broken chain stops alone until somebody notes the break ([`repairs`]).

pub mod broken;
mod chain;
pub mod checkpoints;
pub mod digests;
pub mod events;
mod heads;
pub mod repairs;
pub mod retentions;
mod seal;
pub mod verify;

use sqlx::PgExecutor;
use uuid::Uuid;

pub use chain::{Chain, Shown};
pub use seal::seal;

use crate::{access::Call, error::Result, ids::OrganizationId};

/// An audit row to write.
#[derive(Debug, Clone)]
pub struct Entry {
    /// UUIDv7.
    pub id: Uuid,
    /// Whose part of the log.
    pub chain: Chain,
    /// `usr_…`, `usr_… pat_…` with a personal access token, `nod_…`, or anonymous.
    pub actor: String,
    /// What the actor showed.
    pub shown: Shown,
    /// RPC.
    pub method: String,
    /// Object of the act.
    pub target: String,
    /// `OK`, or the gRPC code of the refusal.
    pub outcome: String,
    /// Client address.
    pub client: String,
    /// Trace id of the call.
    pub trace_id: String,
}

impl Entry {
    /// Creates the row of a successful call. It belongs to the organization in which the caller was allowed to act, or which
    /// the target names.
    pub fn from_call(call: &Call, target: impl Into<String>) -> Self {
        let target = target.into();
        Self {
            id: Uuid::now_v7(),
            chain: call
                .organization
                .get()
                .map_or_else(|| Chain::from_target(&target), |id| Chain::Organization(*id)),
            actor: call.principal.as_ref().map_or_else(|| "anonymous".to_owned(), ToString::to_string),
            shown: Shown::by(call.principal.as_ref()),
            method: call.method.to_owned(),
            target,
            outcome: "OK".to_owned(),
            client: call.client.map(|a| a.to_string()).unwrap_or_default(),
            trace_id: call.trace_id.clone(),
        }
    }

    /// Creates the row of a refused call. That of a stranger is the platform's: nobody fills an organization's log from
    /// outside.
    pub fn refused(call: &Call, code: tonic::Code) -> Self {
        let chain = call.organization.get().map_or(Chain::Platform, |id| Chain::Organization(*id));
        let target = call.named.get().map(String::as_str).unwrap_or_default();
        let outcome = call.refused_as.get().map_or_else(|| format!("{code:?}"), |said| (*said).to_owned());
        Self { chain, outcome, ..Self::from_call(call, target) }
    }

    /// Creates the row of a background act of the control plane.
    pub fn system(actor: impl Into<String>, method: &str, target: impl Into<String>) -> Self {
        let actor = actor.into();
        let target = target.into();
        Self {
            id: Uuid::now_v7(),
            chain: Chain::from_target(&target),
            shown: Shown::in_background(&actor),
            actor,
            method: method.to_owned(),
            target,
            outcome: "OK".to_owned(),
            client: String::new(),
            trace_id: String::new(),
        }
    }

    /// The row once more, for the log of another organization.
    #[must_use]
    pub fn copy_in(&self, organization: OrganizationId, target: &str) -> Self {
        Self { id: Uuid::now_v7(), target: target.to_owned(), ..self.clone() }.in_organization(organization)
    }

    /// Says in whose organization it happened.
    #[must_use]
    pub fn in_organization(self, organization: OrganizationId) -> Self {
        Self { chain: Chain::Organization(organization), ..self }
    }
}

/// Writes a row. Pass the transaction of the act.
pub async fn record(db: impl PgExecutor<'_>, entry: &Entry) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO audit_log (id, actor, method, target, outcome, client, trace_id, chain, credential)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        entry.id,
        entry.actor,
        entry.method,
        entry.target,
        entry.outcome,
        entry.client,
        entry.trace_id,
        entry.chain.id(),
        entry.shown.as_sql(),
    )
    .execute(db)
    .await?;
    Ok(())
}
