//! Opens the room: creates the first cluster and the first root, and returns what the server mounts.

use std::sync::Arc;

use supalove_core::{
    Core, Room,
    error::Result,
    hints::Hint,
    jobs::{
        Job, Rhythm,
        Rhythm::{Every, Woken},
    },
    platform,
    retention::in_batches,
};
use supalove_proto::v1::{
    authority_service_server::AuthorityServiceServer, cluster_service_server::ClusterServiceServer,
};
use zeroize::Zeroizing;

use crate::{
    certificates::{self, AuthorityApi, Nonces, Pki},
    clusters::{self, ClusterApi, NodeStreams, enrolment::EnrolmentApi},
    rules::RULES,
    sessions::{Fleet, NodePort, consistency::SessionCheck},
};

/// Opens the room. Call [`Fleet::handle_sessions`] before the node port serves.
pub async fn open(core: &Core) -> Result<Fleet> {
    let mut write = core.system_write("fleet.open");
    clusters::store::ensure_default(&mut write).await?;
    write.commit([]).await?;
    certificates::store::ensure_first(core).await?;
    Ok(Fleet::new(core.for_work(), Pki::load(&core.for_work()).await?))
}

impl Fleet {
    /// What the server mounts.
    pub fn room(&self) -> Room {
        let core = &self.core().for_calls();
        let authorities = AuthorityApi::new(core.clone(), self.pki().clone());
        Room::new("fleet", RULES)
            .service(ClusterServiceServer::new(ClusterApi::new(self.clone())))
            .service(AuthorityServiceServer::new(authorities))
            .stream(NodeStreams::new(core))
            .check(SessionCheck(self.clone()))
            .job(job("fleet.follow_roots", Woken(Hint::Roots, core.times.poll), self, |fleet| async move {
                fleet.pki().refresh().await
            }))
            .job(job(
                "fleet.judge_sessions",
                Woken(Hint::Sessions, core.times.poll),
                self,
                |fleet| async move { fleet.judge().await },
            ))
            .job(job("fleet.flush_seen", Every(core.times.seen_flush), self, |fleet| async move {
                fleet.flush_seen().await
            }))
            .job(Job::leased("fleet.prune", Every(core.times.prune), {
                let fleet = self.clone();
                move |_| prune(fleet.clone())
            }))
    }

    /// Creates the node port, which agents dial.
    pub async fn node_port(&self) -> Result<NodePort> {
        let core = self.core().for_calls();
        let key = platform::secret(&core.db, &core.vault, "recovery-nonce-key", || {
            Nonces::generate_key().map(Zeroizing::new)
        })
        .await?;
        let enrolment = EnrolmentApi::new(core.clone(), self.pki().clone(), Arc::new(Nonces::new(&key)));
        let dialled_from = self.dialled_from().await?;
        Ok(NodePort::new(self.clone(), enrolment, dialled_from))
    }
}

/// Creates a job that each replica runs on its own sessions.
fn job<F>(
    name: &'static str,
    rhythm: Rhythm,
    fleet: &Fleet,
    work: impl Fn(Fleet) -> F + Send + Sync + 'static,
) -> Job
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let fleet = fleet.clone();
    Job::on_each(name, rhythm, move |_| work(fleet.clone()))
}

async fn prune(fleet: Fleet) -> Result<()> {
    let core = fleet.core();
    let mut write = core.system_write("fleet.prune");
    clusters::store::prune_nonces(&mut write).await?;
    write.commit([]).await?;
    fleet.prune().await?;
    in_batches(|| async {
        let mut write = core.system_write("fleet.prune");
        let done = clusters::store::prune(&mut write, core.times.ended_kept).await?;
        write.commit([]).await?;
        Ok(done)
    })
    .await
}
