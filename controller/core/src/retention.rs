//! How jobs delete what is too old: in batches, so that no statement takes long and no transaction holds many locks. And how
//! long the audit log keeps the rows of an organization.

use std::{fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;

use crate::{Core, audit::Chain, error::Result, ids::OrganizationId};

/// The database deletes no younger row of an organization, whatever its plan says.
pub const AUDIT_KEPT_LEAST: Duration = Duration::from_hours(24);

/// For how long rows are kept, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The time.
    pub time: Duration,
    /// Plan of the organization; empty for the platform, and if the organization was deleted.
    pub plan: String,
}

/// How long the audit log keeps an organization's rows. The room of the plans implements it.
pub trait AuditRetention: fmt::Debug + Send + Sync + 'static {
    /// Returns the time for this organization.
    fn kept(&self, organization: OrganizationId) -> BoxFuture<'_, Result<Kept>>;
}

impl Core {
    /// Sets what decides for each organization; only the first call has an effect. Without it
    /// [`Times::audit_kept`](crate::times::Times::audit_kept) holds for all.
    pub fn set_audit_retention(&self, retention: Arc<dyn AuditRetention>) {
        let _ = self.audit_retention.set(retention);
    }

    /// How long the rows of a chain are kept.
    pub async fn audit_kept(&self, chain: Chain) -> Result<Duration> {
        Ok(self.audit_retention(chain).await?.time)
    }

    /// The same with the reason.
    pub async fn audit_retention(&self, chain: Chain) -> Result<Kept> {
        match (chain, self.audit_retention.get()) {
            (Chain::Organization(id), Some(retention)) => {
                let kept = retention.kept(id).await?;
                Ok(Kept { time: kept.time.max(AUDIT_KEPT_LEAST), ..kept })
            }
            _ => Ok(Kept { time: self.times.audit_kept, plan: String::new() }),
        }
    }
}

/// Batches of one run of a job; the rest follows in the next run.
const BATCHES: usize = 100;

/// Deletes batch after batch until one says that nothing is left, or the run has done its share.
pub async fn in_batches<F>(mut delete: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    for _ in 0..BATCHES {
        if delete().await? {
            return Ok(());
        }
    }
    Ok(())
}
