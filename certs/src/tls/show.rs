//! Which certificate a controller shows. While the fleet has two roots, a controller has one certificate of each, and the
//! name that an agent dials says which root the agent trusts.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{TlsConfigError, provider};
use crate::ca::ControllerCertificate;
use crate::download::DownloadKey;
use crate::pem;

/// A controller's certificates by the name of their root; the first is shown to an agent that names none of them.
#[derive(Debug)]
pub(super) struct ByRoot {
    chains: Vec<(String, Arc<CertifiedKey>)>,
}

impl ByRoot {
    pub(super) fn new(certificates: &[ControllerCertificate]) -> Result<Self, TlsConfigError> {
        let chains = certificates.iter().map(|certificate| {
            let chain = pem::certificate_chain(&certificate.chain_pem)?;
            let key = pem::private_key(&certificate.key_pem)?;
            let certified = CertifiedKey::from_der(chain, key, &provider());
            Ok((certificate.ca.server_name(), Arc::new(certified.map_err(TlsConfigError::Certificate)?)))
        });
        Ok(Self { chains: chains.collect::<Result<_, TlsConfigError>>()? })
    }

    fn named(&self, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = self.chains.iter().find(|(name, _)| hello.server_name() == Some(name));
        named.map(|(_, chain)| chain.clone())
    }
}

impl ResolvesServerCert for ByRoot {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.named(&hello).or_else(|| self.chains.first().map(|(_, chain)| chain.clone()))
    }
}

/// What a controller shows on connections for downloads: the certificate of the root that the peer names, else that of the
/// key which join commands pin.
#[derive(Debug)]
pub(super) struct ForDownloads {
    roots: Arc<ByRoot>,
    pinned: Arc<CertifiedKey>,
}

impl ForDownloads {
    pub(super) fn new(
        roots: Arc<ByRoot>,
        key: &DownloadKey,
        now: DateTime<Utc>,
    ) -> Result<Self, TlsConfigError> {
        let chain = vec![key.certificate(now).map_err(TlsConfigError::Download)?];
        let pinned = CertifiedKey::from_der(chain, pem::private_key(&key.to_pem())?, &provider());
        Ok(Self { roots, pinned: Arc::new(pinned.map_err(TlsConfigError::Certificate)?) })
    }
}

impl ResolvesServerCert for ForDownloads {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.roots.named(&hello).unwrap_or_else(|| self.pinned.clone()))
    }
}
