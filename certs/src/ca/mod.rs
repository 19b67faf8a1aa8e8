//! The fleet's certificate authority. In: a fleet name or the stored CA, requests of nodes. Out: certificates whose
//! every field is decided here.
//!
//! One P-256 root signs all leaves directly. The controller keeps [`CertificateAuthority::key_pem`] sealed.

mod controller;
mod csr;
mod database;
mod error;
mod validity;

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

pub use self::controller::ControllerCertificate;
pub(crate) use self::csr::public_key as request_key;
pub use self::csr::{CsrError, MAX_CSR_PEM_BYTES, csr_key_sha256};
pub use self::database::{DATABASE_LIFETIME, DatabaseAuthority, ServerCertificate, ServerFacts};
pub use self::error::CaError;
pub(crate) use self::validity::Validity;
pub use self::validity::{BACK_DATED, CA_LIFETIME, CONTROLLER_LIFETIME, NODE_LIFETIME};
use crate::fingerprint::{CaFingerprint, sha256};
use crate::identity::NodeIdentity;
use crate::key::PrivateKey;
use crate::pem;

/// Longest fleet name in characters: X.520 `ub-organization-name`.
pub const MAX_FLEET_NAME_CHARS: usize = 64;

/// The root of a fleet: its certificate and its private key.
pub struct CertificateAuthority {
    issuer: Issuer<'static, PrivateKey>,
    certificate_pem: String,
    fingerprint: CaFingerprint,
    not_after: DateTime<Utc>,
    node_lifetime: TimeDelta,
    controller_lifetime: TimeDelta,
}

/// A certificate for a node, with what the controller records about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The certificate alone, without the CA.
    pub cert_pem: String,
    /// Serial number: 32 lowercase hexadecimal digits.
    pub serial_hex: String,
    /// Start of life, in whole seconds.
    pub not_before: DateTime<Utc>,
    /// End of life, in whole seconds.
    pub not_after: DateTime<Utc>,
    /// SHA-256 over the DER of the node's SubjectPublicKeyInfo: recognises the key whatever certificate carries it.
    pub spki_sha256: [u8; 32],
}

impl CertificateAuthority {
    /// Creates a root that lives for [`CA_LIFETIME`].
    pub fn create(fleet_name: &str, now: DateTime<Utc>) -> Result<Self, CaError> {
        check_fleet_name(fleet_name)?;
        Self::with_root(root_params("Supalove fleet CA", fleet_name), now)
    }

