//! The life of the node's certificate: renewed at a random 50 to 80 % of it, at once when another root signs now, and
//! recovered when it is of no use any more. Sessions go on meanwhile.
//!
//! In: the identity, the time, wishes of the sessions. Out: an identity on disk that works. The key stays the same for the
//! node's life, so that a crash between the controller's signature and our disk changes nothing.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use supalove_certs::tls::{
    NodeChannel, TlsConfigError, join_client_config, node_client_config, recovery_client_config,
};
use supalove_certs::{BundleError, CaFingerprint, CertificateLife, KeyError, NodeKey};
use supalove_proto::node::v1::enrollment_service_client::EnrollmentServiceClient;
use supalove_proto::node::v1::renewal_service_client::RenewalServiceClient;
use supalove_proto::node::v1::{
    GetRecoveryNonceRequest, NodeCertificate, RecoverRequest, RenewRequest, Trust,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::backoff::Backoff;
use crate::config::Times;
use crate::dial::{DialError, dial, is_certificate_refusal};
use crate::identity::{Identity, IdentityError, LiveIdentity};
use crate::node::Node;
use crate::standing::Farewell;

/// Longest sleep at a time: the clock may be set, or the host suspended.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The identity cannot be used, read or written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The identity's key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The identity's certificate or roots cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    /// The roots cannot be used.
    #[error(transparent)]
    Roots(#[from] BundleError),
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The controller does not accept the certificate that is to be renewed.
    #[error("the controller does not accept this node's certificate any more")]
    CertificateRefused,
    /// The controller said no.
    #[error("the controller refused: {message}")]
    Refused {
        /// Stable reason, e.g. "NODE_REVOKED".
        reason: String,
        /// For people.
        message: String,
    },
    /// What the controller sent does not fit the key or the roots.
    #[error("the controller sent a certificate of no use: {0}")]
    Useless(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// What is wanted beyond the renewal in its time.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    #[default]
    Nothing,
    Renew,
    Recover,
}

/// Where sessions leave their wishes.
#[derive(Debug)]
pub struct Wishes(watch::Sender<Wish>);

impl Default for Wishes {
    fn default() -> Self {
        Self(watch::Sender::new(Wish::Nothing))
    }
}

impl Wishes {
    /// Another root signs now.
    pub fn renew(&self) {
        self.raise(Wish::Renew);
    }

    /// The controller does not accept the certificate.
    pub fn recover(&self) {
        self.raise(Wish::Recover);
    }

    fn raise(&self, wish: Wish) {
        self.0.send_if_modified(|wanted| {
            let more = wish > *wanted;
            *wanted = wish.max(*wanted);
            more
        });
    }
}

/// Keeps the certificate fresh until `stop` is cancelled.
pub async fn run(node: Arc<Node>, stop: CancellationToken) {
    let times = node.times;
    let mut backoff = Backoff::new(times.renew_retry_first, times.renew_retry_cap);
    let mut draw = Draw::default();
    loop {
        let wish = tokio::select! {
            wish = due(&node.identity, &node.wishes, &mut draw) => wish,
            () = stop.cancelled() => return,
        };
        if wish == Wish::Renew {
            // Every node hears of a new root in the same moment.
            tokio::time::sleep(times.renew_spread.mul_f64(rand::random())).await;
        }
        let identity = node.identity.get();
        let issued = match wish {
            Wish::Recover => recover(&identity, None, &times).await,
            Wish::Nothing | Wish::Renew => renew(&identity, &times).await,
        };
        let pause = match take(&node, issued).await {
            Ok(()) => {
                node.wishes.0.send_replace(Wish::Nothing);
                backoff.reset();
                after_success(&node)
            }
            Err(error) => after_failure(&node, error, &mut backoff),
        };
        tokio::select! {
            () = tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// A certificate that is over as soon as it is issued would be asked for without end.
fn after_success(node: &Node) -> Duration {
    let life = CertificateLife::of_pem(&node.identity.get().certificate_pem);
    if life.is_ok_and(|life| !life.is_over(Utc::now())) {
        return node.times.renew_retry_first;
    }
    tracing::error!("by this host's clock the new certificate has ended already: set the clock right");
    node.times.renew_retry_cap
}

fn after_failure(node: &Node, error: RenewalError, backoff: &mut Backoff) -> Duration {
    match error {
        RenewalError::CertificateRefused => {
            node.wishes.recover();
            backoff.next_pause()
        }
        RenewalError::Refused { reason, message } if reason == "NODE_REVOKED" => {
            tracing::error!(message, "this node was revoked");
            node.standing.set(Farewell::revoked(message, node.times.revoked_pause));
            node.times.revoked_pause
        }
        error => {
            let pause = backoff.next_pause();
            tracing::warn!(%error, ?pause, "no new certificate yet");
            pause
        }
    }
}

/// The moment of a certificate's renewal, as a share of the time in which it may fall: drawn once per certificate, so that a
/// try that failed is repeated after its pause and not after another draw.
#[derive(Debug, Default)]
struct Draw {
    certificate_pem: String,
    random: f64,
}

impl Draw {
    fn of(&mut self, certificate_pem: &str) -> f64 {
        if self.certificate_pem != certificate_pem {
            certificate_pem.clone_into(&mut self.certificate_pem);
            self.random = rand::random();
        }
        self.random
    }
}

/// Returns when something is to be done.
async fn due(identity: &LiveIdentity, wishes: &Wishes, draw: &mut Draw) -> Wish {
    let (mut wanted, held) = (wishes.0.subscribe(), identity.get());
    // A certificate that cannot be read is of no use.
    let Ok(life) = CertificateLife::of_pem(&held.certificate_pem) else {
        return Wish::Recover;
    };
    let renewal = life.renewal(draw.of(&held.certificate_pem));
    loop {
        let (wish, now) = (*wanted.borrow_and_update(), Utc::now());
        if life.is_over(now) {
            return Wish::Recover;
        }
        if wish != Wish::Nothing {
            return wish;
        }
        let left = (renewal - now).to_std().unwrap_or_default();
        if left.is_zero() {
            return Wish::Nothing;
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(LOOK_AGAIN)) => {}
            _ = wanted.changed() => {}
        }
    }
}

/// Stores what was issued, if it is of use.
async fn take(node: &Node, issued: Result<NodeCertificate, RenewalError>) -> Result<(), RenewalError> {
    let issued = issued?;
    let next = with_certificate(&node.identity.get(), issued)?;
    let expire_time = next.expire_time.clone();
    node.identity
        .change(move |identity| {
            identity.certificate_pem.clone_from(&next.certificate_pem);
            identity.ca_pem.clone_from(&next.ca_pem);
            identity.expire_time.clone_from(&next.expire_time);
        })
        .await?;
    tracing::info!(expire_time, "the node has a new certificate");
    Ok(())
}

/// The identity with a new certificate: one that cannot be used never replaces one that can.
fn with_certificate(identity: &Identity, issued: NodeCertificate) -> Result<Identity, RenewalError> {
    let useless = |why: &dyn std::fmt::Display| RenewalError::Useless(why.to_string());
    let mut next = identity.clone();
    next.certificate_pem = issued.certificate_pem;
    next.ca_pem = issued.trusted_ca_pem.concat();
    let life = CertificateLife::of_pem(&next.certificate_pem).map_err(|error| useless(&error))?;
    next.expire_time = life.ends.to_rfc3339();
    node_client_config(&next.ca_pem, &next.certificate_pem, &next.key_pem, NodeChannel::Control)
        .map_err(|error| useless(&error))?;
    match next.bundle()?.issuer_of_pem(&next.certificate_pem) {
        Ok(Some(_)) => Ok(next),
        _ => Err(useless(&"none of the roots sent with it signed it")),
    }
}

/// A new certificate on a connection of its own, with the old one shown.
async fn renew(identity: &Identity, times: &Times) -> Result<NodeCertificate, RenewalError> {
    let tls = node_client_config(
        &identity.ca_pem,
        &identity.certificate_pem,
        &identity.key_pem,
        NodeChannel::Renewal,
    )?;
    let request = RenewRequest {
        csr_pem: NodeKey::from_pem(&identity.key_pem)?.csr_pem()?,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let dialled = dial(&identity.controller, tls, times.dial).await?;
    // On the heap: a connection's future is large.
    Box::pin(within(times, async {
        let mut client = RenewalServiceClient::new(dialled.channel().await?);
        Ok(client.renew(request).await?.into_inner().certificate)
    }))
    .await
}

/// A new certificate for a node that has only its key. `ca` replaces the roots it trusts, which may be gone.
pub async fn recover(
    identity: &Identity,
    ca: Option<CaFingerprint>,
    times: &Times,
) -> Result<NodeCertificate, RenewalError> {
    let tls = match ca {
        Some(ca) => join_client_config(&ca)?,
        None => recovery_client_config(&identity.ca_pem)?,
    };
    let key = NodeKey::from_pem(&identity.key_pem)?;
    let node =
        identity.node_uuid().ok_or_else(|| RenewalError::Useless("the node's id is damaged".into()))?;
    let (node_id, csr_pem) = (identity.node_id.clone(), key.csr_pem()?);
    let dialled = dial(&identity.controller, tls, times.dial).await?;
    Box::pin(within(times, async {
        let mut client = EnrollmentServiceClient::new(dialled.channel().await?);
        let asked = GetRecoveryNonceRequest { node_id: node_id.clone() };
        let nonce = client.get_recovery_nonce(asked).await?.into_inner().nonce;
        let signature =
            key.sign_recovery(node, &nonce, &csr_pem).map_err(|error| Status::internal(error.to_string()))?;
        let agent_version = env!("CARGO_PKG_VERSION").to_owned();
        let request = RecoverRequest { node_id, nonce, csr_pem, signature, agent_version };
        Ok(client.recover(request).await?.into_inner().certificate)
    }))
    .await
}

/// `supalove-agent recover`: the same by hand, for an agent that does not run.
pub async fn recover_by_hand(
    identity: &Identity,
    ca: Option<CaFingerprint>,
    times: &Times,
) -> Result<Identity, RenewalError> {
    with_certificate(identity, recover(identity, ca, times).await?)
}

async fn within(
    times: &Times,
    call: impl Future<Output = Result<Option<NodeCertificate>, Status>>,
) -> Result<NodeCertificate, RenewalError> {
    match tokio::time::timeout(times.renew_call, call).await {
        Ok(Ok(Some(certificate))) => Ok(certificate),
        Ok(Ok(None)) => Err(RenewalError::Useless("it is empty".into())),
        Ok(Err(status)) if is_certificate_refusal(&status) => Err(RenewalError::CertificateRefused),
        Ok(Err(status)) => {
            let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
            Err(RenewalError::Refused { reason, message: status.message().to_owned() })
        }
        Err(_) => Err(RenewalError::Timeout(times.renew_call)),
    }
}

/// Takes up the fleet's roots, as a controller has told them on a verified session. Answers what is trusted now.
pub async fn learn(node: &Node, trust: &Trust) -> Vec<String> {
    if let Err(error) = try_learn(node, trust).await {
        tracing::error!(%error, "the fleet's roots were not taken up");
    }
    let trusted = node.identity.get().bundle().map(|bundle| bundle.fingerprints()).unwrap_or_default();
    trusted.iter().map(ToString::to_string).collect()
}

async fn try_learn(node: &Node, trust: &Trust) -> Result<(), RenewalError> {
    // A controller that has never heard of several roots.
    if trust.trusted_ca_pem.is_empty() {
        return Ok(());
    }
    let (identity, pem) = (node.identity.get(), trust.trusted_ca_pem.concat());
    let bundle = supalove_certs::TrustBundle::from_pem(&pem)?;
    if identity.ca_pem != pem {
        tracing::info!(roots = bundle.fingerprints().len(), "the fleet's roots have changed");
        node.identity.change(move |identity| identity.ca_pem = pem).await?;
    }
    let issuer = bundle.issuer_of_pem(&identity.certificate_pem).ok().flatten();
    if issuer.is_none_or(|issuer| issuer.to_string() != trust.signing_ca_sha256) {
        node.wishes.renew();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use supalove_certs::{CertificateAuthority, NodeIdentity};
    use uuid::Uuid;

    use super::*;

    fn identity(ca: &CertificateAuthority, now: DateTime<Utc>) -> Identity {
        let key = NodeKey::generate().unwrap();
        let who = NodeIdentity { cluster_id: Uuid::now_v7(), node_id: Uuid::now_v7() };
        let issued = ca.sign_node(&key.csr_pem().unwrap(), &who, now).unwrap();
        Identity {
            node_id: format!("nod_{}", who.node_id.simple()),
            fleet_id: "f".into(),
            cluster_id: "clu_1".into(),
            controller: "127.0.0.1:1".into(),
            hostname: "h".into(),
            certificate_pem: issued.cert_pem,
            ca_pem: ca.cert_pem().into(),
            key_pem: key.to_pem().to_string(),
            expire_time: issued.not_after.to_rfc3339(),
        }
    }

    fn authority() -> CertificateAuthority {
        CertificateAuthority::create("test", Utc::now() - chrono::TimeDelta::days(200)).unwrap()
    }

    #[tokio::test]
    async fn a_certificate_is_renewed_in_its_time_and_recovered_after_it() {
        let ca = authority();
        let live = |age: i64| {
            let made = identity(&ca, Utc::now() - chrono::TimeDelta::days(age));
            LiveIdentity::new(made, std::path::PathBuf::from("/nowhere"))
        };
        let soon = Duration::from_millis(200);
        let (wishes, draw) = (Wishes::default(), Draw::default);
        // Young, then past the latest moment, then past its end.
        assert!(tokio::time::timeout(soon, due(&live(14), &wishes, &mut draw())).await.is_err());
        assert_eq!(due(&live(25), &wishes, &mut draw()).await, Wish::Nothing);
        assert_eq!(due(&live(31), &wishes, &mut draw()).await, Wish::Recover);
        assert_eq!(due(&live(120), &wishes, &mut draw()).await, Wish::Recover);
        // Wishes come first, and the greater one wins.
        wishes.renew();
        assert_eq!(due(&live(0), &wishes, &mut draw()).await, Wish::Renew);
        wishes.recover();
        wishes.renew();
        assert_eq!(due(&live(0), &wishes, &mut draw()).await, Wish::Recover);
    }

    #[test]
    fn the_moment_of_renewal_is_drawn_once_per_certificate() {
        let mut draw = Draw::default();
        let first = draw.of("a");
        assert!((0..50).all(|_| draw.of("a").to_bits() == first.to_bits()));
        let others: std::collections::BTreeSet<_> =
            (0..50).map(|n| draw.of(&format!("b{n}")).to_bits()).collect();
        assert!(others.len() > 40, "at random");
    }

    #[test]
    fn only_a_certificate_of_use_replaces_the_old_one() {
        let (ca, other) = (authority(), authority());
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
        for useless in [
            sent(&next.cert_pem, &[&ca]),
            sent(&next.cert_pem, &[]),
            sent(&foreign, &[&other]),
            sent("", &[&other]),
        ] {
            assert!(with_certificate(&held, useless).is_err());
        }
    }
}
