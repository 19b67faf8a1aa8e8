//! The node's identity on disk. In: what enrolment answered. Out: one file, 0600, that `run` reads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use crate::fsio;

const FILE: &str = "identity.json";

/// Who this host is to the controller.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// "nod_…".
    pub node_id: String,
    /// Identity of the fleet: containers of other fleets are not ours.
    pub fleet_id: String,
    /// "clu_…".
    pub cluster_id: String,
    /// The controller's node port, host:port.
    pub controller: String,
    /// Name of the host given at enrolment.
    pub hostname: String,
    /// The node's certificate, PEM.
    pub certificate_pem: String,
    /// The fleet's CA, PEM.
    pub ca_pem: String,
    /// The node's private key, PKCS#8 PEM.
    pub key_pem: String,
    /// End of the certificate's life, RFC 3339; empty if the controller did not say.
    pub expire_time: String,
}

/// Why there is no identity to use.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Never joined.
    #[error("this host has not joined a fleet: {0} does not exist; run `supalove-agent join` first")]
    Missing(PathBuf),
    /// The file cannot be used.
    #[error("the identity in {path} cannot be used: {reason}")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Already joined.
    #[error(
        "this host is already node {node_id} (identity in {path}); `--force` replaces it, and its projects stay behind"
    )]
    Exists {
        /// Which node.
        node_id: String,
        /// Which file.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Identity {
    /// Reads the identity in a state directory.
    pub fn load(state_dir: &Path) -> Result<Self, IdentityError> {
        let path = state_dir.join(FILE);
        match fs::read(&path) {
            Ok(content) => serde_json::from_slice(&content).map_err(|error| {
                let reason = error.to_string();
                IdentityError::Unusable { path, reason }
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(IdentityError::Missing(path)),
            Err(source) => Err(IdentityError::Io { path, source }),
        }
    }

    /// Errs if the directory holds an identity already.
    pub fn ensure_absent(state_dir: &Path) -> Result<(), IdentityError> {
        match Self::load(state_dir) {
            Err(IdentityError::Missing(_)) => Ok(()),
            Ok(identity) => {
                Err(IdentityError::Exists { node_id: identity.node_id.clone(), path: state_dir.join(FILE) })
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the identity durably with mode 0600.
    pub fn store(&self, state_dir: &Path) -> Result<(), IdentityError> {
        let path = state_dir.join(FILE);
        let written = serde_json::to_vec_pretty(self).map_err(io::Error::from).and_then(|mut content| {
            let written =
                fsio::private_dir(state_dir).and_then(|()| fsio::write_atomic(&path, &content, 0o600));
            content.zeroize();
            written
        });
        written.map_err(|source| IdentityError::Io { path, source })
    }

    /// Eight hexadecimal digits that stand for this node in names of the host.
    pub fn short(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.node_id.as_bytes());
        hex::encode(&digest.as_ref()[..4])
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.key_pem.zeroize();
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("node_id", &self.node_id)
            .field("fleet_id", &self.fleet_id)
            .field("controller", &self.controller)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            node_id: "nod_1".into(),
            fleet_id: "f".into(),
            cluster_id: "clu_1".into(),
            controller: "127.0.0.1:1".into(),
            hostname: "h".into(),
            certificate_pem: "c".into(),
            ca_pem: "a".into(),
            key_pem: "canary".into(),
            expire_time: String::new(),
        }
    }

    #[test]
    fn an_identity_is_private_and_not_overwritten_unasked() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Identity::load(dir.path()), Err(IdentityError::Missing(_))));
        Identity::ensure_absent(dir.path()).unwrap();
        identity().store(dir.path()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(dir.path().join(FILE)).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(Identity::ensure_absent(dir.path()), Err(IdentityError::Exists { .. })));
        let read = Identity::load(dir.path()).unwrap();
        assert_eq!(read.key_pem, "canary");
        assert!(!format!("{read:?}").contains("canary"));
        assert_eq!(read.short().len(), 8);
    }

    #[test]
    fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{").unwrap();
        let error = Identity::load(dir.path()).unwrap_err();
        assert!(error.to_string().contains("identity.json"));
    }
}

#[cfg(test)]
mod fuzz {
    use supalove_fuzz::{Samples, Verdict, bytes};

    use super::*;

    #[test]
    fn identity_files() {
        let sample = r#"{"node_id":"nod_1","fleet_id":"f","cluster_id":"clu_1","controller":"127.0.0.1:1","hostname":"h",
            "certificate_pem":"c","ca_pem":"a","key_pem":"canary","expire_time":""}"#;
        let samples = Samples::of([sample]).words(["null", "{", "[", "\\u0000", "\\ud800", "\"key_pem\":"]);
        bytes("identity.json", &samples, |input| {
            let read = serde_json::from_slice::<Identity>(input);
            if let Ok(identity) = &read {
                let again: Identity = serde_json::from_slice(&serde_json::to_vec(identity).unwrap()).unwrap();
                assert_eq!((&again.node_id, &again.key_pem), (&identity.node_id, &identity.key_pem));
                assert_eq!(identity.short().len(), 8);
            }
            Verdict::of(&read)
        });
    }
}
