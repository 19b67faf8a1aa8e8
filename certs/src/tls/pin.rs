//! Trust for a host that has nothing but a join token: the CA whose hash stands in the token.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::only_root;
use crate::CONTROLLER_NAME;
use crate::fingerprint::CaFingerprint;

/// The controller did not show the CA that the join token names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the controller did not show the CA of the join token (sha256 {pinned}): the token is of another fleet, the \
     address is wrong, or something between answers in the controller's place; check the address or create a new token"
)]
pub struct PinnedCaMissing {
    /// The CA that the token names.
    pub pinned: CaFingerprint,
}

/// Verifies a controller against the one certificate of its chain that has the pinned hash.
#[derive(Debug)]
pub(super) struct PinnedCaVerifier {
    pinned: CaFingerprint,
    provider: Arc<CryptoProvider>,
}

impl PinnedCaVerifier {
    pub(super) fn new(pinned: CaFingerprint, provider: Arc<CryptoProvider>) -> Self {
        Self { pinned, provider }
    }

    fn find_ca(&self, shown: &[CertificateDer<'_>]) -> Result<CertificateDer<'static>, Error> {
        shown
            .iter()
            .find(|certificate| CaFingerprint::of(certificate) == self.pinned)
            .map(|certificate| certificate.clone().into_owned())
            .ok_or_else(|| {
                let missing = PinnedCaMissing { pinned: self.pinned };
                CertificateError::Other(OtherError(Arc::new(missing))).into()
            })
    }

    fn trusting(&self, ca: CertificateDer<'static>) -> Result<Arc<WebPkiServerVerifier>, Error> {
        WebPkiServerVerifier::builder_with_provider(only_root(ca)?, self.provider.clone())
            .build()
            .map_err(|error| Error::Other(OtherError(Arc::new(error))))
    }
}

impl ServerCertVerifier for PinnedCaVerifier {
    /// `_server_name` is what the caller dialled; a controller has one name whatever its address.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = ServerName::try_from(CONTROLLER_NAME).map_err(|_| CertificateError::NotValidForName)?;
        // The fleet's root signs leaves directly, so no intermediate is ever part of the path.
        self.trusting(self.find_ca(intermediates)?)?.verify_server_cert(
            end_entity,
            &[],
            &name,
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
