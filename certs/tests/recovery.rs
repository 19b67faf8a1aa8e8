//! The proof with which a node comes back holds for one node, one nonce, one request and one key.

use supalove_certs::{CertificateLife, NodeKey, RecoveryError, csr_key_sha256, verify_recovery};
use uuid::Uuid;

#[test]
fn a_signed_nonce_proves_the_key_of_the_request() {
    let key = NodeKey::generate().unwrap();
    let node = Uuid::now_v7();
    let nonce = b"nonce";
    let csr = key.csr_pem().unwrap();
    let signature = key.sign_recovery(node, nonce, &csr).unwrap();
    let proven = verify_recovery(node, nonce, &csr, &signature).unwrap();
    assert_eq!(proven, csr_key_sha256(&csr).unwrap());

    let other = NodeKey::generate().unwrap();
    let other_csr = other.csr_pem().unwrap();
    assert_ne!(proven, csr_key_sha256(&other_csr).unwrap());
    let mut changed = signature.clone();
    *changed.last_mut().unwrap() ^= 1;
    for (node, nonce, csr, signature) in [
        (Uuid::now_v7(), &b"nonce"[..], &csr, &signature),
        (node, b"other", &csr, &signature),
        (node, b"nonce", &other_csr, &signature),
        (node, b"nonce", &key.csr_pem().unwrap(), &other.sign_recovery(node, nonce, &csr).unwrap()),
        (node, b"nonce", &csr, &changed),
        (node, b"nonce", &csr, &Vec::new()),
    ] {
        let refused = verify_recovery(node, nonce, csr, signature);
        assert!(matches!(refused, Err(RecoveryError::Signature)), "{refused:?}");
    }
    assert!(matches!(verify_recovery(node, nonce, "no request", &signature), Err(RecoveryError::Csr(_))));
}

#[test]
fn an_ed25519_key_can_prove_itself_too() {
    let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    let key = NodeKey::from_pem(&pem).unwrap();
    let node = Uuid::now_v7();
    let csr = key.csr_pem().unwrap();
    let signature = key.sign_recovery(node, b"nonce", &csr).unwrap();
    verify_recovery(node, b"nonce", &csr, &signature).unwrap();
    assert!(verify_recovery(node, b"other", &csr, &signature).is_err());
}

#[test]
fn a_life_is_read_from_the_certificate() {
    let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let second = chrono::TimeDelta::seconds(1);
    let ca = supalove_certs::CertificateAuthority::create("test", now).unwrap();
    let ca = ca.with_lifetimes(second * 10, second * 20);
    let key = NodeKey::generate().unwrap();
    let identity = supalove_certs::NodeIdentity { cluster_id: Uuid::now_v7(), node_id: Uuid::now_v7() };
    let issued = ca.sign_node(&key.csr_pem().unwrap(), &identity, now).unwrap();
    let life = CertificateLife::from_pem(&issued.cert_pem).unwrap();
    assert_eq!((life.issued, life.ends), (now, now + second * 10));
    let controller = ca.issue_controller(Uuid::now_v7(), now).unwrap();
    assert_eq!(CertificateLife::from_pem(&controller.chain_pem).unwrap().ends, now + second * 20);
    assert!(CertificateLife::from_pem("").is_err());
}
