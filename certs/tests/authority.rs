//! The CA signs what it decides, not what the request asks for.

mod support;

use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use supalove_certs::{
    BACK_DATED, CONTROLLER_NAME, CaError, CaFingerprint, CertificateAuthority, CsrError, MAX_CSR_PEM_BYTES,
    NODE_LIFETIME, NodeIdentity, NodeKey, PeerIdentity, peer_identity,
};
use support::{certificates, fleet, identity};
use uuid::Uuid;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, X509Certificate};

fn parsed<'a>(der: &'a CertificateDer<'_>) -> X509Certificate<'a> {
    X509Certificate::from_der(der).unwrap().1
}

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 987_654_321).unwrap()
}

fn sign(csr_pem: &str) -> Result<(CertificateDer<'static>, NodeIdentity), CaError> {
    let who = identity();
    let ca = CertificateAuthority::create("test", noon()).unwrap();
    let issued = ca.sign_node(csr_pem, &who, noon())?;
    Ok((certificates(&issued.cert_pem).remove(0), who))
}

/// Asks for everything that a node must not have.
fn greedy_csr(key: &KeyPair) -> String {
    let mut params = CertificateParams::new([CONTROLLER_NAME.to_owned()]).unwrap();
    let forged = format!("{}", identity());
    params.subject_alt_names.push(SanType::URI(forged.try_into().unwrap()));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any];
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.serialize_request(key).unwrap().pem().unwrap()
}

#[test]
fn forged_names_and_usages_of_a_request_are_overwritten() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let (der, who) = sign(&greedy_csr(&key)).unwrap();
        let certificate = parsed(&der);

        assert_eq!(peer_identity(&der).unwrap(), PeerIdentity::Node(who));
        assert!(!certificate.is_ca());
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any);
        assert!(usage.other.is_empty());
        let key_usage = certificate.key_usage().unwrap().unwrap().value;
        assert!(key_usage.digital_signature() && !key_usage.key_cert_sign());
        assert!(!certificate.subject().to_string().contains("rcgen"));
        // The one thing that is believed.
        let public_key = &certificate.public_key().subject_public_key.data;
        assert_eq!(public_key.as_ref(), key.public_key_raw());
    }
}

#[test]
fn a_certificate_matches_what_is_recorded_about_it() {
    let fleet = fleet();
    let key = NodeKey::generate().unwrap();
    let csr = key.csr_pem().unwrap();
    let issued = fleet.ca.sign_node(&csr, &identity(), noon()).unwrap();
    let again = fleet.ca.sign_node(&csr, &identity(), noon()).unwrap();
    let der = certificates(&issued.cert_pem).remove(0);
    let certificate = parsed(&der);

    assert_eq!(hex::encode(certificate.raw_serial()), issued.serial_hex);
    assert_ne!(issued.serial_hex, again.serial_hex);
    let validity = certificate.validity();
    assert_eq!(validity.not_before.timestamp(), issued.not_before.timestamp());
    assert_eq!(validity.not_after.timestamp(), issued.not_after.timestamp());
    let now = DateTime::from_timestamp(noon().timestamp(), 0).unwrap();
    assert_eq!(issued.not_before, now - BACK_DATED);
    assert_eq!(issued.not_after, now + NODE_LIFETIME);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.public_key().raw);
    assert_eq!(digest.as_ref(), issued.spki_sha256);
    assert_eq!(issued.spki_sha256, again.spki_sha256);
}

