//! How an agent verifies a controller: by the roots it has, or, without any, by the one CA whose hash it was given.
//! Whatever name is dialled, the certificate must hold [`CONTROLLER_NAME`].

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::VerifierBuilderError;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{TlsConfigError, only, provider};
use crate::CONTROLLER_NAME;
use crate::fingerprint::CaFingerprint;
use crate::trust::TrustBundle;

/// The controller did not show the CA that the join token, or the operator, names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the controller did not show the CA of the join token (sha256 {pinned}): the token is of another fleet, the \
     address is wrong, or something between answers in the controller's place; check the address or create a new token"
)]
pub struct PinnedCaMissing {
    /// The CA that was expected.
    pub pinned: CaFingerprint,
}

/// What an agent trusts.
#[derive(Debug)]
enum Trust {
    Roots(Arc<WebPkiServerVerifier>),
    Pinned(CaFingerprint),
}

/// Verifies a controller.
#[derive(Debug)]
pub(super) struct ControllerVerifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ControllerVerifier {
    /// Trusts the roots of an enrolled node.
    pub(super) fn from_bundle(bundle: &TrustBundle) -> Result<Self, TlsConfigError> {
        let verifier = trusting(bundle.roots(), provider())?;
        Ok(Self { trust: Trust::Roots(verifier), provider: provider() })
    }

    /// Trusts the one certificate of the shown chain that has this hash.
    pub(super) fn pinned(ca: CaFingerprint) -> Self {
        Self { trust: Trust::Pinned(ca), provider: provider() }
    }
}

fn trusting(
    roots: &[CertificateDer<'static>],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsConfigError> {
    let roots = only(roots).map_err(TlsConfigError::Root)?;
    WebPkiServerVerifier::builder_with_provider(roots, provider).build().map_err(TlsConfigError::Verifier)
}

fn shown_ca(shown: &[CertificateDer<'_>], pinned: CaFingerprint) -> Result<CertificateDer<'static>, Error> {
    let found = shown.iter().find(|certificate| CaFingerprint::from_certificate(certificate) == pinned);
    found
        .map(|certificate| certificate.clone().into_owned())
        .ok_or_else(|| CertificateError::Other(OtherError(Arc::new(PinnedCaMissing { pinned }))).into())
}

/// A shown CA that is not a root: the peer's fault, reported as any other failure of its certificate.
fn unusable(error: TlsConfigError) -> Error {
    match error {
        TlsConfigError::Root(error) => error,
        TlsConfigError::Verifier(VerifierBuilderError::NoRootAnchors) => {
            CertificateError::UnknownIssuer.into()
        }
        other => Error::Other(OtherError(Arc::new(other))),
    }
}

impl ServerCertVerifier for ControllerVerifier {
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
        let verifier = match &self.trust {
            Trust::Roots(verifier) => verifier.clone(),
            Trust::Pinned(ca) => {
                trusting(&[shown_ca(intermediates, *ca)?], self.provider.clone()).map_err(unusable)?
            }
        };
        // The fleet's roots sign leaves directly, so no intermediate is ever part of the path.
        verifier.verify_server_cert(end_entity, &[], &name, ocsp_response, now)
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
