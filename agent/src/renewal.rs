//! The life of the node's certificate: renewed at a random 50 to 80 % of it, at once when another root signs now, and
//! recovered when it is of no use any more. Sessions go on meanwhile.
//!
//! In: the identity, the time, wishes of the sessions. Out: an identity on disk that works. The key stays the same for the
//! node's life, so that a crash between the controller's signature and our disk changes nothing.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
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
use crate::dial::{DialError, Refusal, dial};
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
    /// What a controller told of the fleet's roots does not fit together.
    #[error("the root that is said to sign is none of the trusted ones: {0:?}")]
    SigningRoot(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// A renewal in its time.
    Renewal,
    /// A renewal, since another root signs now.
    OtherRoot,
    Recovery,
}

/// What sessions have said of the certificate.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    /// The root that signs, as a controller last told. It stays wanted until it has signed: an answer of a controller that
    /// has not heard of it yet ends nothing.
    signing: Option<CaFingerprint>,
    recovery: bool,
}

/// Where sessions leave their wishes.
#[derive(Debug)]
pub struct Wishes(watch::Sender<Wanted>);

impl Default for Wishes {
    fn default() -> Self {
        Self(watch::Sender::new(Wanted::default()))
    }
}

impl Wishes {
    /// This root signs now.
    pub fn signed_by(&self, root: CaFingerprint) {
        self.change(|wanted| wanted.signing = Some(root));
    }

    /// The controller does not accept the certificate.
    pub fn recover(&self) {
        self.change(|wanted| wanted.recovery = true);
    }

    fn recovered(&self) {
        self.change(|wanted| wanted.recovery = false);
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        self.0.send_if_modified(|wanted| {
            let before = *wanted;
            change(wanted);
            *wanted != before
        });
    }
}

