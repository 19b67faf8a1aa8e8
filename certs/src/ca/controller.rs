//! The server certificate of a controller replica. Each has a new key, which stays in memory.

use std::fmt;

use chrono::{DateTime, Utc};
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{CaError, CertificateAuthority, leaf_params, uri};
use crate::CONTROLLER_NAME;
use crate::fingerprint::CaFingerprint;
use crate::identity::PeerIdentity;
use crate::key::PrivateKey;

/// The certificate and key that a controller shows on its node port.
#[derive(Clone)]
pub struct ControllerCertificate {
    /// Fingerprint of the root that signed it.
    pub ca: CaFingerprint,
    /// The controller's certificate followed by the CA, which a joining agent looks for.
    pub chain_pem: String,
    /// The private key, PKCS#8 PEM.
    pub key_pem: Zeroizing<String>,
    /// Serial number: 32 lowercase hexadecimal digits.
    pub serial_hex: String,
    /// Start of life, in whole seconds.
    pub not_before: DateTime<Utc>,
    /// End of life, in whole seconds.
    pub not_after: DateTime<Utc>,
}

impl CertificateAuthority {
    /// Issues a server certificate named [`CONTROLLER_NAME`] with a new key, living for
    /// [`CONTROLLER_LIFETIME`](super::CONTROLLER_LIFETIME) unless the authority was given another life for it.
    pub fn issue_controller(
        &self,
        controller_id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<ControllerCertificate, CaError> {
        let key = PrivateKey::generate()?;
        let name = CONTROLLER_NAME.try_into().map_err(CaError::Encode)?;
        let identity = PeerIdentity::Controller(controller_id).to_string();
        let mut params = leaf_params(&format!("controller {controller_id}"));
        params.subject_alt_names = vec![SanType::DnsName(name), uri(&identity)?];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = self.sign(params, &key, self.controller_lifetime, now)?;
        Ok(ControllerCertificate {
            ca: self.fingerprint(),
            chain_pem: leaf.certificate.pem() + self.cert_pem(),
            key_pem: key.to_pem(),
            serial_hex: leaf.serial_hex,
            not_before: leaf.validity.not_before,
            not_after: leaf.validity.not_after,
        })
    }
}

impl fmt::Debug for ControllerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControllerCertificate")
            .field("serial_hex", &self.serial_hex)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
