//! How long the audit log keeps an organization's rows: as many days as its logs.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use supalove_core::{database::Db, error::Result, ids::OrganizationId, retention::AuditRetention};

use crate::{Entitlement, Value, store};

const DAY: Duration = Duration::from_hours(24);

/// The log days of plans and overrides.
#[derive(Debug)]
pub struct LogDays {
    pub db: Db,
    /// For organizations that were deleted.
    pub otherwise: Duration,
}

impl AuditRetention for LogDays {
    fn kept(&self, organization: OrganizationId) -> BoxFuture<'_, Result<Duration>> {
        async move {
            let days = match store::find_entitlements(&self.db, organization).await? {
                Some(held) => held.limits()?.value(Entitlement::LogDays),
                // It is deleted: its log goes with those of the platform.
                None => return Ok(self.otherwise),
            };
            let Value::Number(days) = days else { return Ok(self.otherwise) };
            Ok(DAY * u32::try_from(days).unwrap_or(u32::MAX))
        }
        .boxed()
    }
}
