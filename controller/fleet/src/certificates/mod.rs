//! This replica's view of the fleet's roots, and the certificates that it presents.
//!
//! Input: the rows of `authorities`, polled, and the time. Output: the signing root, the roots to trust, and a TLS
//! configuration for new connections; existing connections stay open. The operator replaces a root in three steps:
//! NEXT (trusted), SIGNING (the previous one becomes OLD, still trusted), RETIRED.

pub mod api;
#[cfg(test)]
mod fuzz;
mod nonce;
pub mod store;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use rand::RngExt as _;
use supalove_certs::{
    CaFingerprint, CertificateAuthority, CertificateLife, ControllerCertificate, DownloadKey,
    IssuedCertificate, NodeIdentity, TrustBundle, tls::NodePortTls,
};
use supalove_proto::node::v1::{NodeCertificate, Trust};
use tokio::sync::{Mutex, watch};

pub use api::AuthorityApi;
pub use nonce::Nonces;
pub use store::SEALED;

use supalove_core::{
    Core, Write,
    error::{Error, Result},
    ids::{AuthorityId, ControllerId},
    sql_enum,
    times::Times,
    wire::timestamp,
};

/// Remaining lifetime of the signing root from which the controller logs an error.
const ROOT_ENDS_SOON: TimeDelta = TimeDelta::days(365);
/// Retry interval while every root has expired, so that there is no certificate to present.
const NOTHING_SHOWN: TimeDelta = TimeDelta::minutes(10);

sql_enum! {
    /// Whether a root is trusted, and whether it signs.
    AuthorityState {
        /// Trusted; signs nothing yet.
        Next = "NEXT",
        Signing = "SIGNING",
        /// Trusted; no longer signs.
        Old = "OLD",
        Retired = "RETIRED",
    }
}

#[derive(Debug)]
pub struct Root {
    pub id: AuthorityId,
    /// SIGNING, NEXT or OLD.
    pub state: AuthorityState,
    /// Its certificate and key.
    pub authority: CertificateAuthority,
}

/// The trusted roots, the signing one first. Never empty.
#[derive(Debug)]
pub struct Roots(Vec<Root>);

impl Roots {
    /// Sorts the signing root first. Returns an error if no root signs.
    pub fn new(mut roots: Vec<Root>) -> Result<Self> {
        roots.sort_by_key(|root| root.state != AuthorityState::Signing);
        match roots.first() {
            Some(first) if first.state == AuthorityState::Signing => Ok(Self(roots)),
            _ => Err(Error::internal("no root signs: restore the table authorities from a backup")),
        }
    }

    /// Returns the signing root.
    pub fn signing(&self) -> &CertificateAuthority {
        &self.0[0].authority
    }

    /// Returns the fingerprints of all trusted roots.
    pub fn fingerprints(&self) -> Vec<CaFingerprint> {
        self.0.iter().map(|root| root.authority.fingerprint()).collect()
    }

    /// Returns the certificates of all trusted roots, PEM.
    pub fn trusted_pem(&self) -> Vec<String> {
        self.0.iter().map(|root| root.authority.cert_pem().to_owned()).collect()
    }

    /// Returns the roots as `SetTrust` and `Hello` send them.
    pub fn trust(&self) -> Trust {
        let signing_ca_sha256 = self.signing().fingerprint().to_string();
        Trust { trusted_ca_pem: self.trusted_pem(), signing_ca_sha256 }
    }

    /// Converts a node's certificate to its message.
    pub fn answer(&self, issued: &IssuedCertificate) -> NodeCertificate {
        NodeCertificate {
            certificate_pem: issued.cert_pem.clone(),
            expire_time: Some(timestamp(issued.not_after)),
            trusted_ca_pem: self.trusted_pem(),
        }
    }

    fn states(&self) -> Vec<(AuthorityId, AuthorityState)> {
        self.0.iter().map(|root| (root.id, root.state)).collect()
    }
}

/// This replica's view. Cheap to clone.
#[derive(Clone)]
pub struct Pki(Arc<Inner>);

struct Inner {
    core: Core,
    roots: watch::Sender<Arc<Roots>>,
    tls: watch::Sender<Arc<NodePortTls>>,
    download_key: DownloadKey,
    /// When the presented certificates are due for renewal. The lock also serializes refreshes.
    shown: Mutex<Shown>,
}

/// When this replica issued its certificates, and when it must renew them.
#[derive(Debug, Clone, Copy)]
struct Shown {
    issued: DateTime<Utc>,
    due: DateTime<Utc>,
}

impl Shown {
    /// Also due if the clock was set back: peers refuse certificates that are not valid yet.
    fn is_due(self, now: DateTime<Utc>) -> bool {
        now < self.issued || now >= self.due
    }
}

impl Pki {
    /// Reads the roots and issues this replica's certificates.
    pub async fn load(core: &Core, download_key: DownloadKey) -> Result<Self> {
        let roots = read(core).await?;
        let (tls, shown) = certify(&roots, &download_key, core.controller, &core.times, Utc::now())?;
        Ok(Self(Arc::new(Inner {
            core: core.clone(),
            roots: watch::Sender::new(Arc::new(roots)),
            tls: watch::Sender::new(Arc::new(tls)),
            download_key,
            shown: Mutex::new(shown),
        })))
    }

    /// Returns the current roots.
    pub fn roots(&self) -> Arc<Roots> {
        self.0.roots.borrow().clone()
    }

