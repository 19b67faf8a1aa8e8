//! Which certificate a controller shows. While the fleet has two roots, a controller has one certificate of each, and the
//! name that an agent dials says which root the agent trusts.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{TlsConfigError, provider};
use crate::ca::ControllerCertificate;
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
}

impl ResolvesServerCert for ByRoot {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = |(name, _): &&(String, _)| hello.server_name() == Some(name);
        self.chains.iter().find(named).or(self.chains.first()).map(|(_, chain)| chain.clone())
    }
}
