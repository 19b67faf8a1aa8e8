//! Fuzz targets of everything that this crate reads from others.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use supalove_fuzz::{Samples, Verdict, bytes, text};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use uuid::Uuid;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::tls::{AcceptError, NodeChannel, NodePortTls, connect, node_client_config};
use crate::{
    CaFingerprint, CertificateAuthority, CertificateLife, JoinToken, MAX_ROOTS, NodeIdentity, NodeKey,
    PeerIdentity, TrustBundle, peer_identity,
};

const PEM_WORDS: [&str; 8] = [
    "-----BEGIN CERTIFICATE-----\n",
    "-----END CERTIFICATE-----\n",
    "-----BEGIN CERTIFICATE REQUEST-----\n",
    "-----END CERTIFICATE REQUEST-----\n",
    "-----BEGIN PRIVATE KEY-----\n",
    "-----END PRIVATE KEY-----\n",
    "-----",
    "AAAA",
];
/// Tags and lengths of DER.
const DER_WORDS: [&[u8]; 8] = [
    b"\x30\x80",
    b"\x30\x82\xff\xff",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x02\x00",
    b"\x03\x02\x00\x00",
    b"\x05\x00",
    b"\x86\x00",
    b"\xa0\x00",
];

fn ca() -> CertificateAuthority {
    CertificateAuthority::create("fuzz", Utc::now()).unwrap()
}

fn identity() -> NodeIdentity {
    NodeIdentity { cluster_id: Uuid::from_u128(7), node_id: Uuid::from_u128(8) }
}

fn der(pem: &str) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents
}

/// A request for a key of this kind as other programs write it: with names and extensions.
fn foreign_csr(algorithm: &'static rcgen::SignatureAlgorithm) -> String {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let params = rcgen::CertificateParams::new(["controller.supalove.internal".to_owned()]).unwrap();
    params.serialize_request(&key).unwrap().pem().unwrap()
}

/// Requests, those of allowed keys first.
fn requests() -> Vec<String> {
    vec![
        NodeKey::generate().unwrap().csr_pem().unwrap(),
        foreign_csr(&rcgen::PKCS_ED25519),
        foreign_csr(&rcgen::PKCS_ECDSA_P384_SHA384),
    ]
}

/// The part of a request that its signature covers.
fn signed_part(der: &[u8]) -> Option<Vec<u8>> {
    let (_, request) = X509CertificationRequest::from_der(der).ok()?;
    Some(request.certification_request_info.raw.to_vec())
}

#[test]
fn join_tokens() {
    let token = |number| {
        let ca = hex::encode([number; 32]).parse().unwrap();
        JoinToken::generate(ca, Uuid::from_u128(number.into())).unwrap()
    };
    let made = [token(1), token(200)];
    let samples = Samples::new(made.iter().map(ToString::to_string)).words(["slj1", "slj2", ".", "A=", "-_"]);
    text("join token", &samples, |input| {
        let read = input.parse::<JoinToken>();
        match &read {
            Ok(token) => {
                assert_eq!(token.to_string(), input.trim(), "a token has one spelling");
                for known in &made {
                    // The controller compares the hash of the secret: no other text may have the same one.
                    assert_eq!(
                        token.verify_hash(&known.secret_hash()),
                        secret(input) == secret(&known.to_string())
                    );
                }
            }
            Err(error) => {
                assert!(!error.to_string().contains(input) || input.len() < 8, "an error repeats the token");
            }
        }
        Verdict::from_result(&read)
    });
}

fn secret(token: &str) -> &str {
    token.trim().rsplit('.').next().unwrap_or_default()
}

#[test]
fn certificate_requests() {
    let ca = ca();
    let requests = requests();
    let signed: Vec<_> = requests[..2].iter().filter_map(|pem| signed_part(&der(pem))).collect();
    text("certificate request, PEM", &Samples::new(&requests).words(PEM_WORDS), |input| {
        check_request(&ca, input, &signed)
    });
}

#[test]
fn certificate_requests_below_the_pem() {
    let ca = ca();
    let requests = requests();
    let signed: Vec<_> = requests[..2].iter().filter_map(|pem| signed_part(&der(pem))).collect();
    let samples = Samples::new(requests.iter().map(|pem| der(pem))).words(DER_WORDS);
    bytes("certificate request, DER", &samples, |input| {
        let body = STANDARD.encode(input);
        let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n");
        check_request(&ca, &pem, &signed)
    });
}

