//! What every room is opened with.

use std::{ops::Deref, sync::Arc};

use sqlx::PgPool;
use supalove_tasks::Tasks;

use crate::{
    access::Access, error::Result, hints::Hints, ids::ControllerId, jobs::Jobs, platform, times::Times,
    vault::Vault,
};

/// The parts that all rooms stand on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Core(Arc<Parts>);

/// See [`Core`].
#[derive(Debug)]
pub struct Parts {
    /// The control database.
    pub db: PgPool,
    /// Seals secrets.
    pub vault: Vault,
    /// Every time of the control plane.
    pub times: Arc<Times>,
    /// This run of this replica.
    pub controller: ControllerId,
    /// Where agents and other replicas reach this replica's node port, host:port.
    pub node_address: String,
    /// Label value of this installation's containers.
    pub fleet_id: String,
    /// Decides on objects.
    pub access: Access,
    /// Wakes who waits for a change.
    pub hints: Hints,
    /// The jobs of this replica, and how each went last.
    pub jobs: Jobs,
    /// Owns every task of this replica, and stops them.
    pub tasks: Tasks,
}

impl Core {
    /// Makes the parts on a database whose schema is current, and registers this replica.
    ///
    /// `fleet_id` is taken at the first start.
    pub async fn open(
        db: PgPool,
        vault: Vault,
        times: Times,
        node_address: String,
        fleet_id: Option<&str>,
    ) -> Result<Self> {
        let controller = ControllerId::generate();
        let fleet_id = platform::fleet_id(&db, fleet_id).await?;
        register(&db, controller, &node_address).await?;
        Ok(Self(Arc::new(Parts {
            access: Access::new(db.clone()),
            db,
            vault,
            times: Arc::new(times),
            controller,
            node_address,
            fleet_id,
            hints: Hints::default(),
            jobs: Jobs::default(),
            tasks: Tasks::default(),
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