/// Keeps the certificate fresh until `stop` is cancelled.
pub async fn run(node: Arc<Node>, stop: CancellationToken) {
    let times = node.times;
    let mut backoff = Backoff::new(times.renew_retry_first, times.renew_retry_cap);
    let mut draw = Draw::default();
    loop {
        let due = tokio::select! {
            due = due(&node.identity, &node.wishes, &mut draw) => due,
            () = stop.cancelled() => return,
        };
        if due == Due::OtherRoot {
            // Every node hears of a new root in the same moment.
            tokio::time::sleep(times.renew_spread.mul_f64(rand::random())).await;
        }
        let identity = node.identity.get();
        let issued = match due {
            Due::Recovery => recover(&identity, None, &times).await,
            Due::Renewal | Due::OtherRoot => renew(&identity, &times).await,
        };
        let pause = match take(&node, &identity, issued).await {
            Ok(()) => {
                node.wishes.recovered();
                after_success(&node, &mut backoff)
            }
            Err(error) => after_failure(&node, error, &mut backoff),
        };
        tokio::select! {
            () = tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// The pause after a new certificate. One that is to be renewed as soon as it is issued would be asked for without end.
fn after_success(node: &Node, backoff: &mut Backoff) -> Duration {
    let identity = node.identity.get();
    if !is_young(&identity, Utc::now()) {
        tracing::error!(
            "by this host's clock the new certificate is old already: set the clocks of this host and the controller right"
        );
        return node.times.renew_retry_cap;
    }
    let wanted = *node.wishes.0.borrow();
    if lacks_signature(&identity, wanted.signing) {
        tracing::warn!("the new certificate is not of the root that signs now; asking again");
        return backoff.next_pause();
    }
    backoff.reset();
    node.times.renew_retry_first
}

/// Whether even the earliest moment of the certificate's renewal is still to come.
fn is_young(identity: &Identity, now: DateTime<Utc>) -> bool {
    CertificateLife::of_pem(&identity.certificate_pem).is_ok_and(|life| now < life.renewal(0.0))
}

/// Whether another root signs than the one that signed the certificate.
fn lacks_signature(identity: &Identity, signing: Option<CaFingerprint>) -> bool {
    let Some(signing) = signing else { return false };
    let issuer =
        identity.bundle().ok().and_then(|roots| roots.issuer_of_pem(&identity.certificate_pem).ok()?);
    issuer != Some(signing)
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
async fn due(identity: &LiveIdentity, wishes: &Wishes, draw: &mut Draw) -> Due {
    let (mut wishes, held) = (wishes.0.subscribe(), identity.get());
    // A certificate that cannot be read is of no use.
    let Ok(life) = CertificateLife::of_pem(&held.certificate_pem) else {
        return Due::Recovery;
    };
    let renewal = life.renewal(draw.of(&held.certificate_pem));
    loop {
        let (wanted, now) = (*wishes.borrow_and_update(), Utc::now());
        if wanted.recovery || life.is_over(now) {
            return Due::Recovery;
        }
        // With the roots of now: what was told came with them.
        if lacks_signature(&identity.get(), wanted.signing) {
            return Due::OtherRoot;
        }
        let left = (renewal - now).to_std().unwrap_or_default();
        if left.is_zero() {
            return Due::Renewal;
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(LOOK_AGAIN)) => {}
            _ = wishes.changed() => {}
        }
    }
}

/// Stores what was issued, if it is of use. `asked` is the identity that asked: roots that a session has told since then are
/// newer than those of the answer.
async fn take(
    node: &Node,
    asked: &Identity,
    issued: Result<NodeCertificate, RenewalError>,
) -> Result<(), RenewalError> {
    let mut issued = issued?;
    let held = node.identity.get();
    if held.ca_pem != asked.ca_pem {
        issued.trusted_ca_pem = vec![held.ca_pem.clone()];
    }
    let next = with_certificate(&held, issued)?;
    let expire_time = next.expire_time.clone();
    node.identity
        .change(move |identity| {
            identity.certificate_pem.clone_from(&next.certificate_pem);
            identity.expire_time.clone_from(&next.expire_time);
            if identity.ca_pem == held.ca_pem {
                identity.ca_pem.clone_from(&next.ca_pem);
            }
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
    let refusal = dialled.refusal();
    // On the heap: a connection's future is large.
    Box::pin(within(times, &refusal, async {
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
    let refusal = dialled.refusal();
    Box::pin(within(times, &refusal, async {
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
    refusal: &Refusal,
    call: impl Future<Output = Result<Option<NodeCertificate>, Status>>,
) -> Result<NodeCertificate, RenewalError> {
    match tokio::time::timeout(times.renew_call, call).await {
        Ok(Ok(Some(certificate))) => Ok(certificate),
        Ok(Ok(None)) => Err(RenewalError::Useless("it is empty".into())),
        Ok(Err(_)) if refusal.came() => Err(RenewalError::CertificateRefused),
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
    let signing = trust.signing_ca_sha256.parse().ok().filter(|root| bundle.fingerprints().contains(root));
    let signing = signing.ok_or_else(|| RenewalError::SigningRoot(trust.signing_ca_sha256.clone()))?;
    node.wishes.signed_by(signing);
    Ok(())
}

#[cfg(test)]
mod tests {
    use supalove_certs::tls::{AcceptError, NodePortTls};
    use supalove_certs::{CertificateAuthority, NodeIdentity};
    use tokio::net::TcpListener;
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
        assert_eq!(due(&live(25), &wishes, &mut draw()).await, Due::Renewal);
        assert_eq!(due(&live(31), &wishes, &mut draw()).await, Due::Recovery);
        assert_eq!(due(&live(120), &wishes, &mut draw()).await, Due::Recovery);
        // Wishes come first, and a recovery before all. The root that signed it already is no wish.
        wishes.signed_by(ca.fingerprint());
        assert!(tokio::time::timeout(soon, due(&live(0), &wishes, &mut draw())).await.is_err());
        wishes.signed_by(authority().fingerprint());
        assert_eq!(due(&live(0), &wishes, &mut draw()).await, Due::OtherRoot);
        wishes.recover();
        assert_eq!(due(&live(0), &wishes, &mut draw()).await, Due::Recovery);
        // A certificate that still is not of the root that was told leaves the wish as it is.
        wishes.recovered();
        assert_eq!(due(&live(0), &wishes, &mut draw()).await, Due::OtherRoot);
    }

    #[test]
    fn a_certificate_that_is_old_when_it_comes_is_not_young() {
        let (ca, now) = (authority(), Utc::now());
        let aged = |days| identity(&ca, now - chrono::TimeDelta::days(days));
        assert!(is_young(&aged(0), now) && is_young(&aged(14), now));
        assert!(!is_young(&aged(16), now) && !is_young(&aged(31), now));
    }

    #[tokio::test]
    async fn a_renewal_with_an_ended_certificate_is_told_from_other_failures() {
        let ca = authority();
        let shown = ca.issue_controller(Uuid::now_v7(), Utc::now()).unwrap();
        let tls = NodePortTls::new(&shown, ca.cert_pem(), Duration::from_secs(5)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let controller = listener.local_addr().unwrap().to_string();
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // One that is let in is dropped at once.
                let refused = tls.accept(stream).await;
                assert!(matches!(refused, Ok(_) | Err(AcceptError::ClientCertificate(_))), "{refused:?}");
            }
        });
        let dials = |age: i64| {
            let mut held = identity(&ca, Utc::now() - chrono::TimeDelta::days(age));
            held.controller.clone_from(&controller);
            held
        };
        for _ in 0..20 {
            let refused = renew(&dials(31), &Times::DEFAULT).await;
            assert!(matches!(refused, Err(RenewalError::CertificateRefused)), "{refused:?}");
        }
        let dropped = renew(&dials(0), &Times::DEFAULT).await;
        assert!(matches!(dropped, Err(RenewalError::Refused { .. })), "{dropped:?}");
        serving.abort();
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
