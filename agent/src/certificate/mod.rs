//! The node's certificate: renewed at a random 50 to 80 % of its life, renewed at once when another root signs, and
//! recovered when it cannot be used any more. Sessions go on meanwhile.
//!
//! In: the identity, the time, requests of the sessions. Out: an identity on disk that works. The key stays the same for
//! the node's life, so a crash between the controller's signature and our disk changes nothing.
//!
//! `clock` says when, `renew` and `recover` ask the controller, `requests` holds what sessions ask for.

mod clock;
mod recover;
mod renew;
mod requests;

use std::time::Duration;

use chrono::Utc;
use supalove_certs::tls::{NodeChannel, TlsConfigError, node_client_config};
use supalove_certs::{BundleError, CertificateLife, KeyError, TrustBundle};
use supalove_proto::node::v1::{NodeCertificate, Trust};
use tokio::time::sleep;

use self::clock::{Due, RandomMoment};
pub use self::recover::recover_by_hand;
pub use self::requests::RenewalRequests;
use crate::backoff::Backoff;
use crate::config::Times;
use crate::dial::DialError;
use crate::goodbye::{Goodbye, LastGoodbye};
use crate::identity::{Identity, IdentityError, LiveIdentity};

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    #[error(transparent)]
    Roots(#[from] BundleError),
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The controller does not accept the certificate that is to be renewed.
    #[error("the controller does not accept this node's certificate any more")]
    CertificateRefused,
    #[error("the controller refused: {message}")]
    Refused {
        /// Stable reason, e.g. "NODE_REVOKED".
        reason: String,
        message: String,
    },
    /// What the controller sent does not fit the key or the roots.
    #[error("the controller sent an unusable certificate: {0}")]
    Unusable(String),
    #[error("the announced signing root is not trusted: {0:?}")]
    SigningRoot(String),
    #[error("the controller did not answer within {0:?}")]
    Timeout(Duration),
}

/// The node's certificate, for as long as the agent runs.
#[derive(Debug)]
pub struct Certificate {
    identity: LiveIdentity,
    last_goodbye: LastGoodbye,
    times: Times,
    /// What sessions ask for.
    pub requests: RenewalRequests,
}

impl Certificate {
    pub fn new(identity: LiveIdentity, last_goodbye: LastGoodbye, times: Times) -> Self {
        Self { identity, last_goodbye, times, requests: RenewalRequests::default() }
    }

    /// Keeps the certificate fresh. Never returns.
    pub async fn keep(&self) {
        let mut backoff = Backoff::new(self.times.renew_retry_first, self.times.renew_retry_cap);
        let mut moment = RandomMoment::default();
        loop {
            let due = clock::due(&self.identity, &self.requests, &mut moment).await;
            let pause = match self.certify(due).await {
                Ok(()) => self.pause_after_success(&mut backoff),
                Err(error) => self.pause_after_failure(error, &mut backoff),
            };
            sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        }
    }

    /// Gets a new certificate and stores it.
    async fn certify(&self, due: Due) -> Result<(), RenewalError> {
        if due == Due::OtherRoot {
            // Every node hears of a new root in the same moment.
            sleep(self.times.renew_spread.mul_f64(rand::random())).await;
        }
        let identity = self.identity.get();
        let issued = match due {
            Due::Recovery => recover::recover(&identity, None, &self.times.protocol).await?,
            Due::Renewal | Due::OtherRoot => renew::renew(&identity, &self.times.protocol).await?,
        };
        self.store(&identity, issued).await?;
        self.requests.recovered();
        Ok(())
    }

    /// Stores an issued certificate if it can be used. `asked` is the identity that asked: roots that a session has
    /// stored since then are newer than those that came with the certificate.
    async fn store(&self, asked: &Identity, mut issued: NodeCertificate) -> Result<(), RenewalError> {
        let held = self.identity.get();
        if held.ca_pem != asked.ca_pem {
            issued.trusted_ca_pem = vec![held.ca_pem.clone()];
        }
        let next = with_certificate(&held, issued)?;
        let expire_time = next.expire_time.clone();
        self.identity
            .change(move |identity| {
                identity.certificate_pem.clone_from(&next.certificate_pem);
                identity.expire_time.clone_from(&next.expire_time);
                if identity.ca_pem == held.ca_pem {
                    identity.ca_pem.clone_from(&next.ca_pem);
                }
            })
            .await?;
        tracing::info!(expire_time, "certificate renewed");
        Ok(())
    }

    /// The pause after a new certificate. One that would have to be renewed as soon as it is issued must not be asked for
    /// without end.
    fn pause_after_success(&self, backoff: &mut Backoff) -> Duration {
        let identity = self.identity.get();
        if !clock::is_young(&identity, Utc::now()) {
            tracing::error!(
                "certificate is old already by this host's clock: set the clocks of this host and the controller right"
            );
            return self.times.renew_retry_cap;
        }
        if clock::is_of_other_root(&identity, self.requests.now().signing_root) {
            tracing::warn!("certificate renewed, but not by the current signing root; asking again");
            return backoff.next_pause();
        }
        backoff.reset();
        self.times.renew_retry_first
    }

