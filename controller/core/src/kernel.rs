//! [`Core`]: the shared parts with which the server opens every room.

use std::{ops::Deref, sync::Arc};

use sqlx::PgPool;
use supalove_net::allowance::Refusals;
use supalove_tasks::Tasks;

use crate::{
    access::Access, error::Result, hints::Hints, ids::ControllerId, jobs::Jobs, limits::Limits, platform,
    refused_calls::RefusedCalls, times::Times, vault::Vault, watch::Engine,
};

/// The shared parts of all rooms. Cheap to clone.
#[derive(Clone)]
pub struct Core(Arc<Parts>);

/// See [`Core`].
pub struct Parts {
    /// The control database.
    pub db: PgPool,
    /// Seals and opens secrets.
    pub vault: Vault,
    /// All times of the control plane.
    pub times: Arc<Times>,
    /// Limits on what peers may have open.
    pub limits: Limits,
    /// What this replica has refused.
    pub refusals: Refusals,
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
    /// Counts refused calls of strangers, for the audit.
    pub refused_calls: RefusedCalls,
    /// The jobs of this replica with their last results.
    pub jobs: Jobs,
    /// Starts watches; all rooms share it, so that each stream is read once.
    pub watches: Engine,
    /// Owns and stops every task of this replica.
    pub tasks: Tasks,
}

impl Core {
    /// Creates the parts on a migrated database, and registers this replica.
    ///
    /// `fleet_id` has an effect only at the first start.
    pub async fn open(
        db: PgPool,
        vault: Vault,
        times: Times,
        limits: Limits,
        node_address: String,
        fleet_id: Option<&str>,
    ) -> Result<Self> {
        let controller = ControllerId::generate();
        let fleet_id = platform::fleet_id(&db, fleet_id).await?;
        register(&db, controller, &node_address).await?;
        let times = Arc::new(times);
        let (hints, tasks, refusals) = (Hints::default(), Tasks::default(), Refusals::default());
        let watches = Engine::new(hints.clone(), times.clone(), tasks.clone(), &limits, refusals.clone());
        Ok(Self(Arc::new(Parts {
            access: Access::new(db.clone()),
            db,
            vault,
            times,
            limits,
            refusals,
            controller,
            node_address,
            fleet_id,
            hints,
            refused_calls: RefusedCalls::default(),
            jobs: Jobs::default(),
            watches,
            tasks,
        })))
    }
}

impl Deref for Core {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

async fn register(db: &PgPool, controller: ControllerId, address: &str) -> Result<()> {
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

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("controller", &self.controller).finish_non_exhaustive()
    }
}