    /// Subscribes to the roots and their changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Roots>> {
        self.0.roots.subscribe()
    }

    /// Returns the TLS configuration for the next connection.
    pub fn tls(&self) -> Arc<NodePortTls> {
        self.0.tls.borrow().clone()
    }

    /// Signs with the signing root if this replica's roots are those of the transaction, which then holds them until
    /// its end. Returns `None` if they are not: roll back, call [`Pki::refresh`], and retry.
    pub async fn sign(
        &self,
        write: &mut impl Write,
        csr_pem: &str,
        identity: &NodeIdentity,
    ) -> Result<Option<(Arc<Roots>, IssuedCertificate)>> {
        let roots = self.roots();
        if store::hold_trusted(write).await? != sorted(roots.states()) {
            return Ok(None);
        }
        let issued =
            roots.signing().sign_node(csr_pem, identity, Utc::now()).map_err(|error| match error {
                supalove_certs::CaError::Csr(csr) => Error::field("csr_pem", csr.to_string()),
                other => Error::internal(other),
            })?;
        Ok(Some((roots, issued)))
    }

    /// Loads changed roots and renews this replica's certificates if due. Existing connections stay open.
    pub async fn refresh(&self) -> Result<()> {
        let mut shown = self.0.shown.lock().await;
        let changed = store::trusted(&self.0.core.db).await? != sorted(self.roots().states());
        if !changed && !shown.is_due(Utc::now()) {
            return Ok(());
        }
        let roots = if changed { Arc::new(read(&self.0.core).await?) } else { self.roots() };
        let core = &self.0.core;
        let (tls, next) = certify(&roots, &self.0.download_key, core.controller, &core.times, Utc::now())?;
        *shown = next;
        self.0.tls.send_replace(Arc::new(tls));
        tracing::info!(
            signing = %roots.signing().fingerprint(), roots = roots.0.len(), changed, "certificates of this controller renewed"
        );
        if changed {
            self.0.roots.send_replace(roots);
        }
        Ok(())
    }
}

fn sorted(mut states: Vec<(AuthorityId, AuthorityState)>) -> Vec<(AuthorityId, AuthorityState)> {
    states.sort_by_key(|(id, _)| *id);
    states
}

async fn read(core: &Core) -> Result<Roots> {
    let life = |d: Duration| TimeDelta::from_std(d).map_err(Error::internal);
    let node = life(core.times.node_certificate)?;
    let controller = life(core.times.controller_certificate)?;
    let roots = store::open(&core.db, &core.vault)
        .await?
        .into_iter()
        .map(|root| Root { authority: root.authority.with_lifetimes(node, controller), ..root });
    Roots::new(roots.collect())
}

/// Issues a certificate from each root, the signing root's first, and returns when to renew them. It skips expired
/// roots. If all have expired, agents cannot connect, but the operator can still create another root.
fn certify(
    roots: &Roots,
    download_key: &DownloadKey,
    controller: ControllerId,
    times: &Times,
    now: DateTime<Utc>,
) -> Result<(NodePortTls, Shown)> {
    warn_of_the_end(roots.signing(), now);
    let certificates: Vec<ControllerCertificate> = roots
        .0
        .iter()
        .filter(|root| root.authority.not_after() > now)
        .map(|root| root.authority.issue_controller(controller.0, now).map_err(Error::internal))
        .collect::<Result<_>>()?;
    let due = certificates
        .iter()
        .map(|c| CertificateLife { issued: now, ends: c.not_after }.renewal(rand::rng().random()));
    let due = due.min().unwrap_or(now + NOTHING_SHOWN);
    let bundle = TrustBundle::from_pem(&roots.trusted_pem().concat()).map_err(Error::internal)?;
    let tls = NodePortTls::with_roots(&certificates, bundle, times.handshake)
        .and_then(|tls| tls.with_downloads(download_key, now))
        .map_err(Error::internal)?;
    Ok((tls, Shown { issued: now, due }))
}

/// Nodes that do not learn the next root before the signing root expires must be recovered by hand.
fn warn_of_the_end(signing: &CertificateAuthority, now: DateTime<Utc>) {
    let root = signing.fingerprint();
    let ends = signing.not_after();
    if ends <= now {
        tracing::error!(%root, %ends, "signing root has expired and signs nothing: create and activate another");
    } else if ends - now < ROOT_ENDS_SOON {
        tracing::error!(%root, %ends, "signing root expires within a year: create and activate another");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(state: AuthorityState, age_days: i64) -> Root {
        let made = Utc::now() - TimeDelta::days(age_days);
        let authority = CertificateAuthority::create("test", made).unwrap();
        Root { id: AuthorityId::generate(), state, authority }
    }

    #[test]
    fn certificates_are_due_in_their_time_and_when_the_clock_was_set_back() {
        let issued = Utc::now();
        let shown = Shown { issued, due: issued + TimeDelta::days(45) };
        assert!(!shown.is_due(issued) && !shown.is_due(issued + TimeDelta::days(44)));
        assert!(shown.is_due(issued + TimeDelta::days(45)));
        assert!(shown.is_due(issued - TimeDelta::days(2)));
    }

    #[test]
    fn a_controller_starts_with_an_ended_signing_root() {
        let times = Times::default();
        let id = ControllerId::generate();
        let now = Utc::now();
        let ended = Roots::new(vec![root(AuthorityState::Signing, 3651)]).unwrap();
        let key = DownloadKey::generate().unwrap();
        let (_, shown) = certify(&ended, &key, id, &times, now).unwrap();
        assert_eq!(shown.due, now + NOTHING_SHOWN);
        let replaced =
            Roots::new(vec![root(AuthorityState::Old, 3651), root(AuthorityState::Signing, 0)]).unwrap();
        let (_, shown) = certify(&replaced, &key, id, &times, now).unwrap();
        assert!(shown.due > now + TimeDelta::days(40));
    }
}
