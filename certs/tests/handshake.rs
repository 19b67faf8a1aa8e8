//! Both ends of the node port against each other, and against peers that should not get in.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, HandshakeKind, NamedGroup};
use rustls_pki_types::ServerName;
use supalove_certs::tls::{
    ALPN_BULK, ALPN_DOWNLOAD, ALPN_JOIN, ALPN_NODE, ALPN_RENEW, AcceptError, Accepted, ConnectError,
    NodeChannel, NodePortTls, connect, download_client_config, join_client_config, node_client_config,
    trusted_download_client_config,
};
use supalove_certs::{CONTROLLER_NAME, CertificateAuthority, DownloadKey};
use support::{Fleet, Node, TIMEOUT, dial, fleet, forge, identity, impostor, stranger};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

#[tokio::test]
async fn a_node_opens_control_and_bulk_connections() {
    let fleet = fleet();
    let node = fleet.enrol();
    let control = fleet.config_for(&node, NodeChannel::Control);
    let (accepted, connected) = fleet.handshake(control).await;
    let Accepted::Node(who, mut server) = accepted.unwrap() else {
        panic!("no control session");
    };
    assert_eq!(who, node.identity);
    let mut client = connected.unwrap();
    client.write_all(b"from the node").await.unwrap();
    client.flush().await.unwrap();
    let mut got = [0; 13];
    server.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"from the node");

    let bulk = fleet.config_for(&node, NodeChannel::Bulk);
    let (accepted, connected) = fleet.handshake(bulk).await;
    assert!(matches!(accepted.unwrap(), Accepted::Bulk(who, _) if who == node.identity));
    assert!(connected.is_ok());
}

#[tokio::test]
async fn a_join_connection_carries_no_identity() {
    let fleet = fleet();
    let config = join_client_config(&fleet.ca.fingerprint()).unwrap();
    let (accepted, connected) = fleet.handshake(config).await;
    let Accepted::Join(server) = accepted.unwrap() else {
        panic!("no join connection");
    };
    assert!(server.get_ref().1.peer_certificates().is_none());
    assert!(connected.is_ok());

    // A certificate in the client's hand is not even asked for.
    let node = fleet.enrol();
    let config = Arc::new(stranger(&fleet, &[&TLS13], &[ALPN_JOIN], Some(&node)));
    let (accepted, _) = fleet.handshake(config).await;
    let Accepted::Join(server) = accepted.unwrap() else {
        panic!("no join connection");
    };
    assert!(server.get_ref().1.peer_certificates().is_none());
}

#[tokio::test]
async fn a_join_with_the_wrong_pin_is_refused() {
    let other = fleet();
    let fleet = fleet();
    let config = join_client_config(&other.ca.fingerprint()).unwrap();
    let (accepted, connected) = fleet.handshake(config).await;
    assert!(accepted.is_err());
    let error = connected.unwrap_err();
    assert!(
        matches!(&error, ConnectError::WrongCa(missing) if missing.pinned == other.ca.fingerprint()),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains("join token") && text.contains(&other.ca.fingerprint().to_string()));
}

#[tokio::test]
async fn showing_the_pinned_ca_without_being_signed_by_it_does_not_help() {
    // The CA certificate is public: an attacker can append it to a chain of its own.
    let attacker = fleet();
    let fleet = fleet();
    let own = attacker.ca.issue_controller(Uuid::now_v7(), Utc::now()).unwrap();
    let chain = own.chain_pem.clone() + fleet.ca.cert_pem();
    let server = impostor(&chain, &own.key_pem, ALPN_JOIN);
    let client = join_client_config(&fleet.ca.fingerprint()).unwrap();
    let error = dial(server, client).await.unwrap_err();
    assert!(matches!(error, ConnectError::ForeignController), "{error}");
}

#[tokio::test]
async fn a_foreign_ca_is_refused_by_both_ends() {
    let foreign = fleet();
    let fleet = fleet();
    let node = foreign.enrol();
    for channel in [NodeChannel::Control, NodeChannel::Bulk] {
        // The controller refuses a node of another fleet, though the node trusts the controller.
        let (accepted, _) = fleet.handshake(fleet.config_for(&node, channel)).await;
        let error = accepted.unwrap_err();
        assert!(matches!(error, AcceptError::ClientCertificate(_)), "{error}");
        // The node refuses the controller of another fleet.
        let (_, connected) = fleet.handshake(foreign.config_for(&node, channel)).await;
        let error = connected.unwrap_err();
        assert!(matches!(error, ConnectError::ForeignController), "{error}");
    }
}

