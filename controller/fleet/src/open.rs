//! Opens the room: creates the first cluster and the first root, and returns what the server mounts.

use std::sync::Arc;

use supalove_certs::DownloadKey;
use supalove_core::{
    Core, Room,
    error::{Error, Result},
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
    registry_service_server::RegistryServiceServer,
};
use zeroize::Zeroizing;

use crate::{
    certificates::{self, AuthorityApi, Nonces, Pki},
    clusters::{
        ClusterApi, NodeStreams,
        enrolment::EnrolmentApi,
        store::{self, identities, join_tokens},
    },
    downloads::{Downloads, Settings},
    registries::RegistryApi,
    rules::RULES,
    sessions::{Fleet, NodePort, consistency::SessionCheck},
};

/// Opens the room. Call [`Fleet::handle_sessions`] before the node port serves.
pub async fn open(core: &Core, settings: Settings) -> Result<Fleet> {
    let mut write = core.system_write("fleet.open");
    store::ensure_default(&mut write).await?;
    write.commit([]).await?;
    certificates::store::ensure_first(core).await?;
    let key = download_key(core).await?;
    let downloads = Downloads::new(core, settings, &key.pin());
    let core = core.for_work();
    let pki = Pki::load(&core, key).await?;
    Ok(Fleet::new(core, pki, downloads))
}

/// The key that join commands pin. It stays: commands that were printed stay right, whichever replica answers.
async fn download_key(core: &Core) -> Result<DownloadKey> {
    let pem = platform::secret(&core.db, &core.vault, "download-key", || {
        let key = DownloadKey::generate().map_err(Error::internal)?;
        Ok(Zeroizing::new(key.to_pem().as_bytes().to_vec()))
    })
    .await?;
    let pem = std::str::from_utf8(&pem).map_err(Error::internal)?;
    DownloadKey::from_pem(pem).map_err(Error::internal)
}

impl Fleet {
    /// What the server mounts.
    pub fn room(&self) -> Room {
        let core = &self.core().for_calls();
        let authorities = AuthorityApi::new(core.clone(), self.pki().clone());
        Room::new("fleet", RULES)
            .service(ClusterServiceServer::new(ClusterApi::new(self.clone())))
            .service(AuthorityServiceServer::new(authorities))
            .service(RegistryServiceServer::new(RegistryApi::new(core.clone())))
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
    identities::prune_nonces(&mut write).await?;
    write.commit([]).await?;
    fleet.prune().await?;
    in_batches(|| async {
        let mut write = core.system_write("fleet.prune");
        let certificates_done = identities::prune_certificates(&mut write, core.times.ended_kept).await?;
        let tokens_done = join_tokens::prune(&mut write, core.times.ended_kept).await?;
        let clusters_done = store::clusters::prune(&mut write).await?;
        write.commit([]).await?;
        Ok(certificates_done && tokens_done && clusters_done)
    })
    .await
}
