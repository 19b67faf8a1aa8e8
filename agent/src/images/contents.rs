//! Content of images on disk, by digest. What arrives is appended to a file of its own and renamed when its sha256 is right, so
//! that a complete file has the right bytes, and an incomplete one goes on where it ended.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use supalove_spec::image::{Blob, Digest};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Mutex as TurnMutex, OwnedMutexGuard};

use crate::fsio;

/// Extension of a file that is not complete.
const PART: &str = "part";
/// What nobody has used for so long is removed: its project is gone, or runs elsewhere.
const KEPT: Duration = Duration::from_hours(24);

/// A file could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct ContentError {
    path: PathBuf,
    source: io::Error,
}

/// The directory.
#[derive(Debug)]
pub struct Contents {
    dir: PathBuf,
    /// Who writes or uses which content; by its hex digits.
    turns: Mutex<HashMap<String, Arc<TurnMutex<()>>>>,
    /// By hex digits: how many fetches need it.
    users: Mutex<HashMap<String, usize>>,
}

impl Contents {
    pub fn open(dir: &Path) -> io::Result<Self> {
        fsio::private_dir(dir)?;
        let contents = Self { dir: dir.to_owned(), turns: Mutex::default(), users: Mutex::default() };
        contents.sweep(SystemTime::now() - KEPT)?;
        Ok(contents)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    fn part(&self, digest: &Digest) -> PathBuf {
        self.path(digest).with_extension(PART)
    }

    /// Removes files that were last written before this time.
    fn sweep(&self, before: SystemTime) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.metadata()?.modified()? < before {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Waits until nobody else writes this content. Two images that share a layer fetch it once.
    pub async fn turn(&self, digest: &Digest) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(digest.hex().to_owned()).or_default().clone()
        };
        turn.lock_owned().await
    }

    /// Notes that a fetch needs these, until the returned value is dropped.
    pub fn use_all<'a>(self: &'a Contents, digests: impl IntoIterator<Item = &'a Digest>) -> InUse<'a> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let digests: Vec<&Digest> = digests.into_iter().collect();
        for digest in &digests {
            *users.entry(digest.hex().to_owned()).or_default() += 1;
        }
        InUse { contents: self, digests }
    }

    /// Bytes of it that are on disk, complete or not.
    pub fn there(&self, blob: &Blob) -> u64 {
        let length = |path: PathBuf| fs::metadata(path).map(|metadata| metadata.len());
        if self.is_complete(blob) {
            return blob.size;
        }
        length(self.part(&blob.digest)).map_or(0, |length| length.min(blob.size))
    }

    pub fn is_complete(&self, blob: &Blob) -> bool {
        fs::metadata(self.path(&blob.digest)).is_ok_and(|metadata| metadata.len() == blob.size)
    }

    /// Opens the file of incomplete content, and hashes what is in it.
    pub async fn resume(&self, blob: &Blob) -> Result<Incomplete, ContentError> {
        let path = self.part(&blob.digest);
        let opened = {
            let (path, size) = (path.clone(), blob.size);
            tokio::task::spawn_blocking(move || open_and_hash(&path, size)).await
        };
        let failed = |source| ContentError { path: path.clone(), source };
        let (file, hash, length) =
            opened.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)?;
        Ok(Incomplete { path, whole: self.path(&blob.digest), file: file.into(), hash, length })
    }
}

fn open_and_hash(path: &Path, size: u64) -> io::Result<(fs::File, Context, u64)> {
    use std::io::{Read as _, Seek as _};
    let mut file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let mut hash = Context::new(&SHA256);
    let mut length = 0u64;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        length += read as u64;
        if length > size {
            // Another image's bytes cannot be here; a disk can be.
            file.set_len(0)?;
            file.rewind()?;
            return Ok((file, Context::new(&SHA256), 0));
        }
    }
    Ok((file, hash, length))
}

/// Content of which a part is on disk.
pub struct Incomplete {
    path: PathBuf,
    whole: PathBuf,
    file: tokio::fs::File,
    hash: Context,
    length: u64,
}

impl Incomplete {
    pub fn length(&self) -> u64 {
        self.length
    }

