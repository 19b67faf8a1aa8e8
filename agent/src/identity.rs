//! The node's identity on disk. In: the controller's answer to Enroll. Out: one file, 0600, that `run` reads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use supalove_certs::{BundleError, TrustBundle};
use tokio::sync::watch;
use uuid::Uuid;
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
    /// Name of the cluster when the host joined; empty if the controller did not say.
    #[serde(default)]
    pub cluster_name: String,
    /// The controller's node port, host:port, or several with commas between.
    pub controller: String,
    /// Name of the host given at enrolment.
    pub hostname: String,
    /// The node's certificate, PEM.
    pub certificate_pem: String,
    /// The roots to trust, PEM: one, or two while the fleet's CA is being replaced.
    pub ca_pem: String,
    /// The node's private key, PKCS#8 PEM.
    pub key_pem: String,
    /// End of the certificate's life, RFC 3339; empty if the controller did not say.
    pub expire_time: String,
}

/// Why there is no identity to use.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("this host has not joined a fleet: {0} does not exist; run `supalove-agent join` first")]
    Missing(PathBuf),
    /// The file cannot be used.
    #[error("the identity in {path} cannot be used: {reason}")]
    Unusable { path: PathBuf, reason: String },
    #[error(
        "this host is already node {node_id} (identity in {path}); `--force` replaces it, and its projects stay behind"
    )]
    Exists { node_id: String, path: PathBuf },
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
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

    /// The cluster as people know it.
    pub fn cluster(&self) -> &str {
        if self.cluster_name.is_empty() { &self.cluster_id } else { &self.cluster_name }
    }

    /// The roots that this node trusts.
    pub fn bundle(&self) -> Result<TrustBundle, BundleError> {
        TrustBundle::from_pem(&self.ca_pem)
    }

    /// The node's id without its prefix.
    pub fn node_uuid(&self) -> Option<Uuid> {
        Uuid::try_parse(self.node_id.strip_prefix("nod_")?).ok()
    }

    /// Eight hexadecimal digits that stand for this node in names on the host (packet filter table, volume labels).
    pub fn short(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.node_id.as_bytes());
        hex::encode(&digest.as_ref()[..4])
    }
}

/// The identity of a running agent, as it is on disk, with a notification of each change.
#[derive(Debug, Clone)]
pub struct LiveIdentity {
    state_dir: PathBuf,
    current: watch::Sender<Arc<Identity>>,
    /// One change at a time.
    changing: Arc<Mutex<()>>,
}

impl LiveIdentity {
    /// For an identity that was loaded from this directory.
    pub fn new(identity: Identity, state_dir: PathBuf) -> Self {
        let current = watch::Sender::new(Arc::new(identity));
        Self { state_dir, current, changing: Arc::default() }
    }

    pub fn get(&self) -> Arc<Identity> {
        self.current.borrow().clone()
    }

    /// The identity, and each change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Identity>> {
        self.current.subscribe()
    }

    /// Changes the identity: first on disk, durably, and only then for its users. After a crash at any moment the disk holds
    /// the whole old identity or the whole new one, and the controller accepts both.
    pub async fn change(
        &self,
        change: impl FnOnce(&mut Identity) + Send + 'static,
    ) -> Result<(), IdentityError> {
        let this = self.clone();
        let path = self.state_dir.join(FILE);
        let work = tokio::task::spawn_blocking(move || {
            let _one = this.changing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut next = Identity::clone(&this.get());
            change(&mut next);
            next.store(&this.state_dir)?;
            this.current.send_replace(Arc::new(next));
            Ok(())
        });
        work.await.map_err(|error| IdentityError::Io { path, source: io::Error::other(error) })?
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

/// An identity for tests; its PEM texts are not valid PEM.
#[cfg(test)]
pub(crate) fn sample() -> Identity {
    Identity {
        node_id: "nod_1".into(),
        fleet_id: "f".into(),
        cluster_id: "clu_1".into(),
        cluster_name: "c".into(),
        controller: "127.0.0.1:1".into(),
        hostname: "h".into(),
        certificate_pem: "c".into(),
        ca_pem: "a".into(),
        key_pem: "canary".into(),
        expire_time: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{sample as identity, *};

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

    #[tokio::test]
    async fn a_change_is_on_disk_before_anybody_uses_it() {
        let dir = tempfile::tempdir().unwrap();
        identity().store(dir.path()).unwrap();
        let live = LiveIdentity::new(identity(), dir.path().to_owned());
        let mut changes = live.subscribe();
        live.change(|identity| "new".clone_into(&mut identity.certificate_pem)).await.unwrap();
        assert!(changes.has_changed().unwrap());
        assert_eq!(changes.borrow_and_update().certificate_pem, "new");
        assert_eq!(Identity::load(dir.path()).unwrap().certificate_pem, "new");

        // A disk that takes nothing: the old identity stays in use.
        fs::remove_dir_all(dir.path()).unwrap();
        fs::write(dir.path(), "in the way").unwrap();
        assert!(live.change(|identity| identity.certificate_pem.clear()).await.is_err());
        assert_eq!(live.get().certificate_pem, "new");
        assert!(!changes.has_changed().unwrap());
        fs::remove_file(dir.path()).unwrap();
        fs::create_dir(dir.path()).unwrap();
    }

    #[test]
    fn a_write_that_was_cut_off_leaves_the_old_identity() {
        let dir = tempfile::tempdir().unwrap();
        identity().store(dir.path()).unwrap();
        // What a crash leaves of a write at any byte: the unfinished file beside the old one.
        let whole = fs::read(dir.path().join(FILE)).unwrap();
        for length in [0, 1, whole.len() / 2, whole.len()] {
            fs::write(dir.path().join(format!("{FILE}.{}", fsio::UNFINISHED)), &whole[..length]).unwrap();
            assert_eq!(Identity::load(dir.path()).unwrap().certificate_pem, "c");
        }
        let mut next = identity();
        "next".clone_into(&mut next.certificate_pem);
        next.store(dir.path()).unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap().certificate_pem, "next");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the unfinished file is gone");
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
        let samples = Samples::new([sample]).words(["null", "{", "[", "\\u0000", "\\ud800", "\"key_pem\":"]);
        bytes("identity.json", &samples, |input| {
            let read = serde_json::from_slice::<Identity>(input);
            if let Ok(identity) = &read {
                let again: Identity = serde_json::from_slice(&serde_json::to_vec(identity).unwrap()).unwrap();
                assert_eq!((&again.node_id, &again.key_pem), (&identity.node_id, &identity.key_pem));
                assert_eq!(identity.short().len(), 8);
            }
            Verdict::from_result(&read)
        });
    }
}
