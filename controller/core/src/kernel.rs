//! [`Core`]: the shared parts with which the server opens every room.

use crate::database::{Db, Pools};
use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use supalove_net::allowance::Refusals;
use supalove_tasks::Tasks;

use crate::{
    access::Access,
    counter::Counter,
    error::Result,
    hints::Hints,
    ids::ControllerId,
    jobs::Jobs,
    limits::Limits,
    mail::Mail,
    platform,
    refused_calls::RefusedCalls,
    retention::AuditRetention,
    times::Times,
    vault::{Vault, keys},
    watch::Engine,
};

/// The shared parts of all rooms. Cheap to clone.
#[derive(Clone)]
pub struct Core {
    /// The control database, through the pool of who holds this handle: that of calls, or that of jobs and sessions.
    pub db: Db,
    parts: Arc<Parts>,
}

/// See [`Core`].
pub struct Parts {
    /// Connections to the control database.
    pools: Pools,
    /// Seals and opens secrets.
    pub vault: Vault,
    /// All times of the control plane.
    pub times: Arc<Times>,
    /// Limits on what peers may have open.
    pub limits: Limits,
    /// How mail is sent.
    mail: Mail,
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
    /// How often Argon2id has run, for passwords that were checked or hashed.
    pub password_hashings: Counter,
    /// Counts refused calls of strangers, for the audit.
    pub refused_calls: RefusedCalls,
    /// How long the audit log keeps an organization's rows, if not all have the same time.
    pub(crate) audit_retention: OnceLock<Arc<dyn AuditRetention>>,
    /// The jobs of this replica with their last results.
    pub jobs: Jobs,
    /// Starts watches; all rooms share it, so that each stream is read once.
    pub watches: Engine,
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
        limits: Limits,
        mail: Mail,
        node_address: String,
        fleet_id: Option<&str>,
    ) -> Result<Self> {
        let controller = ControllerId::generate();
        let db = pools.calls.clone();
        let fleet_id = platform::fleet_id(&db, fleet_id).await?;
        register(&db, controller, &node_address, &keys::names(&vault)).await?;
        let times = Arc::new(times);
        let (hints, tasks, refusals) = (Hints::default(), Tasks::default(), Refusals::default());
        let watches = Engine::new(hints.clone(), times.clone(), tasks.clone(), &limits, refusals.clone());
        let parts = Parts {
            access: Access::new(db.clone()),
            pools,
            vault,
            times,
            limits,
            mail,
            refusals,
            controller,
            node_address,
            fleet_id,
            hints,
            password_hashings: Counter::default(),
            refused_calls: RefusedCalls::default(),
            audit_retention: OnceLock::new(),
            jobs: Jobs::default(),
            watches,
            tasks,
        };
        Ok(Self { db, parts: Arc::new(parts) })
    }

    /// Whether mail can be sent, and the base of the links in it.
    pub fn mail(&self) -> &Mail {
        &self.mail
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

async fn register(db: &Db, controller: ControllerId, address: &str, master_keys: &[String]) -> Result<()> {
    sqlx::query!(
        "INSERT INTO controllers (id, address, version, master_keys) VALUES ($1, $2, $3, $4)",
        controller.0,
        address,
        env!("CARGO_PKG_VERSION"),
        master_keys,
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