#[tokio::test]
async fn a_refused_node_learns_it_at_the_first_read() {
    let foreign = fleet();
    let fleet = fleet();
    let node = foreign.enrol();
    let config = fleet.config_for(&node, NodeChannel::Control);
    let (accepted, connected) = fleet.handshake(config).await;
    assert!(accepted.is_err());
    let mut stream = connected.unwrap();
    assert!(stream.read_u8().await.is_err());
}

#[tokio::test]
async fn a_node_connection_needs_a_certificate() {
    let fleet = fleet();
    for alpn in [ALPN_NODE, ALPN_BULK, ALPN_RENEW] {
        let config = Arc::new(stranger(&fleet, &[&TLS13], &[alpn], None));
        let (accepted, _) = fleet.handshake(config).await;
        let error = accepted.unwrap_err();
        assert!(matches!(error, AcceptError::NoClientCertificate), "{error}");
    }
}

/// Both ends' errors for a client that offers these protocols.
async fn offered(alpns: &[&str]) -> (AcceptError, ConnectError) {
    let fleet = fleet();
    let node = fleet.enrol();
    let config = Arc::new(stranger(&fleet, &[&TLS13], alpns, Some(&node)));
    let (accepted, connected) = fleet.handshake(config).await;
    (accepted.unwrap_err(), connected.unwrap_err())
}

fn told_why(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Refused(AlertDescription::NoApplicationProtocol))
}

#[tokio::test]
async fn a_hello_with_several_protocols_is_refused() {
    for alpns in [
        &[ALPN_NODE, ALPN_JOIN][..],
        &[ALPN_JOIN, ALPN_NODE],
        &[ALPN_JOIN, ALPN_JOIN],
        &[ALPN_BULK, "h2", "http/1.1"],
    ] {
        let (server, client) = offered(alpns).await;
        assert!(matches!(server, AcceptError::SeveralAlpn { count } if count == alpns.len()), "{server}");
        assert!(told_why(&client), "{client}");
    }
}

#[tokio::test]
async fn a_hello_without_a_protocol_is_refused() {
    let (server, client) = offered(&[]).await;
    assert!(matches!(server, AcceptError::NoAlpn), "{server}");
    assert!(told_why(&client), "{client}");
}

#[tokio::test]
async fn a_hello_with_an_unknown_protocol_is_refused() {
    for alpn in ["h2", "supalove-node/2", "supalove-node", "SUPALOVE-NODE/1"] {
        let (server, client) = offered(&[alpn]).await;
        assert!(matches!(server, AcceptError::UnknownAlpn), "{server}");
        assert!(told_why(&client), "{client}");
    }
}

#[tokio::test]
async fn a_tls_1_2_client_is_refused() {
    let fleet = fleet();
    let node = fleet.enrol();
    for alpn in [ALPN_NODE, ALPN_BULK, ALPN_JOIN] {
        let config = Arc::new(stranger(&fleet, &[&TLS12], &[alpn], Some(&node)));
        let (accepted, connected) = fleet.handshake(config).await;
        assert!(matches!(accepted.unwrap_err(), AcceptError::Handshake(_) | AcceptError::Hello(_)));
        let error = connected.unwrap_err();
        assert!(matches!(error, ConnectError::Refused(AlertDescription::ProtocolVersion)), "{error}");
    }
}