    fn with_root(mut params: CertificateParams, now: DateTime<Utc>) -> Result<Self, CaError> {
        let key = PrivateKey::generate()?;
        let validity = Validity::starting(now, CA_LIFETIME)?;
        validity.write(&mut params);
        params.serial_number = Some(random_serial()?);
        let certificate = params.self_signed(&key).map_err(CaError::Encode)?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            fingerprint: CaFingerprint::from_certificate(certificate.der()),
            not_after: validity.not_after,
            issuer: Issuer::new(params, key),
            node_lifetime: NODE_LIFETIME,
            controller_lifetime: CONTROLLER_LIFETIME,
        })
    }

    /// Loads a root that [`CertificateAuthority::create`] made, after checking that certificate and key belong together.
    pub fn load(cert_pem: &str, key_pem: &str) -> Result<Self, CaError> {
        let certificate = pem::certificate(cert_pem)?;
        let key = PrivateKey::from_pem(key_pem)?;
        let not_after = check_root(&certificate, &key)?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&certificate, key).map_err(CaError::Encode)?,
            certificate_pem: cert_pem.to_owned(),
            fingerprint: CaFingerprint::from_certificate(&certificate),
            not_after,
            node_lifetime: NODE_LIFETIME,
            controller_lifetime: CONTROLLER_LIFETIME,
        })
    }

    /// Gives the certificates that it issues other lives than [`NODE_LIFETIME`] and [`CONTROLLER_LIFETIME`].
    #[must_use]
    pub fn with_lifetimes(self, node: TimeDelta, controller: TimeDelta) -> Self {
        Self { node_lifetime: node, controller_lifetime: controller, ..self }
    }

    /// The root certificate. Public: every member of the fleet gets it.
    pub fn cert_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key as PKCS#8 PEM. Its holder can issue any certificate of the fleet: seal it before you store it.
    pub fn key_pem(&self) -> Zeroizing<String> {
        self.issuer.key().to_pem()
    }

    /// The CA's name in join tokens.
    pub fn fingerprint(&self) -> CaFingerprint {
        self.fingerprint
    }

    /// End of the root's life. No certificate that it signs lives longer.
    pub fn not_after(&self) -> DateTime<Utc> {
        self.not_after
    }

    /// Signs a node's request. Only the public key of the request is believed; its signature proves that the sender
    /// holds the private half. Names, usages, serial and life are set here.
    pub fn sign_node(
        &self,
        csr_pem: &str,
        identity: &NodeIdentity,
        now: DateTime<Utc>,
    ) -> Result<IssuedCertificate, CaError> {
        let public_key = csr::public_key(csr_pem)?;
        let mut params = leaf_params(&format!("node {}", identity.node_id));
        params.subject_alt_names = vec![uri(&identity.to_string())?];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = self.sign(params, &public_key, self.node_lifetime, now)?;
        Ok(IssuedCertificate {
            cert_pem: leaf.certificate.pem(),
            serial_hex: leaf.serial_hex,
            not_before: leaf.validity.not_before,
            not_after: leaf.validity.not_after,
            spki_sha256: sha256(&public_key.subject_public_key_info()),
        })
    }

    /// Gives a leaf its serial number and life, and signs it.
    fn sign(
        &self,
        mut params: CertificateParams,
        public_key: &impl PublicKeyData,
        lifetime: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<Leaf, CaError> {
        let validity = Validity::starting(now, lifetime)?.ending_by(self.not_after, now)?;
        let serial = random_serial()?;
        let serial_hex = hex::encode(serial.to_bytes());
        validity.write(&mut params);
        params.serial_number = Some(serial);
        let certificate = params.signed_by(public_key, &self.issuer).map_err(CaError::Encode)?;
        Ok(Leaf { certificate, serial_hex, validity })
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("fingerprint", &self.fingerprint)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

struct Leaf {
    certificate: Certificate,
    serial_hex: String,
    validity: Validity,
}

fn check_fleet_name(name: &str) -> Result<(), CaError> {
    let length = name.chars().count();
    if length == 0 || length > MAX_FLEET_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(CaError::FleetName);
    }
    Ok(())
}

fn check_root(certificate: &CertificateDer<'_>, key: &PrivateKey) -> Result<DateTime<Utc>, CaError> {
    let (_, root) = X509Certificate::from_der(certificate).map_err(|_| CaError::NotACa)?;
    let may_sign = matches!(root.key_usage(), Ok(Some(usage)) if usage.value.key_cert_sign());
    if !root.is_ca() || !may_sign {
        return Err(CaError::NotACa);
    }
    if root.public_key().raw != key.subject_public_key_info() {
        return Err(CaError::KeyMismatch);
    }
    // A changed CA certificate may hold values that rcgen cannot encode.
    if root.verify_signature(None).is_err() {
        return Err(CaError::Damaged);
    }
    DateTime::from_timestamp(root.validity().not_after.timestamp(), 0).ok_or(CaError::NotACa)
}

fn root_params(name: &str, organization: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.distinguished_name.push(DnType::OrganizationName, organization);
    // Leaves only: the root signs no further CA.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(crate) fn leaf_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn uri(text: &str) -> Result<SanType, CaError> {
    Ok(SanType::URI(text.try_into().map_err(CaError::Encode)?))
}

/// 126 random bits. The first byte lies between 0x40 and 0x7f, so that the number is positive and always 16 bytes
/// long (RFC 5280 §4.1.2.2 allows 20).
pub(crate) fn random_serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CaError::Random)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
