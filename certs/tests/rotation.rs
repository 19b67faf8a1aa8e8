//! A fleet with two roots: whoever trusts one of them gets through, whoever trusts neither does not.

mod support;

use chrono::Utc;
use supalove_certs::tls::{
    AcceptError, Accepted, ClientTls, ConnectError, NodeChannel, NodePortTls, connect, join_client_config,
    node_client_config, recovery_client_config,
};
use supalove_certs::{BundleError, CertificateAuthority, TrustBundle};
use support::{Node, TIMEOUT, identity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

fn authority() -> CertificateAuthority {
    // The same name each time: roots are told apart by their keys.
    CertificateAuthority::create("test", Utc::now()).unwrap()
}

fn port(shown: &[&CertificateAuthority], trusted: &[&CertificateAuthority]) -> NodePortTls {
    let certificates: Vec<_> =
        shown.iter().map(|ca| ca.issue_controller(Uuid::now_v7(), Utc::now()).unwrap()).collect();
    NodePortTls::with_roots(&certificates, bundle(trusted), TIMEOUT).unwrap()
}

fn bundle(roots: &[&CertificateAuthority]) -> TrustBundle {
    let pem: String = roots.iter().map(|ca| ca.cert_pem()).collect();
    TrustBundle::from_pem(&pem).unwrap()
}

fn enrol(ca: &CertificateAuthority) -> Node {
    let key = supalove_certs::NodeKey::generate().unwrap();
    let identity = identity();
    let issued = ca.sign_node(&key.csr_pem().unwrap(), &identity, Utc::now()).unwrap();
    Node { identity, cert_pem: issued.cert_pem, key_pem: key.to_pem().to_string() }
}

fn dialling(node: &Node, trusts: &[&CertificateAuthority]) -> ClientTls {
    let trusts = bundle(trusts);
    node_client_config(trusts.pem(), &node.cert_pem, &node.key_pem, NodeChannel::Control).unwrap()
}

/// Both ends, and a byte, so that the client has learned what the server thinks of it.
async fn meet(port: &NodePortTls, tls: ClientTls) -> (Result<(), AcceptError>, Result<(), ConnectError>) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let server = async {
        let (Accepted::Node(_, mut stream)
        | Accepted::Bulk(_, mut stream)
        | Accepted::Renew(_, mut stream)
        | Accepted::Join(mut stream)
        | Accepted::Download(mut stream)) = port.accept(ours).await?;
        stream.write_u8(1).await.unwrap();
        stream.flush().await.unwrap();
        Ok(())
    };
    let client = async { connect(theirs, tls).await?.read_u8().await.map(|_| ()).map_err(ConnectError::Io) };
    tokio::join!(server, client)
}

#[tokio::test]
async fn during_a_rotation_nodes_of_either_root_get_through_whichever_they_trust() {
    let old = authority();
    let new = authority();
    for signing in [[&old, &new], [&new, &old]] {
        let port = port(&signing, &signing);
        for issuer in [&old, &new] {
            let node = enrol(issuer);
            for trusts in [&[&old][..], &[&new], &[&old, &new], &[&new, &old]] {
                let (accepted, connected) = meet(&port, dialling(&node, trusts)).await;
                accepted.unwrap();
                connected.unwrap();
            }
        }
        // Join tokens pin one root; so do hosts that come back.
        for ca in [&old, &new] {
            for tls in [
                join_client_config(&ca.fingerprint()).unwrap(),
                recovery_client_config(ca.cert_pem()).unwrap(),
            ] {
                let (accepted, connected) = meet(&port, tls).await;
                accepted.unwrap();
                connected.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn after_a_rotation_the_old_root_opens_nothing() {
    let old = authority();
    let new = authority();
    let port = port(&[&new], &[&new]);
    // Knows the new root, shows a certificate of the old one.
    let node = enrol(&old);
    let (accepted, connected) = meet(&port, dialling(&node, &[&old, &new])).await;
    assert!(matches!(accepted, Err(AcceptError::ClientCertificate(_))));
    assert!(connected.is_err());
    // It can still recover: the first root that it names is gone, so it is shown the only one, which it trusts too.
    let both = bundle(&[&old, &new]);
    let (accepted, connected) = meet(&port, recovery_client_config(both.pem()).unwrap()).await;
    accepted.unwrap();
    connected.unwrap();
    // Knows the old root only: told what to do.
    let (_, connected) = meet(&port, dialling(&node, &[&old])).await;
    let error = connected.unwrap_err();
    assert!(matches!(error, ConnectError::ForeignController), "{error}");
    assert!(error.to_string().contains("supalove-agent recover --ca"), "{error}");
    let (_, connected) = meet(&port, join_client_config(&old.fingerprint()).unwrap()).await;
    assert!(matches!(connected, Err(ConnectError::WrongCa(_))));
}

#[tokio::test]
async fn the_port_says_which_root_signed_a_peer() {
    let old = authority();
    let new = authority();
    let port = port(&[&new, &old], &[&new, &old]);
    for ca in [&old, &new] {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let tls = dialling(&enrol(ca), &[&old]);
        let (accepted, _connected) = tokio::join!(port.accept(ours), connect(theirs, tls));
        let Accepted::Node(_, stream) = accepted.unwrap() else { panic!("no control session") };
        assert_eq!(port.issuer(&stream), Some(ca.fingerprint()));
    }
}

#[test]
fn a_bundle_is_read_whole_or_refused() {
    let one = authority();
    let two = authority();
    let both = bundle(&[&one, &two]);
    assert_eq!(both.fingerprints(), [one.fingerprint(), two.fingerprint()]);
    let node = enrol(&two);
    assert_eq!(both.issuer_of_pem(&node.cert_pem).unwrap(), Some(two.fingerprint()));
    assert_eq!(bundle(&[&one]).issuer_of_pem(&node.cert_pem).unwrap(), None);

    let many: String = (0..5).map(|_| authority().cert_pem().to_owned()).collect();
    assert!(matches!(TrustBundle::from_pem(&many), Err(BundleError::Many { found: 5 })));
    let leaf = format!("{}{}", one.cert_pem(), node.cert_pem);
    assert!(matches!(TrustBundle::from_pem(&leaf), Err(BundleError::NotACa { number: 2 })));
    let cut = &one.cert_pem()[..one.cert_pem().len() - 40];
    for wrong in ["", "x", cut] {
        assert!(TrustBundle::from_pem(wrong).is_err());
    }
}
