//! The stored sessions: one per API address, in a file that only its owner can read.
//!
//! Writes replace the whole file, so a reader never sees half of one. A refresh token works once, so a process
//! holds the lock beside the file while it exchanges the token.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use supalove_proto::v1::SessionTokens;
use tokio::time::{Instant, sleep};

use crate::error::Error;

/// A token that expires sooner than this counts as expired, so that a call with it still arrives in time.
const SPARE_SECONDS: i64 = 15;
/// Retry interval while another process holds the lock.
const LOCK_PERIOD: Duration = Duration::from_millis(50);

/// A stored session. No `Debug`, because it holds secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct Stored {
    /// Who signed in.
    pub email: String,
    /// Bearer token.
    pub access_token: String,
    /// When the access token expires, seconds since 1970.
    pub access_token_expires: i64,
    /// Refresh token, valid once.
    pub refresh_token: String,
}

impl Stored {
    /// Creates a stored session from a response.
    pub fn new(email: String, tokens: SessionTokens) -> Self {
        Self {
            email,
            access_token: tokens.access_token,
            access_token_expires: tokens.access_token_expire_time.map_or(0, |t| t.seconds),
            refresh_token: tokens.refresh_token,
        }
    }

    /// True if the access token does not expire soon.
    pub fn is_fresh(&self) -> bool {
        self.access_token_expires > chrono::Utc::now().timestamp() + SPARE_SECONDS
    }
}

/// All sessions, by API address, so that a token never goes to a server that did not issue it.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Contents {
    sessions: BTreeMap<String, Stored>,
}

/// The file.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
}

/// Lock for changes of a session; released on drop.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Store {
    /// Locates the user's file: `SUPALOVE_CREDENTIALS`, else below `XDG_CONFIG_HOME`, else below `~/.config`.
    pub fn locate() -> Result<Self, Error> {
        if let Some(path) = variable("SUPALOVE_CREDENTIALS") {
            return Ok(Self { path });
        }
        let config = variable("XDG_CONFIG_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".config")))
            .ok_or_else(|| Error::Usage("set HOME or SUPALOVE_CREDENTIALS".into()))?;
        let path = config.join("supalove").join("credentials.json");
        Ok(Self { path })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Loads the session at an API.
    pub fn load(&self, api: &str) -> Result<Option<Stored>, Error> {
        Ok(self.read()?.sessions.remove(api))
    }

    /// Stores a session. The caller must hold the lock.
    pub fn save(&self, _lock: &Lock, api: &str, session: Stored) -> Result<(), Error> {
        let mut contents = self.read()?;
        contents.sessions.insert(api.to_owned(), session);
        self.write(&contents)
    }

    /// Deletes a session. The caller must hold the lock.
    pub fn forget(&self, _lock: &Lock, api: &str) -> Result<(), Error> {
        let mut contents = self.read()?;
        match contents.sessions.remove(api) {
            Some(_) => self.write(&contents),
            None => Ok(()),
        }
    }

    /// Acquires the lock; waits at most `patience`.
    pub async fn lock(&self, patience: Duration) -> Result<Lock, Error> {
        let path = self.path.with_extension("lock");
        self.make_directory()?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(at(&path))?;
        let end = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < end => sleep(LOCK_PERIOD).await,
                Err(TryLockError::WouldBlock) => return Err(Error::Locked { path }),
                Err(TryLockError::Error(source)) => return Err(Error::File { path, source }),
            }
        }
    }

    fn read(&self) -> Result<Contents, Error> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
            Err(error) => return Err(at(&self.path)(error)),
        };
        parse(&text).map_err(|source| Error::Credentials { path: self.path.clone(), source })
    }

    /// Writes a new file and renames it over the old one.
    fn write(&self, contents: &Contents) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(contents).map_err(|e| Error::Answer(e.to_string()))?;
        let draft = self.path.with_extension("new");
        replace(&draft, &self.path, &text).map_err(at(&self.path))
    }

    /// Creates the directory of the file.
    pub fn make_directory(&self) -> Result<(), Error> {
        let Some(folder) = self.path.parent().filter(|p| !p.as_os_str().is_empty()) else {
            return Ok(());
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))
    }
}

pub(crate) fn parse(text: &[u8]) -> serde_json::Result<Contents> {
    serde_json::from_slice(text)
}

/// Writes a file that only its owner can read, and renames it over another.
pub(crate) fn replace(draft: &Path, target: &Path, text: &[u8]) -> io::Result<()> {
    // A killed process may have left a draft with other permissions.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(draft)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(draft, target)
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from)
}

fn at(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::File { path: path.to_owned(), source }
}