    pub async fn append(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        self.file
            .write_all(bytes)
            .await
            .map_err(|source| ContentError { path: self.path.clone(), source })?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Keeps the content if it is right. False, and removes it, if it is not.
    pub async fn finish(mut self, expected: &Digest) -> Result<bool, ContentError> {
        let path = self.path.clone();
        let failed = move |source| ContentError { path: path.clone(), source };
        self.file.flush().await.map_err(&failed)?;
        if Digest::from_sha256(self.hash.finish().as_ref()) != *expected {
            fsio::remove(&self.path).map_err(failed)?;
            return Ok(false);
        }
        self.file.sync_data().await.map_err(&failed)?;
        tokio::fs::rename(&self.path, &self.whole).await.map_err(failed)?;
        Ok(true)
    }

    /// Keeps what has arrived for the next time.
    pub async fn keep(mut self) -> Result<(), ContentError> {
        self.file.flush().await.map_err(|source| ContentError { path: self.path.clone(), source })
    }
}

/// Content that a fetch needs.
#[derive(Debug)]
pub struct InUse<'a> {
    contents: &'a Contents,
    digests: Vec<&'a Digest>,
}

impl InUse<'_> {
    /// The engine has loaded the image: removes what no other fetch needs.
    pub fn remove(&self) {
        let users = self.contents.users.lock().unwrap_or_else(PoisonError::into_inner);
        let alone = self.digests.iter().filter(|digest| users.get(digest.hex()) == Some(&1));
        for digest in alone {
            let path = self.contents.path(digest);
            if let Err(error) = fsio::remove(&path) {
                tracing::warn!(%error, path = %path.display(), "cannot remove content of an image that was loaded");
            }
        }
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        let mut users = self.contents.users.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in &self.digests {
            if let Some(count) = users.get_mut(digest.hex()) {
                *count -= 1;
                if *count == 0 {
                    users.remove(digest.hex());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::digest;
    use supalove_spec::image::{Compression, Manifest};

    use super::*;

    fn blob(bytes: &[u8]) -> Blob {
        let digest = Digest::from_sha256(digest(&SHA256, bytes).as_ref());
        let size = bytes.len() as u64;
        Manifest::new((digest.clone(), size), [(digest, size, Compression::None)]).config
    }

    #[tokio::test]
    async fn content_goes_on_where_it_ended_and_is_complete_only_when_it_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let contents = Contents::open(dir.path()).unwrap();
        let blob = blob(b"0123456789");
        let mut first = contents.resume(&blob).await.unwrap();
        first.append(b"01234").await.unwrap();
        first.keep().await.unwrap();
        assert_eq!((contents.there(&blob), contents.is_complete(&blob)), (5, false));

        let contents = Contents::open(dir.path()).unwrap();
        let mut again = contents.resume(&blob).await.unwrap();
        assert_eq!(again.length(), 5);
        again.append(b"56789").await.unwrap();
        assert!(again.finish(&blob.digest).await.unwrap());
        assert!(contents.is_complete(&blob));
        assert_eq!(fs::read(contents.path(&blob.digest)).unwrap(), b"0123456789");
    }

    #[tokio::test]
    async fn wrong_content_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let contents = Contents::open(dir.path()).unwrap();
        let blob = blob(b"0123456789");
        let mut wrong = contents.resume(&blob).await.unwrap();
        wrong.append(b"012345678X").await.unwrap();
        assert!(!wrong.finish(&blob.digest).await.unwrap());
        assert_eq!(contents.there(&blob), 0);
        // More than all of it cannot go on.
        fs::write(contents.part(&blob.digest), b"0123456789A").unwrap();
        assert_eq!(contents.resume(&blob).await.unwrap().length(), 0);
        assert!(fs::read_dir(dir.path()).unwrap().count() <= 1);
    }

    #[tokio::test]
    async fn content_goes_when_the_last_fetch_that_needs_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let contents = Contents::open(dir.path()).unwrap();
        let (shared, own) = (blob(b"shared"), blob(b"own"));
        for blob in [&shared, &own] {
            fs::write(contents.path(&blob.digest), if blob.size == 3 { &b"own"[..] } else { b"shared" })
                .unwrap();
        }
        let one = contents.use_all([&shared.digest, &own.digest]);
        let other = contents.use_all([&shared.digest]);
        one.remove();
        drop(one);
        assert!(contents.is_complete(&shared) && !contents.is_complete(&own));
        other.remove();
        assert!(!contents.is_complete(&shared));
    }

    #[test]
    fn what_nobody_uses_is_swept_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let contents = Contents::open(dir.path()).unwrap();
        fs::write(dir.path().join("left.part"), "x").unwrap();
        contents.sweep(SystemTime::now() - KEPT).unwrap();
        assert!(dir.path().join("left.part").exists());
        contents.sweep(SystemTime::now() + KEPT).unwrap();
        assert!(!dir.path().join("left.part").exists());
    }
}