#[test]
fn a_tampered_request_is_refused() {
    let csr = NodeKey::generate().unwrap().csr_pem().unwrap();
    let der = x509_parser::pem::parse_x509_pem(csr.as_bytes()).unwrap().1.contents;
    let other = NodeKey::generate().unwrap().csr_pem().unwrap();
    let other = x509_parser::pem::parse_x509_pem(other.as_bytes()).unwrap().1.contents;

    // Each single byte changed, at every place. The envelope outside of the signed part has spare bits (unused bits of
    // the signature's bit string); whatever they say, no other key than the signed one is certified.
    let signed = signed_part(&der);
    for index in 0..der.len() {
        let mut changed = der.clone();
        changed[index] ^= 1;
        match sign(&request_pem(&changed)) {
            Err(CaError::Csr(_)) => {}
            Err(error) => panic!("byte {index}: {error}"),
            Ok((certificate, _)) => {
                assert!(!signed.contains(&index), "byte {index}");
                let key = parsed(&certificate).public_key().subject_public_key.data.to_vec();
                assert_eq!(key[1..], der[public_point(&der)], "byte {index}");
            }
        }
    }
    // Another node's public key under this node's signature.
    let mut swapped = der.clone();
    let ours = public_point(&der);
    let theirs = public_point(&other);
    swapped[ours.clone()].copy_from_slice(&other[theirs]);
    let error = sign(&request_pem(&swapped)).unwrap_err();
    assert!(matches!(error, CaError::Csr(CsrError::Signature)), "{error}");
    // Bytes behind the request.
    let mut longer = der;
    longer.push(0);
    let error = sign(&request_pem(&longer)).unwrap_err();
    assert!(matches!(error, CaError::Csr(CsrError::Malformed)), "{error}");
}

fn request_pem(der: &[u8]) -> String {
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
}

/// Where the part stands that the signature covers.
fn signed_part(der: &[u8]) -> std::ops::Range<usize> {
    let (_, request) = X509CertificationRequest::from_der(der).unwrap();
    let info = request.certification_request_info.raw;
    let start = der.windows(info.len()).position(|window| window == info).unwrap();
    start..start + info.len()
}

/// Where the uncompressed P-256 point stands: bit string of 66 bytes, no unused bits, form 4.
fn public_point(der: &[u8]) -> std::ops::Range<usize> {
    let mark = [0x03, 0x42, 0x00, 0x04];
    let start = der.windows(4).position(|window| window == mark).unwrap() + 4;
    start..start + 64
}

#[test]
fn requests_of_other_kinds_are_refused() {
    let fleet = fleet();
    let refused = |csr: &str| match fleet.ca.sign_node(csr, &identity(), Utc::now()) {
        Err(CaError::Csr(error)) => error,
        other => panic!("{other:?}"),
    };
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_RSA_SHA256] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        assert!(matches!(refused(&request.pem().unwrap()), CsrError::Algorithm));
    }
    let csr = NodeKey::generate().unwrap().csr_pem().unwrap();
    let padded = format!("{csr}{}", " ".repeat(MAX_CSR_PEM_BYTES));
    assert!(matches!(refused(&padded), CsrError::TooLarge { bytes } if bytes == padded.len()));
    assert!(matches!(refused(""), CsrError::Pem(_)));
    assert!(matches!(refused(fleet.ca.cert_pem()), CsrError::Pem(_)));
    assert!(matches!(refused(&format!("{csr}{csr}")), CsrError::Pem(_)));
    assert!(matches!(refused(&request_pem(b"nonsense")), CsrError::Malformed));
}

#[test]
fn a_stored_authority_signs_on_after_loading() {
    let created = CertificateAuthority::create("Fleet of Ä & Ö", Utc::now()).unwrap();
    let loaded = CertificateAuthority::load(created.cert_pem(), &created.key_pem()).unwrap();
    assert_eq!(loaded.fingerprint(), created.fingerprint());
    assert_eq!(loaded.not_after(), created.not_after());
    assert_eq!(CaFingerprint::from_pem(created.cert_pem()).unwrap(), created.fingerprint());
    let csr = NodeKey::generate().unwrap().csr_pem().unwrap();
    let issued = loaded.sign_node(&csr, &identity(), Utc::now()).unwrap();
    let der = certificates(&issued.cert_pem).remove(0);
    let root = certificates(created.cert_pem()).remove(0);
    let leaf = parsed(&der);
    let root = parsed(&root);
    leaf.verify_signature(Some(root.public_key())).unwrap();
    assert_eq!(leaf.issuer(), root.subject());
}

