//! The bytes of images: objects of a store, each written whole or not at all, and durable when its write has returned. Today the
//! store is a local folder; replicas on several hosts need a folder that they share.
//!
//! An object's key ends with its length, so that a reader finds a byte of content without asking the store.

use std::{fs, os::unix::fs::DirBuilderExt as _, path::Path, sync::Arc, time::SystemTime};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem};
use supalove_core::error::{Error, Result};
use uuid::Uuid;

use crate::OpenError;

/// Where all objects are.
const PREFIX: &str = "content";

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    folder: Arc<Path>,
}

/// An object, as a listing shows it.
pub struct Listed {
    pub key: String,
    pub written_at: DateTime<Utc>,
}

impl Objects {
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Folder { path: folder.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let store = LocalFileSystem::new_with_prefix(folder)
            .map_err(|source| OpenError::Store { path: folder.to_owned(), source })?
            .with_fsync(true);
        Ok(Self { store: Arc::new(store), folder: folder.into() })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a new object; returns its key.
    pub async fn put(&self, bytes: Bytes) -> Result<String> {
        let key = format!("{PREFIX}/{}.{}", Uuid::now_v7().as_simple(), bytes.len());
        self.store.put(&key.as_str().into(), PutPayload::from(bytes)).await.map_err(Error::internal)?;
        Ok(key)
    }

    /// Reads a part of an object.
    pub async fn read(&self, key: &str, from: u64, to: u64) -> Result<Bytes, object_store::Error> {
        self.store.get_range(&key.into(), from..to).await
    }

    /// Removes an object. A missing one is no error.
    pub async fn remove(&self, key: &str) -> Result<(), object_store::Error> {
        match self.store.delete(&key.into()).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            removed => removed,
        }
    }

    /// All objects.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        let all = self.store.list(Some(&PREFIX.into()));
        let listed =
            all.map_ok(|one| Listed { key: one.location.to_string(), written_at: one.last_modified });
        listed.try_collect().await.map_err(Error::internal)
    }

    /// Removes files of writes that a crash has ended, if they are older; the store itself does not show them.
    pub fn sweep_unfinished(&self, before: SystemTime) -> std::io::Result<()> {
        let entries = match fs::read_dir(self.folder.join(PREFIX)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            // `LocalFileSystem` writes an object beside its place, with `#` and a number at the end of the name.
            let unfinished = entry.file_name().to_string_lossy().contains('#');
            if unfinished && entry.metadata()?.modified()? < before {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Bytes of an object, by its key.
pub fn length(key: &str) -> Option<u64> {
    key.rsplit_once('.')?.1.parse().ok()
}

/// Which bytes of which objects are the content from `offset` on: key, first byte, end.
pub fn from_offset(parts: &[String], offset: u64) -> Option<Vec<(&str, u64, u64)>> {
    let mut pieces = Vec::with_capacity(parts.len());
    let mut begins = 0u64;
    for key in parts {
        let length = length(key)?;
        let ends = begins.checked_add(length)?;
        if ends > offset {
            pieces.push((key.as_str(), offset.saturating_sub(begins), length));
        }
        begins = ends;
    }
    (offset <= begins).then_some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_object_is_there_whole_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::open(&folder.path().join("images")).unwrap();
        assert!(objects.list().await.unwrap().is_empty());
        let key = objects.put(Bytes::from_static(b"0123456789")).await.unwrap();
        assert_eq!(length(&key), Some(10));
        assert_eq!(objects.read(&key, 3, 5).await.unwrap(), "34");
        assert_eq!(objects.list().await.unwrap()[0].key, key);
        objects.remove(&key).await.unwrap();
        objects.remove(&key).await.unwrap();
        assert!(objects.read(&key, 0, 1).await.is_err());
    }

    #[tokio::test]
    async fn what_a_crash_has_left_is_swept_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::open(folder.path()).unwrap();
        let key = objects.put(Bytes::from_static(b"whole")).await.unwrap();
        let half = folder.path().join(format!("{key}#1"));
        fs::write(&half, "ha").unwrap();
        objects.sweep_unfinished(SystemTime::UNIX_EPOCH).unwrap();
        assert!(half.exists(), "it may still be written");
        objects.sweep_unfinished(SystemTime::now() + std::time::Duration::from_secs(1)).unwrap();
        assert!(!half.exists());
        assert_eq!(objects.read(&key, 0, 5).await.unwrap(), "whole");
    }

    #[test]
    fn content_is_found_from_any_byte_on() {
        let parts = ["a.10".to_owned(), "b.5".to_owned()];
        assert_eq!(from_offset(&parts, 0).unwrap(), [("a.10", 0, 10), ("b.5", 0, 5)]);
        assert_eq!(from_offset(&parts, 10).unwrap(), [("b.5", 0, 5)]);
        assert_eq!(from_offset(&parts, 12).unwrap(), [("b.5", 2, 5)]);
        assert_eq!(from_offset(&parts, 15).unwrap(), []);
        assert_eq!(from_offset(&parts, 16), None, "there is no such byte");
        assert_eq!(from_offset(&[], 0).unwrap(), []);
        assert_eq!(from_offset(&["a".to_owned()], 0), None);
    }
}
