//! Leases for jobs that one replica runs at a time: a row with an epoch, which the holder renews, by the database's
//! clock. A stalled holder may not notice that its lease has expired, so its transactions check the epoch.

use crate::database::{Connection, Db};
use crate::{ids::ControllerId, times::Times};

/// A lease that this replica held when it took it.
#[derive(Debug, Clone)]
pub struct Lease {
    name: &'static str,
    holder: ControllerId,
    epoch: i64,
}

impl Lease {
    /// Locks the lease for the rest of the transaction. False if this replica no longer holds it; the caller must not
    /// write then.
    pub async fn guard(&self, tx: &mut Connection) -> Result<bool, sqlx::Error> {
        let ours = sqlx::query_scalar!(
            "SELECT true AS \"ours!\" FROM leases WHERE name = $1 AND holder = $2 AND epoch = $3 FOR SHARE",
            self.name,
            self.holder.0,
            self.epoch,
        )
        .fetch_optional(tx)
        .await?;
        Ok(ours.is_some())
    }
}

/// Acquires or renews a lease; `None` while another replica holds it.
pub async fn take(
    db: &Db,
    name: &'static str,
    holder: ControllerId,
    times: &Times,
) -> Result<Option<Lease>, sqlx::Error> {
    let epoch = sqlx::query_scalar!(
        "INSERT INTO leases (name, holder, epoch, expires_at) VALUES ($1, $2, 1, now() + make_interval(secs => $3))
         ON CONFLICT (name) DO UPDATE SET
             epoch = CASE WHEN leases.holder = EXCLUDED.holder THEN leases.epoch ELSE leases.epoch + 1 END,
             holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at
         WHERE leases.holder = EXCLUDED.holder OR leases.expires_at < now()
         RETURNING epoch",
        name,
        holder.0,
        times.lease.as_secs_f64(),
    )
    .fetch_optional(db)
    .await?;
    Ok(epoch.map(|epoch| Lease { name, holder, epoch }))
}