#[tokio::test]
async fn a_node_certificate_cannot_act_as_a_server() {
    let fleet = fleet();
    let node = fleet.enrol();
    let victim = fleet.enrol();
    let chain = node.cert_pem.clone() + fleet.ca.cert_pem();
    // Even a leaf with the controller's name is no server without the usage.
    let (forged, forged_key) = forge(&fleet.ca, |params| {
        params.subject_alt_names = vec![SanType::DnsName(CONTROLLER_NAME.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let forged = forged + fleet.ca.cert_pem();

    for (chain, key) in [(&chain, &node.key_pem), (&forged, &forged_key)] {
        let join = join_client_config(&fleet.ca.fingerprint()).unwrap();
        let error = dial(impostor(chain, key, ALPN_JOIN), join).await.unwrap_err();
        assert!(matches!(error, ConnectError::ControllerCertificate(_)), "{error}");
        let control = fleet.config_for(&victim, NodeChannel::Control);
        let error = dial(impostor(chain, key, ALPN_NODE), control).await.unwrap_err();
        assert!(matches!(error, ConnectError::ControllerCertificate(_)), "{error}");
    }
}

#[tokio::test]
async fn a_controller_certificate_cannot_act_as_a_node() {
    let fleet = fleet();
    let issued = fleet.ca.issue_controller(Uuid::now_v7(), Utc::now()).unwrap();
    let pretender = Node {
        identity: identity(),
        cert_pem: issued.chain_pem.clone(),
        key_pem: issued.key_pem.to_string(),
    };
    let config = fleet.config_for(&pretender, NodeChannel::Control);
    let (accepted, _) = fleet.handshake(config).await;
    let error = accepted.unwrap_err();
    assert!(matches!(error, AcceptError::ClientCertificate(_)), "{error}");
}

#[tokio::test]
async fn a_fleet_certificate_without_a_node_name_is_nobody() {
    let fleet = fleet();
    let (cert_pem, key_pem) = forge(&fleet.ca, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let nameless = Node { identity: identity(), cert_pem, key_pem };
    let config = fleet.config_for(&nameless, NodeChannel::Bulk);
    let (accepted, _) = fleet.handshake(config).await;
    let error = accepted.unwrap_err();
    assert!(matches!(error, AcceptError::Identity(_)), "{error}");
}

#[tokio::test]
async fn expired_and_future_certificates_are_refused() {
    let fleet = fleet();
    for shift in [TimeDelta::days(-31), TimeDelta::days(1)] {
        let node = fleet.enrol_at(Utc::now() + shift);
        let config = fleet.config_for(&node, NodeChannel::Control);
        let (accepted, _) = fleet.handshake(config).await;
        let error = accepted.unwrap_err();
        assert!(matches!(error, AcceptError::ClientCertificate(_)), "{error}");

        let shift = if shift < TimeDelta::zero() { shift * 3 } else { shift };
        let issued = fleet.ca.issue_controller(Uuid::now_v7(), Utc::now() + shift).unwrap();
        let server = impostor(&issued.chain_pem, &issued.key_pem, ALPN_JOIN);
        let client = join_client_config(&fleet.ca.fingerprint()).unwrap();
        let error = dial(server, client).await.unwrap_err();
        assert!(matches!(error, ConnectError::ControllerCertificateTime(_)), "{error}");
    }
    // A host whose clock is half an hour slow still accepts a fresh certificate.
    let node = fleet.enrol_at(Utc::now() + TimeDelta::minutes(30));
    let config = fleet.config_for(&node, NodeChannel::Control);
    assert!(fleet.handshake(config).await.0.is_ok());
}

/// Counts what a server hands out for resumption.
#[derive(Debug, Default)]
struct CountingStore(AtomicUsize);

impl ClientSessionStore for CountingStore {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

#[tokio::test]
async fn no_session_can_be_resumed() {
    let fleet = fleet();
    let node = fleet.enrol();
    for alpn in [ALPN_NODE, ALPN_BULK, ALPN_RENEW, ALPN_JOIN] {
        let store = Arc::new(CountingStore::default());
        let mut counting = stranger(&fleet, &[&TLS13], &[alpn], Some(&node));
        counting.resumption = Resumption::store(store.clone());
        let counting = Arc::new(counting);
        // `stranger` keeps sessions in memory, as most clients do.
        let eager = Arc::new(stranger(&fleet, &[&TLS13], &[alpn], Some(&node)));
        for config in [&counting, &eager, &eager] {
            let kind = talk(&fleet, config.clone()).await;
            assert_eq!(kind, Some(HandshakeKind::Full));
        }
        assert_eq!(store.0.load(Ordering::Relaxed), 0);
    }
}

/// One connection with a byte from the server, so that the client has read any ticket before it.
async fn talk(fleet: &support::Fleet, config: Arc<ClientConfig>) -> Option<HandshakeKind> {
    let (accepted, connected) = fleet.handshake(config).await;
    let (Accepted::Node(_, mut server)
    | Accepted::Bulk(_, mut server)
    | Accepted::Renew(_, mut server)
    | Accepted::Join(mut server)
    | Accepted::Download(mut server)) = accepted.unwrap();
    let mut client = connected.unwrap();
    server.write_u8(1).await.unwrap();
    server.flush().await.unwrap();
    client.read_u8().await.unwrap();
    server.get_ref().1.handshake_kind()
}

/// The agent's own end: even a server that hands out tickets, as most do, sees a full handshake each time.
#[tokio::test]
async fn an_agent_never_resumes() {
    let fleet = fleet();
    let node = fleet.enrol();
    let issued = fleet.ca.issue_controller(Uuid::now_v7(), Utc::now()).unwrap();
    for channel in [NodeChannel::Control, NodeChannel::Bulk, NodeChannel::Renewal] {
        let mut server = impostor(&issued.chain_pem, &issued.key_pem, channel.alpn());
        let sending = Arc::get_mut(&mut server).unwrap();
        sending.send_tls13_tickets = 2;
        sending.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
        let tls = fleet.config_for(&node, channel);
        for _ in 0..3 {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let acceptor = tokio_rustls::TlsAcceptor::from(server.clone());
            let (accepted, connected) = tokio::join!(acceptor.accept(ours), connect(theirs, tls.clone()));
            let mut accepted = accepted.unwrap();
            let mut client = connected.unwrap();
            accepted.write_u8(1).await.unwrap();
            accepted.flush().await.unwrap();
            client.read_u8().await.unwrap();
            assert_eq!(accepted.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

#[tokio::test]
async fn a_silent_peer_is_dropped() {
    let ca = CertificateAuthority::create("quick", Utc::now()).unwrap();
    let certificate = ca.issue_controller(Uuid::now_v7(), Utc::now()).unwrap();
    let limit = Duration::from_millis(50);
    let port = NodePortTls::new(&certificate, ca.cert_pem(), limit).unwrap();
    let (ours, _theirs) = tokio::io::duplex(1024);
    let error = port.accept(ours).await.unwrap_err();
    assert!(matches!(error, AcceptError::Timeout(after) if after == limit), "{error}");
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_is_dropped() {
    let fleet = fleet();
    let (ours, mut theirs) = tokio::io::duplex(1024);
    theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let error = fleet.port.accept(ours).await.unwrap_err();
    assert!(matches!(error, AcceptError::Hello(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_ignores_the_protocol_is_no_controller() {
    let fleet = fleet();
    let issued = fleet.ca.issue_controller(Uuid::now_v7(), Utc::now()).unwrap();
    let mut server = impostor(&issued.chain_pem, &issued.key_pem, ALPN_JOIN);
    Arc::get_mut(&mut server).unwrap().alpn_protocols.clear();
    let client = join_client_config(&fleet.ca.fingerprint()).unwrap();
    let error = dial(server, client).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Alpn { expected } if expected == ALPN_JOIN), "{error}");
}

#[test]
fn mismatched_files_are_refused_when_the_configuration_is_made() {
    let fleet = fleet();
    let one = fleet.enrol();
    let two = fleet.enrol();
    let ca = fleet.ca.cert_pem();
    let make =
        |ca: &str, cert: &str, key: &str| node_client_config(ca, cert, key, NodeChannel::Control).is_err();
    assert!(make(ca, &one.cert_pem, &two.key_pem));
    assert!(make("", &one.cert_pem, &one.key_pem));
    assert!(make(ca, "", &one.key_pem));
    assert!(make(ca, &one.cert_pem, ""));
}

#[tokio::test]
async fn handshakes_can_run_on_other_tasks() {
    // The accept loop spawns handshakes, so both futures have to be `Send`.
    let fleet = fleet();
    let config = join_client_config(&fleet.ca.fingerprint()).unwrap();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let server = tokio::spawn(async move { fleet.port.accept(ours).await.is_ok() });
    let client = tokio::spawn(async move { connect(theirs, config).await.is_ok() });
    let both = tokio::time::timeout(TIMEOUT, async { (server.await, client.await) });
    let (server, client) = both.await.unwrap();
    assert!(server.unwrap() && client.unwrap());
}

#[tokio::test]
async fn a_port_with_downloads_shows_the_pinned_key_to_strangers_and_a_root_to_who_names_it() {
    let mut fleet = fleet();
    let ask = |fleet: &Fleet| Arc::new(stranger(fleet, &[&TLS13], &[ALPN_DOWNLOAD], None));
    let (accepted, _) = fleet.handshake(ask(&fleet)).await;
    assert!(matches!(accepted, Err(AcceptError::UnknownAlpn)), "without a key there are none: {accepted:?}");

    let key = DownloadKey::generate().unwrap();
    fleet.port = fleet.port.with_downloads(&key, Utc::now()).unwrap();
    // Names the root: the controller's certificate, without a certificate of its own.
    let named = download_client_config(&fleet.ca.fingerprint()).unwrap();
    let (accepted, connected) = fleet.handshake(named).await;
    assert!(matches!(accepted.unwrap(), Accepted::Download(_)) && connected.is_ok());
    let trusted = trusted_download_client_config(fleet.ca.cert_pem()).unwrap();
    assert!(fleet.handshake(trusted).await.1.is_ok());
    // Names none: the certificate of the pinned key, which no root has signed.
    let (_, connected) = fleet.handshake(ask(&fleet)).await;
    assert!(matches!(connected, Err(ConnectError::ForeignController)), "{connected:?}");
    // The other purposes have the certificates that they had.
    let node = fleet.enrol();
    let (accepted, connected) = fleet.handshake(fleet.config_for(&node, NodeChannel::Control)).await;
    assert!(matches!(accepted.unwrap(), Accepted::Node(..)) && connected.is_ok());
}