/// Whatever was changed: only a request that a known key has signed is accepted, and only its key is believed.
fn check_request(ca: &CertificateAuthority, pem: &str, signed: &[Vec<u8>]) -> Verdict {
    let issued = ca.sign_node(pem, &identity(), Utc::now());
    if let Ok(issued) = &issued {
        let request = crate::pem::request(pem).unwrap();
        assert!(signed.contains(&signed_part(&request).unwrap()), "a changed request was signed");
        let certificate = CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).unwrap();
        assert_eq!(peer_identity(&certificate).unwrap(), PeerIdentity::Node(identity()));
        let (_, certificate) = X509Certificate::from_der(&certificate).unwrap();
        let (_, request) = X509CertificationRequest::from_der(&request).unwrap();
        assert_eq!(certificate.public_key().raw, request.certification_request_info.subject_pki.raw);
    }
    Verdict::from_result(&issued)
}

#[test]
fn pem_bundles() {
    let ca = ca();
    let node = NodeKey::generate().unwrap();
    let certificate = ca.sign_node(&node.csr_pem().unwrap(), &identity(), Utc::now()).unwrap().cert_pem;
    let bundle = format!("{certificate}{}{}{}", ca.cert_pem(), *node.to_pem(), node.csr_pem().unwrap());
    let two_roots =
        format!("{}{}", ca.cert_pem(), CertificateAuthority::create("b", Utc::now()).unwrap().cert_pem());
    text("PEM bundle", &Samples::new([bundle, two_roots]).words(PEM_WORDS), |input| {
        // The parser accepts damage at the end of a line.
        let begins = input.matches("-----BEGIN CERTIFICATE").count();
        let chain = crate::pem::certificate_chain(input);
        if let Ok(chain) = &chain {
            assert!((1..=begins).contains(&chain.len()), "{} certificates of {begins}", chain.len());
        }
        if let Ok(one) = crate::pem::certificate(input) {
            assert_eq!(chain.as_ref().unwrap(), &[one], "exactly one");
            assert!(CaFingerprint::from_pem(input).is_ok());
        }
        let errors = [
            (crate::pem::request(input).err(), "certificate signing request"),
            (crate::pem::private_key(input).err(), "private key"),
            (chain.as_ref().err().map(|_| crate::pem::certificate(input).unwrap_err()), "certificate"),
        ];
        for (error, expected) in errors {
            assert!(error.is_none_or(|error| error.to_string().contains(expected)), "names what is missing");
        }
        let _ = NodeKey::from_pem(input);
        Verdict::from_result(&chain)
    });
}

#[test]
fn roots_of_the_fleet() {
    let first = ca();
    let second = CertificateAuthority::create("b", Utc::now()).unwrap();
    let csr = NodeKey::generate().unwrap().csr_pem().unwrap();
    let certificate = first.sign_node(&csr, &identity(), Utc::now()).unwrap().cert_pem;
    let two = format!("{}{}", first.cert_pem(), second.cert_pem());
    let samples = Samples::new([first.cert_pem(), &two, &certificate]).words(PEM_WORDS);
    let known = TrustBundle::from_pem(&two).unwrap();
    text("roots of the fleet", &samples, |input| {
        let bundle = TrustBundle::from_pem(input);
        if let Ok(bundle) = &bundle {
            let names = bundle.fingerprints();
            assert!((1..=MAX_ROOTS).contains(&names.len()) && bundle.pem() == input);
            let issuer = bundle.issuer_of_pem(&certificate).unwrap();
            assert!(issuer.is_none_or(|issuer| names.contains(&issuer)), "one of its own");
        }
        // As a certificate: a node's certificate is always of the root that signed it, whatever text is around it.
        if let Ok(Some(issuer)) = known.issuer_of_pem(input) {
            assert!(known.fingerprints().contains(&issuer));
        }
        if let Ok(life) = CertificateLife::from_pem(input) {
            let within = [life.renewal(0.0), life.renewal(1.0)];
            assert!(
                life.ends < life.issued || within.iter().all(|at| (life.issued..=life.ends).contains(at))
            );
        }
        Verdict::from_result(&bundle)
    });
}

#[test]
fn stored_authorities() {
    let ca = ca();
    let key = rcgen::KeyPair::from_pem(&ca.key_pem()).unwrap();
    let public = rcgen::PublicKeyData::der_bytes(&key).to_vec();
    let samples = Samples::new([format!("{}{}", *ca.key_pem(), ca.cert_pem())]).words(PEM_WORDS);
    text("stored CA", &samples, |input| {
        let loaded = CertificateAuthority::load(input, input);
        if let Ok(loaded) = &loaded {
            let request = NodeKey::generate().unwrap().csr_pem().unwrap();
            let der = CertificateDer::from_pem_slice(loaded.cert_pem().as_bytes()).unwrap();
            let (_, root) = X509Certificate::from_der(&der).unwrap();
            assert_eq!(root.public_key().subject_public_key.data.as_ref(), public, "certificate and key fit");
            assert_eq!(loaded.fingerprint(), CaFingerprint::from_certificate(&der));
            // Its life may be over, but nothing panics.
            let _ = loaded.sign_node(&request, &identity(), Utc::now());
        }
        Verdict::from_result(&loaded)
    });
}

