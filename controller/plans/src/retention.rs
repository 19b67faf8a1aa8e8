//! How long the audit log keeps an organization's rows: as many days as its logs.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use supalove_core::{
    database::Db,
    error::Result,
    ids::OrganizationId,
    retention::{AuditRetention, Kept},
};

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
    fn kept(&self, organization: OrganizationId) -> BoxFuture<'_, Result<Kept>> {
        async move {
            let Some(held) = store::find_entitlements(&self.db, organization).await? else {
                // It is deleted: its log goes with those of the platform.
                return Ok(Kept { time: self.otherwise, plan: String::new() });
            };
            let time = match held.limits()?.value(Entitlement::LogDays) {
                Value::Number(days) => DAY * u32::try_from(days).unwrap_or(u32::MAX),
                _ => self.otherwise,
            };
            Ok(Kept { time, plan: held.plan.name })
        }
        .boxed()
    }
}
