//! Whose certificate it is. The name stands in the certificate as one SPIFFE URI and nowhere else. Reading is strict, since
//! every right of a connected node follows from it.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::CertificateDer;
use uuid::Uuid;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::CONTROLLER_NAME;

/// SPIFFE trust domain of every fleet. Fleets are told apart by their CA, not by this name.
const TRUST_DOMAIN: &str = "spiffe://supalove";

/// A node and the cluster it belongs to.
///
/// As text: `spiffe://supalove/cluster/<cluster>/node/<node>`, ids as lowercase hyphenated UUIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeIdentity {
    /// The cluster the node joined.
    pub cluster_id: Uuid,
    /// The node itself.
    pub node_id: Uuid,
}

/// The holder of a fleet certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerIdentity {
    /// An enrolled node.
    Node(NodeIdentity),
    /// A controller replica, by its id: `spiffe://supalove/controller/<id>`.
    Controller(Uuid),
}

/// A certificate or URI that does not name a member of a fleet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The certificate is not readable X.509.
    #[error("the peer's certificate cannot be parsed: enrol the node again")]
    Certificate,
    /// The certificate's alternative names are not those of a node or controller.
    #[error("the certificate does not carry exactly the names of a fleet member: enrol the node again")]
    Names,
    /// The URI does not have the form of an identity.
    #[error("\"{0}\" is not a fleet identity: expected {TRUST_DOMAIN}/cluster/<uuid>/node/<uuid>")]
    Uri(String),
}

impl fmt::Display for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster_id, node_id } = self;
        write!(f, "{TRUST_DOMAIN}/cluster/{cluster_id}/node/{node_id}")
    }
}

impl FromStr for NodeIdentity {
    type Err = IdentityError;

    fn from_str(uri: &str) -> Result<Self, IdentityError> {
        match uri.parse()? {
            PeerIdentity::Node(node) => Ok(node),
            PeerIdentity::Controller(_) => Err(IdentityError::Uri(uri.to_owned())),
        }
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Controller(id) => write!(f, "{TRUST_DOMAIN}/controller/{id}"),
        }
    }
}

impl FromStr for PeerIdentity {
    type Err = IdentityError;

    fn from_str(uri: &str) -> Result<Self, IdentityError> {
        // `Uuid` reads several spellings; an identity has exactly one.
        parse_loosely(uri)
            .filter(|identity| identity.to_string() == uri)
            .ok_or_else(|| IdentityError::Uri(uri.to_owned()))
    }
}

fn parse_loosely(uri: &str) -> Option<PeerIdentity> {
    let path = uri.strip_prefix(TRUST_DOMAIN)?.strip_prefix('/')?;
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["cluster", cluster, "node", node] => Some(PeerIdentity::Node(NodeIdentity {
            cluster_id: cluster.parse().ok()?,
            node_id: node.parse().ok()?,
        })),
        ["controller", id] => Some(PeerIdentity::Controller(id.parse().ok()?)),
        _ => None,
    }
}

/// Reads the holder's identity out of a certificate.
///
/// This reads names only. Call it on the end entity of a chain that the handshake has verified, never on any other
/// certificate.
pub fn peer_identity(certificate: &CertificateDer<'_>) -> Result<PeerIdentity, IdentityError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| IdentityError::Certificate)?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| IdentityError::Certificate)?
        .ok_or(IdentityError::Names)?;
    match names.value.general_names[..] {
        [GeneralName::URI(uri)] => uri.parse().map(PeerIdentity::Node),
        [GeneralName::DNSName(CONTROLLER_NAME), GeneralName::URI(uri)] => controller(uri),
        _ => Err(IdentityError::Names),
    }
}

fn controller(uri: &str) -> Result<PeerIdentity, IdentityError> {
    match uri.parse()? {
        identity @ PeerIdentity::Controller(_) => Ok(identity),
        PeerIdentity::Node(_) => Err(IdentityError::Names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "spiffe://supalove/cluster/01890a5d-ac96-774b-bcce-b302099a8057/node/01890a5d-ac96-774b-bcce-b302099a8058";

    #[test]
    fn a_node_identity_survives_its_text() {
        let identity: NodeIdentity = URI.parse().unwrap();
        assert_eq!(identity.to_string(), URI);
        assert_ne!(identity.cluster_id, identity.node_id);
    }

    #[test]
    fn only_the_one_spelling_is_an_identity() {
        let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
        for uri in [
            String::new(),
            URI.to_uppercase(),
            URI.replace('-', ""),
            URI.replace("supalove", "other"),
            URI.replace("supalove/", "supalove//"),
            URI.replace("supalove/", "supalovex/"),
            format!("{URI}/"),
            format!("{URI}?x"),
            format!(" {URI}"),
            format!("{TRUST_DOMAIN}/cluster/{uuid}"),
            format!("{TRUST_DOMAIN}/node/{uuid}/cluster/{uuid}"),
            format!("{TRUST_DOMAIN}/cluster/{{{uuid}}}/node/{uuid}"),
            format!("{TRUST_DOMAIN}/controller/{uuid}"),
        ] {
            assert!(uri.parse::<NodeIdentity>().is_err(), "{uri}");
        }
    }
}
