//! The fleet's roots as this replica knows them, and the certificates it shows.
//!
//! In: the rows of `authorities`, looked at every poll, and the time. Out: the roots to sign with and to trust, and a TLS
//! configuration that is replaced while connections live on. A root is replaced in three steps, each one an operator's
//! act: NEXT (trusted), SIGNING (the one before becomes OLD, still trusted), RETIRED.

pub mod api;
#[cfg(test)]
mod fuzz;
mod nonce;
pub mod store;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use rand::RngExt as _;
use supalove_certs::{
    CaFingerprint, CertificateAuthority, CertificateLife, ControllerCertificate, IssuedCertificate,
    NodeIdentity, TrustBundle, tls::NodePortTls,
};
use supalove_proto::node::v1::{NodeCertificate, Trust};
use tokio::sync::{Mutex, watch};

pub use api::AuthorityApi;
pub use nonce::Nonces;

use supalove_core::{
    Core, Write,
    error::{Error, Result},
    ids::{AuthorityId, ControllerId},
    sql_enum,
    times::Times,
    wire::timestamp,
};

/// Left of the signing root's life when its end begins to be an error in the log.
const ROOT_ENDS_SOON: TimeDelta = TimeDelta::days(365);
/// When there is nothing to show, it is looked again after this.
const NOTHING_SHOWN: TimeDelta = TimeDelta::minutes(10);

sql_enum! {
    /// What a root is used for.
    AuthorityState {
        /// Trusted; signs nothing yet.
        Next = "NEXT",
        /// Trusted; signs.
        Signing = "SIGNING",
        /// Trusted; signs nothing any more.
        Old = "OLD",
        /// Not trusted.
        Retired = "RETIRED",
    }
}

/// A trusted root.
#[derive(Debug)]
pub struct Root {
    /// Which.
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
    /// Signing first. An installation without a signing root is damaged.
    pub fn new(mut roots: Vec<Root>) -> Result<Self> {
        roots.sort_by_key(|root| root.state != AuthorityState::Signing);
        match roots.first() {
            Some(first) if first.state == AuthorityState::Signing => Ok(Self(roots)),
            _ => Err(Error::internal("no root signs: restore the table authorities from a backup")),
        }
    }

    /// The root that signs.
    pub fn signing(&self) -> &CertificateAuthority {
        &self.0[0].authority
    }

    /// Names of all trusted roots.
    pub fn fingerprints(&self) -> Vec<CaFingerprint> {
        self.0.iter().map(|root| root.authority.fingerprint()).collect()
    }

    /// All trusted roots, PEM.
    pub fn trusted_pem(&self) -> Vec<String> {
        self.0.iter().map(|root| root.authority.cert_pem().to_owned()).collect()
    }

    /// What nodes are told.
    pub fn trust(&self) -> Trust {
        let signing_ca_sha256 = self.signing().fingerprint().to_string();
        Trust { trusted_ca_pem: self.trusted_pem(), signing_ca_sha256 }
    }

    /// A node's certificate as it is sent.
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
    /// Until when the certificates shown are good; also keeps two changes from crossing.
    shown: Mutex<Shown>,
}

/// Since when certificates are shown, and when others are due.
#[derive(Debug, Clone, Copy)]
struct Shown {
    issued: DateTime<Utc>,
    due: DateTime<Utc>,
}

impl Shown {
    /// A clock that was set back makes certificates of the future, which nobody accepts.
    fn is_due(self, now: DateTime<Utc>) -> bool {
        now < self.issued || now >= self.due
    }
}

impl Pki {
    /// Reads the roots and makes this replica's certificates.
    pub async fn load(core: &Core) -> Result<Self> {
        let roots = read(core).await?;
        let (tls, shown) = certify(&roots, core.controller, &core.times, Utc::now())?;
        Ok(Self(Arc::new(Inner {
            core: core.clone(),
            roots: watch::Sender::new(Arc::new(roots)),
            tls: watch::Sender::new(Arc::new(tls)),
            shown: Mutex::new(shown),
        })))
    }

    /// The roots now.
    pub fn roots(&self) -> Arc<Roots> {
        self.0.roots.borrow().clone()
    }

    /// The roots, and each change of them.
    pub fn watch(&self) -> watch::Receiver<Arc<Roots>> {
        self.0.roots.subscribe()
    }

    /// The TLS configuration for the next connection.
    pub fn tls(&self) -> Arc<NodePortTls> {
        self.0.tls.borrow().clone()
    }

    /// Signs with the signing root, if this replica's roots are those of the transaction; they then stay so until its end.
    /// None if they are not: roll it back, [`Pki::refresh`], and try again.
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

    /// Takes up what has changed. Connections that stand are not touched.
    pub async fn refresh(&self) -> Result<()> {
        let mut shown = self.0.shown.lock().await;
        let changed = store::trusted(&self.0.core.db).await? != sorted(self.roots().states());
        if !changed && !shown.is_due(Utc::now()) {
            return Ok(());
        }
        let roots = if changed { Arc::new(read(&self.0.core).await?) } else { self.roots() };
        let (tls, next) = certify(&roots, self.0.core.controller, &self.0.core.times, Utc::now())?;
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
    let (node, controller) = (life(core.times.node_certificate)?, life(core.times.controller_certificate)?);
    let roots = store::open(&core.db, &core.vault)
        .await?
        .into_iter()
        .map(|root| Root { authority: root.authority.with_lifetimes(node, controller), ..root });
    Roots::new(roots.collect())
}

/// A fresh certificate of each root, the signing one's first, and when to renew them. A root whose life is over is shown
/// no more. If that leaves none, agents cannot connect, but an operator can still make another root.
fn certify(
    roots: &Roots,
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
    let tls = NodePortTls::with_roots(&certificates, bundle, times.handshake).map_err(Error::internal)?;
    Ok((tls, Shown { issued: now, due }))
}

/// Nodes that do not learn the next root before the signing one ends have to be recovered by hand.
fn warn_of_the_end(signing: &CertificateAuthority, now: DateTime<Utc>) {
    let (root, ends) = (signing.fingerprint(), signing.not_after());
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
        let (times, id, now) = (Times::default(), ControllerId::generate(), Utc::now());
        let ended = Roots::new(vec![root(AuthorityState::Signing, 3651)]).unwrap();
        let (_, shown) = certify(&ended, id, &times, now).unwrap();
        assert_eq!(shown.due, now + NOTHING_SHOWN);
        let replaced =
            Roots::new(vec![root(AuthorityState::Old, 3651), root(AuthorityState::Signing, 0)]).unwrap();
        let (_, shown) = certify(&replaced, id, &times, now).unwrap();
        assert!(shown.due > now + TimeDelta::days(40));
    }
}