#[test]
fn loading_refuses_what_is_no_authority() {
    let other = fleet();
    let fleet = fleet();
    let load = |cert: &str, key: &str| CertificateAuthority::load(cert, key).unwrap_err();
    assert!(matches!(load(fleet.ca.cert_pem(), &other.ca.key_pem()), CaError::KeyMismatch));
    let node = fleet.enrol();
    assert!(matches!(load(&node.cert_pem, &node.key_pem), CaError::NotACa));
    assert!(matches!(load("", &fleet.ca.key_pem()), CaError::Pem(_)));
    assert!(matches!(load(fleet.ca.cert_pem(), "no key"), CaError::Key(_)));
    let two = format!("{}{}", fleet.ca.cert_pem(), other.ca.cert_pem());
    assert!(matches!(load(&two, &fleet.ca.key_pem()), CaError::Pem(_)));
}

#[test]
fn an_authority_neither_outlives_itself_nor_signs_after_its_end() {
    let ca = CertificateAuthority::create("old", noon()).unwrap();
    let csr = NodeKey::generate().unwrap().csr_pem().unwrap();
    let late = ca.not_after() - TimeDelta::days(1);
    let issued = ca.sign_node(&csr, &identity(), late).unwrap();
    assert_eq!(issued.not_after, ca.not_after());
    let error = ca.sign_node(&csr, &identity(), ca.not_after()).unwrap_err();
    assert!(matches!(error, CaError::Expired));
    for absurd in [DateTime::UNIX_EPOCH, DateTime::<Utc>::MAX_UTC] {
        let error = CertificateAuthority::create("clock", absurd).unwrap_err();
        assert!(matches!(error, CaError::Clock));
    }
}

#[test]
fn fleet_names_are_checked() {
    let long = "x".repeat(65);
    for name in ["", "a\nb", long.as_str()] {
        let error = CertificateAuthority::create(name, Utc::now()).unwrap_err();
        assert!(matches!(error, CaError::FleetName), "{name}");
    }
}

#[test]
fn a_controller_is_named_and_brings_its_authority() {
    let fleet = fleet();
    let id = Uuid::now_v7();
    let issued = fleet.ca.issue_controller(id, Utc::now()).unwrap();
    let chain = certificates(&issued.chain_pem);
    assert_eq!(chain.len(), 2);
    assert_eq!(peer_identity(&chain[0]).unwrap(), PeerIdentity::Controller(id));
    assert_eq!(CaFingerprint::from_certificate(&chain[1]), fleet.ca.fingerprint());
    let leaf = parsed(&chain[0]);
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth);
}

#[test]
fn debug_output_holds_no_private_key() {
    let fleet = fleet();
    let key = NodeKey::generate().unwrap();
    let issued = fleet.ca.issue_controller(Uuid::now_v7(), Utc::now()).unwrap();
    let shown = format!("{:?} {key:?} {issued:?}", fleet.ca);
    assert!(!shown.contains("PRIVATE"), "{shown}");
    assert!(shown.contains(&fleet.ca.fingerprint().to_string()));
}

#[test]
fn a_node_key_survives_its_file() {
    let key = NodeKey::generate().unwrap();
    let again = NodeKey::from_pem(&key.to_pem()).unwrap();
    assert_eq!(key.to_pem(), again.to_pem());
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    assert!(NodeKey::from_pem(&rsa.serialize_pem()).is_err());
}

#[test]
fn certificates_with_other_names_are_nobody() {
    let fleet = fleet();
    let forged = |names: Vec<SanType>| {
        let (pem, _) = support::forge(&fleet.ca, |params| params.subject_alt_names = names);
        peer_identity(&certificates(&pem).remove(0))
    };
    let uri = |text: String| SanType::URI(text.try_into().unwrap());
    let dns = |text: &str| SanType::DnsName(text.try_into().unwrap());
    let node = identity().to_string();
    let controller = PeerIdentity::Controller(Uuid::now_v7()).to_string();

    assert!(forged(vec![uri(node.clone())]).is_ok());
    assert!(forged(vec![]).is_err());
    assert!(forged(vec![dns(CONTROLLER_NAME)]).is_err());
    assert!(forged(vec![uri(node.clone()), uri(identity().to_string())]).is_err());
    assert!(forged(vec![dns(CONTROLLER_NAME), uri(node.clone())]).is_err());
    assert!(forged(vec![dns("other.internal"), uri(controller.clone())]).is_err());
    assert!(forged(vec![uri(controller)]).is_err());
    assert!(peer_identity(&CertificateDer::from(vec![1, 2, 3])).is_err());
}