    fn pause_after_failure(&self, error: RenewalError, backoff: &mut Backoff) -> Duration {
        match error {
            RenewalError::CertificateRefused => {
                self.requests.recover();
                backoff.next_pause()
            }
            RenewalError::Refused { reason, message } if reason == "NODE_REVOKED" => {
                let pause = self.times.protocol.revoked_retry;
                tracing::error!(message, ?pause, "certificate renewal refused: this node was revoked");
                self.last_goodbye.set(Goodbye::revoked(message, pause));
                pause
            }
            error => {
                let pause = backoff.next_pause();
                tracing::warn!(%error, ?pause, "certificate renewal failed, retrying");
                pause
            }
        }
    }

    /// Stores the fleet's roots as a controller has sent them on a verified session. Returns the fingerprints of what is
    /// trusted now.
    pub async fn learn_roots(&self, trust: &Trust) -> Vec<String> {
        if let Err(error) = self.try_learn_roots(trust).await {
            tracing::error!(%error, "cannot store the fleet's roots");
        }
        let trusted = self.identity.get().bundle().map(|bundle| bundle.fingerprints()).unwrap_or_default();
        trusted.iter().map(ToString::to_string).collect()
    }

    async fn try_learn_roots(&self, trust: &Trust) -> Result<(), RenewalError> {
        // An older controller sends no list of roots.
        if trust.trusted_ca_pem.is_empty() {
            return Ok(());
        }
        let pem = trust.trusted_ca_pem.concat();
        let bundle = TrustBundle::from_pem(&pem)?;
        if self.identity.get().ca_pem != pem {
            tracing::info!(roots = bundle.fingerprints().len(), "the fleet's roots have changed");
            self.identity.change(move |identity| identity.ca_pem = pem).await?;
        }
        let announced = trust.signing_ca_sha256.parse().ok();
        let signing_root = announced.filter(|root| bundle.fingerprints().contains(root));
        let unknown = || RenewalError::SigningRoot(trust.signing_ca_sha256.clone());
        self.requests.signed_by(signing_root.ok_or_else(unknown)?);
        Ok(())
    }
}

/// The identity with a new certificate: an unusable one never replaces one that works.
fn with_certificate(identity: &Identity, issued: NodeCertificate) -> Result<Identity, RenewalError> {
    let unusable = |why: &dyn std::fmt::Display| RenewalError::Unusable(why.to_string());
    let mut next = identity.clone();
    next.certificate_pem = issued.certificate_pem;
    next.ca_pem = issued.trusted_ca_pem.concat();
    let life = CertificateLife::from_pem(&next.certificate_pem).map_err(|error| unusable(&error))?;
    next.expire_time = life.ends.to_rfc3339();
    node_client_config(&next.ca_pem, &next.certificate_pem, &next.key_pem, NodeChannel::Control)
        .map_err(|error| unusable(&error))?;
    match next.bundle()?.issuer_of_pem(&next.certificate_pem) {
        Ok(Some(_)) => Ok(next),
        _ => Err(unusable(&"none of the roots sent with it signed it")),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use supalove_certs::{CertificateAuthority, NodeIdentity, NodeKey};
    use uuid::Uuid;

    use super::*;

    pub(super) fn identity(ca: &CertificateAuthority, now: DateTime<Utc>) -> Identity {
        let key = NodeKey::generate().unwrap();
        let who = NodeIdentity { cluster_id: Uuid::now_v7(), node_id: Uuid::now_v7() };
        let issued = ca.sign_node(&key.csr_pem().unwrap(), &who, now).unwrap();
        Identity {
            node_id: format!("nod_{}", who.node_id.simple()),
            fleet_id: "f".into(),
            cluster_id: "clu_1".into(),
            cluster_name: "c".into(),
            controller: "127.0.0.1:1".into(),
            hostname: "h".into(),
            certificate_pem: issued.cert_pem,
            ca_pem: ca.cert_pem().into(),
            key_pem: key.to_pem().to_string(),
            expire_time: issued.not_after.to_rfc3339(),
        }
    }

    pub(super) fn authority() -> CertificateAuthority {
        CertificateAuthority::create("test", Utc::now() - chrono::TimeDelta::days(200)).unwrap()
    }

    #[test]
    fn only_a_usable_certificate_replaces_the_old_one() {
        let ca = authority();
        let other = authority();
        let held = identity(&ca, Utc::now());
        let key = NodeKey::from_pem(&held.key_pem).unwrap();
        let who = NodeIdentity { cluster_id: Uuid::now_v7(), node_id: held.node_uuid().unwrap() };
        let next = other.sign_node(&key.csr_pem().unwrap(), &who, Utc::now()).unwrap();
        let sent = |certificate_pem: &str, roots: &[&CertificateAuthority]| NodeCertificate {
            certificate_pem: certificate_pem.into(),
            expire_time: None,
            trusted_ca_pem: roots.iter().map(|ca| ca.cert_pem().to_owned()).collect(),
        };
        let taken = with_certificate(&held, sent(&next.cert_pem, &[&other, &ca])).unwrap();
        assert_eq!(taken.bundle().unwrap().fingerprints(), [other.fingerprint(), ca.fingerprint()]);
        assert_eq!(taken.expire_time, next.not_after.to_rfc3339());

        let foreign = identity(&other, Utc::now()).certificate_pem.clone();
        for unusable in [
            sent(&next.cert_pem, &[&ca]),
            sent(&next.cert_pem, &[]),
            sent(&foreign, &[&other]),
            sent("", &[&other]),
        ] {
            assert!(with_certificate(&held, unusable).is_err());
        }
    }
}
