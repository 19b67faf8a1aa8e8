//! [`Core`]: the shared parts with which the server opens every room.

use crate::database::{Db, Pools};
use std::{ops::Deref, sync::Arc};

use supalove_tasks::Tasks;

use crate::{
    access::Access, error::Result, hints::Hints, ids::ControllerId, jobs::Jobs, platform, times::Times,
    vault::Vault,
};

/// The shared parts of all rooms. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Core {
    /// The control database, through the pool of who holds this handle: that of calls, or that of jobs and sessions.
    pub db: Db,
    parts: Arc<Parts>,
}

/// See [`Core`].
#[derive(Debug)]
pub struct Parts {
    /// Connections to the control database.
    pools: Pools,
    /// Seals and opens secrets.
    pub vault: Vault,
    /// All times of the control plane.
    pub times: Arc<Times>,
    /// Id of this replica, new at each start.
    pub controller: ControllerId,
    /// Address at which agents and other replicas reach this replica's node port, host:port.
    pub node_address: String,
    /// Label value that marks this installation's containers.
    pub fleet_id: String,
    /// Checks permissions on objects.
    pub access: Access,
    /// Publishes changes to listeners.
    pub hints: Hints,
    /// The jobs of this replica with their last results.
    pub jobs: Jobs,
    /// Owns and stops every task of this replica.
    pub tasks: Tasks,
}

impl Core {
    /// Creates the parts on a migrated database, and registers this replica. The handle is for calls.
    ///
    /// `fleet_id` has an effect only at the first start.
    pub async fn open(
        pools: Pools,
        vault: Vault,
        times: Times,
        node_address: String,
        fleet_id: Option<&str>,
    ) -> Result<Self> {
        let controller = ControllerId::generate();
        let db = pools.calls.clone();
        let fleet_id = platform::fleet_id(&db, fleet_id).await?;
        register(&db, controller, &node_address).await?;
        let parts = Parts {
            access: Access::new(db.clone()),
            pools,
            vault,
            times: Arc::new(times),
            controller,
            node_address,
            fleet_id,
            hints: Hints::default(),
            jobs: Jobs::default(),
            tasks: Tasks::default(),
        };
        Ok(Self { db, parts: Arc::new(parts) })
    }

    /// The same parts for jobs and sessions, which have connections of their own: calls cannot starve them.
    #[must_use]
    pub fn for_work(&self) -> Self {
        Self { db: self.pools.work.clone(), parts: self.parts.clone() }
    }

    /// The same parts for calls.
    #[must_use]
    pub fn for_calls(&self) -> Self {
        Self { db: self.pools.calls.clone(), parts: self.parts.clone() }
    }
}

impl Deref for Core {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

async fn register(db: &Db, controller: ControllerId, address: &str) -> Result<()> {
    sqlx::query!(
        "INSERT INTO controllers (id, address, version) VALUES ($1, $2, $3)",
        controller.0,
        address,
        env!("CARGO_PKG_VERSION"),
    )
    .execute(db)
    .await?;
    Ok(())
}
