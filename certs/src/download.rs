//! The key of the node port for hosts that have no agent yet. They know no CA: the command that the operator gives them
//! pins this key (`curl --pinnedpubkey`), so it stays the same on every replica and through all renewals of certificates.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use rcgen::{ExtendedKeyUsagePurpose, PublicKeyData as _, SanType};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::CONTROLLER_NAME;
use crate::ca::{CONTROLLER_LIFETIME, CaError, Validity, leaf_params, random_serial};
use crate::key::{KeyError, PrivateKey};

/// The private key that a controller shows to hosts that download the agent.
pub struct DownloadKey(PrivateKey);

impl DownloadKey {
    /// Creates a P-256 key.
    pub fn generate() -> Result<Self, KeyError> {
        PrivateKey::generate().map(Self)
    }

    /// Reads a key that [`DownloadKey::to_pem`] wrote.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        PrivateKey::from_pem(pem).map(Self)
    }

    /// The key as PKCS#8 PEM. Its holder can give programs to joining hosts: seal it before you store it.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.0.to_pem()
    }

    /// What `curl --pinnedpubkey` takes: `sha256//` and the base64 of the SHA-256 over the public key's SubjectPublicKeyInfo.
    pub fn pin(&self) -> String {
        let digest = digest(&SHA256, &self.0.subject_public_key_info());
        format!("sha256//{}", STANDARD.encode(digest))
    }

    /// Issues a certificate for the key, signed by itself: only its key counts.
    pub(crate) fn certificate(&self, now: DateTime<Utc>) -> Result<CertificateDer<'static>, CaError> {
        let mut params = leaf_params("controller, for downloads");
        params.use_authority_key_identifier_extension = false;
        params.subject_alt_names =
            vec![SanType::DnsName(CONTROLLER_NAME.try_into().map_err(CaError::Encode)?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.serial_number = Some(random_serial()?);
        Validity::starting(now, CONTROLLER_LIFETIME)?.write(&mut params);
        let certificate = params.self_signed(&self.0).map_err(CaError::Encode)?;
        Ok(certificate.der().clone())
    }
}

impl fmt::Debug for DownloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DownloadKey").field(&self.pin()).finish()
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    use super::*;

    #[test]
    fn the_pin_is_that_of_every_certificate_of_the_key() {
        let key = DownloadKey::generate().unwrap();
        let again = DownloadKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(key.pin(), again.pin());
        for (key, now) in [(&key, Utc::now()), (&again, Utc::now() + CONTROLLER_LIFETIME * 3)] {
            let certificate = key.certificate(now).unwrap();
            let (_, parsed) = X509Certificate::from_der(&certificate).unwrap();
            let spki = STANDARD.encode(digest(&SHA256, parsed.public_key().raw));
            assert_eq!(format!("sha256//{spki}"), again.pin());
        }
        assert_ne!(DownloadKey::generate().unwrap().pin(), key.pin());
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }
}