#[test]
fn stored_identities() {
    let ca = ca();
    let node = NodeKey::generate().unwrap();
    let certificate = ca.sign_node(&node.csr_pem().unwrap(), &identity(), Utc::now()).unwrap().cert_pem;
    let sample = [ca.cert_pem(), &certificate, &node.to_pem()].join("|");
    text("identity files", &Samples::new([sample]).words(PEM_WORDS).words(["|"]), |input| {
        let mut parts = input.splitn(3, '|');
        let mut next = || parts.next().unwrap_or_default();
        Verdict::from_result(&node_client_config(next(), next(), next(), NodeChannel::Control))
    });
}

#[test]
fn certificates_of_peers() {
    let ca = ca();
    let node = NodeKey::generate().unwrap();
    let certificate = ca.sign_node(&node.csr_pem().unwrap(), &identity(), Utc::now()).unwrap().cert_pem;
    let controller = ca.issue_controller(Uuid::from_u128(9), Utc::now()).unwrap();
    let samples = Samples::new([der(&certificate), der(&controller.chain_pem)]).words(DER_WORDS);
    bytes("peer certificate", &samples, |input| {
        let found = peer_identity(&CertificateDer::from(input.to_vec()));
        if let Ok(found) = found {
            assert_eq!(found.to_string().parse(), Ok(found));
        }
        Verdict::from_result(&found)
    });
}

#[test]
fn identities_and_fingerprints() {
    let controller = PeerIdentity::Controller(Uuid::from_u128(9)).to_string();
    let fingerprint = ca().fingerprint().to_string();
    let samples = Samples::new([identity().to_string(), controller, fingerprint]).words([
        "spiffe://",
        "supalove",
        "/node/",
    ]);
    text("identity, fingerprint", &samples, |input| {
        let found = input.parse::<PeerIdentity>();
        if let Ok(found) = &found {
            assert_eq!(found.to_string(), input, "an identity has one spelling");
        }
        let fingerprint = input.parse::<CaFingerprint>();
        if let Ok(fingerprint) = &fingerprint {
            assert_eq!(fingerprint.to_string(), input, "a fingerprint has one spelling");
        }
        if found.is_ok() || fingerprint.is_ok() { Verdict::Accepted } else { Verdict::Refused }
    });
}

/// Sends the server these bytes and discards its answer.
struct Caller<'a>(&'a [u8]);

impl AsyncRead for Caller<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (now, later) = self.0.split_at(self.0.len().min(to.remaining()));
        to.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Caller<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn first_bytes_on_the_node_port() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let ca = ca();
    let node = NodeKey::generate().unwrap();
    let certificate = ca.sign_node(&node.csr_pem().unwrap(), &identity(), Utc::now()).unwrap().cert_pem;
    let controller = ca.issue_controller(Uuid::from_u128(9), Utc::now()).unwrap();
    let port = NodePortTls::new(&controller, ca.cert_pem(), Duration::from_secs(5)).unwrap();
    let hellos = [NodeChannel::Control, NodeChannel::Bulk].map(|channel| {
        let config = node_client_config(ca.cert_pem(), &certificate, &node.to_pem(), channel).unwrap();
        runtime.block_on(async {
            let (mut ours, theirs) = tokio::io::duplex(64 * 1024);
            let mut hello = vec![0; 16 * 1024];
            let dialled = tokio::spawn(connect(theirs, config));
            let length = tokio::io::AsyncReadExt::read(&mut ours, &mut hello).await.unwrap();
            dialled.abort();
            hello.truncate(length);
            hello
        })
    });
    let words: [&[u8]; 6] = [
        b"supalove-node/1",
        b"supalove-join/1",
        b"\x16\x03\x01",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x00\x10",
        b"h2",
    ];
    bytes("first bytes on the node port", &Samples::new(hellos).words(words), |input| {
        match runtime.block_on(port.accept(Caller(input))).err() {
            None => panic!("a replayed hello is no handshake"),
            Some(AcceptError::Timeout(limit)) => panic!("still waiting after {limit:?}"),
            Some(AcceptError::Handshake(_)) => Verdict::Accepted,
            Some(_) => Verdict::Refused,
        }
    });
}
