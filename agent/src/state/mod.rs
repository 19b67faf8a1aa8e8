//! What the agent remembers: one sealed record per project, one sealed file of tombstones.
//!
//! In: accepted requests. Out: the same requests after a crash or a reboot, without a controller. Nothing here is async:
//! callers run what reads or writes where blocking is allowed. Questions (`tombstone`, `has_record`) are answered from memory,
//! under a lock that nobody holds while the disk works: a disk that hangs must not stop the threads of the session.

#[cfg(test)]
mod fuzz;
mod record;
mod seal;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use prost::Message;
use supalove_failpoints::failpoint;

pub use self::record::{
    Accepted, ContentHash, Record, Refused, Removal, content_hash, fence_apply, fence_remove,
};
pub use self::seal::{SealError, Sealer};
pub use self::volumes::{KnownUsage, KnownVolume, Volumes};
use crate::fsio;

const EXTENSION: &str = "sealed";
const TOMBSTONES: &str = "tombstones.sealed";
/// Extension of the file with what is known of a project's volumes.
const VOLUMES: &str = "volumes";

/// Why the state on disk cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be unsealed.
    #[error("{path}: {source}")]
    Seal { path: PathBuf, source: SealError },
    /// A file can be unsealed but does not hold a record.
    #[error("{0}: the sealed content is not a record")]
    Content(PathBuf),
}

/// How long a tombstone is kept. The controller forgets a removed project after 90 days, so nobody asks for it then.
const TOMBSTONE_SECONDS: u64 = 100 * 24 * 3600;
/// Tombstones that are kept, because each removal writes the whole file: less than 2 MiB.
const TOMBSTONES_KEPT: usize = 10_000;

/// Generations of ended removals, by SHA-256 of the ref, so that the file does not name removed projects.
#[derive(Clone, PartialEq, Message)]
struct Tombstones {
    #[prost(btree_map = "string, uint64", tag = "1")]
    by_hash: BTreeMap<String, u64>,
    /// When the removal ended, in seconds since 1970. An agent before this one stored none.
    #[prost(btree_map = "string, uint64", tag = "2")]
    buried_at: BTreeMap<String, u64>,
}

impl Tombstones {
    fn bury(&mut self, hash: String, generation: u64, now: u64) {
        let entry = self.by_hash.entry(hash.clone()).or_default();
        *entry = generation.max(*entry);
        self.buried_at.insert(hash, now);
        self.forget(now);
    }

    /// Drops the tombstones that are too old, and the oldest if there are too many.
    fn forget(&mut self, now: u64) {
        for hash in self.by_hash.keys() {
            if !self.buried_at.contains_key(hash) {
                self.buried_at.insert(hash.clone(), now);
            }
        }
        self.buried_at.retain(|_, at| now.saturating_sub(*at) < TOMBSTONE_SECONDS);
        let surplus = self.buried_at.len().saturating_sub(TOMBSTONES_KEPT);
        if surplus > 0 {
            let mut oldest: Vec<_> = self.buried_at.iter().map(|(hash, at)| (*at, hash.clone())).collect();
            oldest.sort_unstable();
            for (_, hash) in oldest.into_iter().take(surplus) {
                self.buried_at.remove(&hash);
            }
        }
        self.by_hash.retain(|hash, _| self.buried_at.contains_key(hash));
    }
}

/// The state directory's records.
#[derive(Debug)]
pub struct Store {
    records: PathBuf,
    tombstones_path: PathBuf,
    sealer: Sealer,
    /// Locked during a write, so that the decision to write still holds when it is done. Only where blocking is allowed.
    writing: Mutex<()>,
    /// What is on disk. Never locked during a write.
    known: Mutex<Known>,
    /// Locked while what is known of volumes changes.
    volumes: Mutex<()>,
}

/// What the disk holds, in memory.
#[derive(Debug, Default)]
struct Known {
    tombstones: Tombstones,
    /// Projects that have a record, readable or not.
    records: BTreeSet<String>,
}

impl Store {
    /// Opens the records below a state directory; creates what is missing.
    pub fn open(state_dir: &Path) -> Result<Self, StateError> {
        let records = state_dir.join("records");
        fsio::private_dir(&records).map_err(|error| io_error(&records, error))?;
        let key = state_dir.join("seal.key");
        let sealer = Sealer::open(&key).map_err(|source| StateError::Seal { path: key, source })?;
        let tombstones_path = state_dir.join(TOMBSTONES);
        let tombstones = read_tombstones(&tombstones_path, &sealer)?;
        let known = Known { tombstones, records: named_records(&records)? };
        Ok(Self {
            records,
            tombstones_path,
            sealer,
            writing: Mutex::default(),
            known: Mutex::new(known),
            volumes: Mutex::default(),
        })
    }

    /// Every record that can be read. A record that cannot be read is left in place and returned as an error. The record of
    /// a project that was removed since is deleted.
    pub fn load_all(&self) -> Result<(Vec<Record>, Vec<StateError>), StateError> {
        let mut records = Vec::new();
        let mut broken = Vec::new();
        let entries = fs::read_dir(&self.records).map_err(|error| io_error(&self.records, error))?;
        for entry in entries {
            let path = entry.map_err(|error| io_error(&self.records, error))?.path();
            let extension = path.extension().unwrap_or_default();
            if extension == fsio::UNFINISHED {
                fsio::remove(&path).map_err(|error| io_error(&path, error))?;
            } else if extension == EXTENSION {
                match self.read(&path) {
                    Ok(record) if self.is_buried(&record) => {
                        self.remove(&record.project_ref)?;
                    }
                    Ok(record) => records.push(record),
                    Err(error) => broken.push(error),
                }
            }
        }
        Ok((records, broken))
    }

    /// Stores a record; durable when this returns.
    pub fn put(&self, record: &Record) -> Result<(), StateError> {
        let _writing = lock(&self.writing);
        let path = self.path(&record.project_ref);
        let content = zeroize::Zeroizing::new(record.encode_to_vec());
        let sealed = self
            .sealer
            .seal(&record.project_ref, &content)
            .map_err(|source| StateError::Seal { path: path.clone(), source })?;
        fsio::write_atomic(&path, &sealed, 0o600).map_err(|error| io_error(&path, error))?;
        lock(&self.known).records.insert(record.project_ref.clone());
        Ok(())
    }

    /// Ends a removal: writes the tombstone, then deletes the record. Returns false and does nothing if the record asks for
    /// something else by now.
    pub fn finish_removal(&self, project_ref: &str, removal: Removal) -> Result<bool, StateError> {
        let _writing = lock(&self.writing);
        let path = self.path(project_ref);
        if path.exists() && self.read(&path)?.removal != Some(removal) {
            return Ok(false);
        }
        self.bury(project_ref, removal.generation)?;
        failpoint!("agent.removal.buried", project_ref);
        if removal.delete_volumes {
            let known = self.volumes_path(project_ref);
            fsio::remove(&known).map_err(|error| io_error(&known, error))?;
        }
        self.remove(project_ref)?;
        failpoint!("agent.removal.forgotten", project_ref);
        Ok(true)
    }

    /// A removal with the tombstone's own generation is not left over: it was requested again, to delete volumes.
    fn is_buried(&self, record: &Record) -> bool {
        let asked_again = record.removal.map(|removal| removal.generation);
        self.tombstone(&record.project_ref)
            .is_some_and(|buried| record.generation() <= buried && asked_again != Some(buried))
    }

    /// Generation with which a project was removed, if it was.
    pub fn tombstone(&self, project_ref: &str) -> Option<u64> {
        lock(&self.known).tombstones.by_hash.get(&hashed(project_ref)).copied()
    }

    /// True while the project has a record.
    pub fn has_record(&self, project_ref: &str) -> bool {
        lock(&self.known).records.contains(project_ref)
    }

    /// Projects whose record is on disk now.
    pub fn records_on_disk(&self) -> Result<BTreeSet<String>, StateError> {
        named_records(&self.records)
    }

    fn remove(&self, project_ref: &str) -> Result<(), StateError> {
        let path = self.path(project_ref);
        fsio::remove(&path).map_err(|error| io_error(&path, error))?;
        lock(&self.known).records.remove(project_ref);
        Ok(())
    }

    fn bury(&self, project_ref: &str, generation: u64) -> Result<(), StateError> {
        let mut next = lock(&self.known).tombstones.clone();
        next.bury(hashed(project_ref), generation, seconds_now());
        let path = &self.tombstones_path;
        let sealed = self
            .sealer
            .seal(TOMBSTONES, &next.encode_to_vec())
            .map_err(|source| StateError::Seal { path: path.clone(), source })?;
        fsio::write_atomic(path, &sealed, 0o600).map_err(|error| io_error(path, error))?;
        lock(&self.known).tombstones = next;
        Ok(())
    }

    /// What is known of a project's volumes.
    pub fn volumes(&self, project_ref: &str) -> Result<Volumes, StateError> {
        let path = self.volumes_path(project_ref);
        let sealed = match fs::read(&path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Volumes { project_ref: project_ref.to_owned(), volumes: Vec::new() });
            }
            Err(error) => return Err(io_error(&path, error)),
        };
        let content = self
            .sealer
            .unseal(&volumes_name(project_ref), &sealed)
            .map_err(|source| StateError::Seal { path: path.clone(), source })?;
        Volumes::decode(content.as_slice()).map_err(|_| StateError::Content(path))
    }

    /// Changes what is known of a project's volumes; durable when this returns. Nothing is written without a change.
    pub fn change_volumes(
        &self,
        project_ref: &str,
        change: impl FnOnce(&mut Volumes),
    ) -> Result<(), StateError> {
        let _changing = self.volumes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = self.volumes(project_ref)?;
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(());
        }
        let path = self.volumes_path(project_ref);
        let sealed = self
            .sealer
            .seal(&volumes_name(project_ref), &after.encode_to_vec())
            .map_err(|source| StateError::Seal { path: path.clone(), source })?;
        fsio::write_atomic(&path, &sealed, 0o600).map_err(|error| io_error(&path, error))
    }

    fn volumes_path(&self, project_ref: &str) -> PathBuf {
        self.records.join(format!("{project_ref}.{VOLUMES}"))
    }

    fn path(&self, project_ref: &str) -> PathBuf {
        self.records.join(format!("{project_ref}.{EXTENSION}"))
    }

    /// The file's name is bound to the sealed content: a record cannot be renamed to another project's.
    fn read(&self, path: &Path) -> Result<Record, StateError> {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let sealed = fs::read(path).map_err(|error| io_error(path, error))?;
        let content = self
            .sealer
            .unseal(name, &sealed)
            .map_err(|source| StateError::Seal { path: path.to_owned(), source })?;
        Record::decode(content.as_slice())
            .ok()
            .filter(|record| record.project_ref == name)
            .ok_or_else(|| StateError::Content(path.to_owned()))
    }
}

fn read_tombstones(path: &Path, sealer: &Sealer) -> Result<Tombstones, StateError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tombstones::default()),
        Err(error) => return Err(io_error(path, error)),
    };
    let content = sealer
        .unseal(TOMBSTONES, &bytes)
        .map_err(|source| StateError::Seal { path: path.to_owned(), source })?;
    Tombstones::decode(content.as_slice()).map_err(|_| StateError::Content(path.to_owned()))
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Another name than the record's, so that neither can be renamed to the other.
fn volumes_name(project_ref: &str) -> String {
    format!("{project_ref} {VOLUMES}")
}

fn hashed(project_ref: &str) -> String {
    hex::encode(digest(&SHA256, project_ref.as_bytes()))
}

/// Projects whose record is in the directory.
fn named_records(records: &Path) -> Result<BTreeSet<String>, StateError> {
    let mut named = BTreeSet::new();
    for entry in fs::read_dir(records).map_err(|error| io_error(records, error))? {
        let path = entry.map_err(|error| io_error(records, error))?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION)
            && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
        {
            named.insert(name.to_owned());
        }
    }
    Ok(named)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn io_error(path: &Path, source: io::Error) -> StateError {
    StateError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use supalove_proto::node::v1::ApplyStackRequest;

    use super::*;

    const REF: &str = "abcdefghijklmnopqrst";

    fn record(generation: u64) -> Record {
        Record::applied(ApplyStackRequest { project_ref: REF.into(), generation, ..Default::default() })
    }

    fn removal(generation: u64, delete_volumes: bool) -> Removal {
        Removal { generation, delete_volumes }
    }

    fn removed(generation: u64, delete_volumes: bool) -> Record {
        Record { removal: Some(removal(generation, delete_volumes)), ..record(generation) }
    }

    #[test]
    fn records_survive_and_end_without_a_trace_of_the_ref() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.put(&record(1)).unwrap();
        store.put(&record(2)).unwrap();
        drop(store);

        let store = Store::open(dir.path()).unwrap();
        let (records, broken) = store.load_all().unwrap();
        assert_eq!((records, broken.len()), (vec![record(2)], 0));
        store.put(&removed(3, false)).unwrap();
        assert!(store.finish_removal(REF, removal(3, false)).unwrap());
        assert!(store.finish_removal(REF, removal(2, false)).unwrap());
        drop(store);

        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.tombstone(REF), Some(3), "a tombstone's generation never falls");
        assert_eq!(store.load_all().unwrap().0, []);
        assert_eq!(fs::read_dir(dir.path().join("records")).unwrap().count(), 0);
        let tombstones = fs::read(dir.path().join(TOMBSTONES)).unwrap();
        assert!(!tombstones.windows(REF.len()).any(|window| window == REF.as_bytes()));
    }

    #[test]
    fn a_removal_that_asks_for_more_is_not_ended_by_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.put(&removed(3, true)).unwrap();
        assert!(!store.finish_removal(REF, removal(3, false)).unwrap());
        assert_eq!((store.tombstone(REF), store.has_record(REF)), (None, true));
        assert!(store.finish_removal(REF, removal(3, true)).unwrap());
        assert_eq!((store.tombstone(REF), store.has_record(REF)), (Some(3), false));
    }

    #[test]
    fn what_is_known_of_volumes_outlives_the_record_unless_the_volumes_go() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let known = KnownVolume { name: "v".into(), id: "1".into(), ..KnownVolume::default() };
        store.change_volumes(REF, |all| all.put(known.clone())).unwrap();
        store.put(&record(1)).unwrap();
        store.put(&removed(2, false)).unwrap();
        assert!(store.finish_removal(REF, removal(2, false)).unwrap());
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.volumes(REF).unwrap().get("v"), Some(&known));
        assert!(store.finish_removal(REF, removal(3, true)).unwrap());
        assert_eq!(store.volumes(REF).unwrap().get("v"), None);
    }

    #[test]
    fn tombstones_are_dropped_by_age_and_number() {
        let mut tombstones =
            Tombstones { by_hash: [("from an older agent".into(), 1)].into(), ..Default::default() };
        let start = 1_000_000;
        let all = u64::try_from(TOMBSTONES_KEPT).unwrap() + 500;
        for second in 0..all {
            // Each burial looks at all tombstones, so only some are done here.
            if second == 0 || second >= all - 5 {
                tombstones.bury(format!("{second:064}"), second, start + second);
            } else {
                tombstones.by_hash.insert(format!("{second:064}"), second);
                tombstones.buried_at.insert(format!("{second:064}"), start + second);
            }
        }
        assert_eq!(tombstones.by_hash.len(), TOMBSTONES_KEPT);
        assert!(tombstones.encoded_len() < 2 * 1024 * 1024, "{}", tombstones.encoded_len());
        assert!(!tombstones.by_hash.contains_key("from an older agent"));
        assert!(!tombstones.by_hash.contains_key(&format!("{:064}", 499)));
        assert_eq!(tombstones.by_hash.get(&format!("{:064}", 500)), Some(&500));
        tombstones.bury("last".into(), 1, start + 20_000 + TOMBSTONE_SECONDS);
        assert_eq!(tombstones.by_hash.len(), 1);
        assert_eq!(tombstones.buried_at.len(), 1);
    }

    #[test]
    fn remains_below_a_tombstone_go_but_a_repeated_removal_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.finish_removal(REF, removal(5, false)).unwrap();
        for remains in [record(4), record(5), removed(4, true)] {
            store.put(&remains).unwrap();
            assert_eq!(store.load_all().unwrap().0, []);
            assert!(!store.has_record(REF));
        }
        for alive in [record(6), removed(5, true), removed(6, false)] {
            store.put(&alive).unwrap();
            assert_eq!(store.load_all().unwrap().0, [alive]);
        }
    }

    /// A file that is opened and never read: whoever writes it hangs, as on a disk that does not answer.
    fn hanging(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    }

    /// Answers what the store says from a thread of its own, or panics if that hangs.
    fn at_once<T: Send + 'static>(store: &Arc<Store>, ask: impl FnOnce(&Store) -> T + Send + 'static) -> T {
        let (say, said) = std::sync::mpsc::channel();
        let store = store.clone();
        std::thread::spawn(move || say.send(ask(&store)));
        said.recv_timeout(Duration::from_secs(5)).expect("the question waits for the disk")
    }

    #[test]
    fn questions_are_answered_while_the_disk_hangs() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path()).unwrap());
        store.put(&removed(3, false)).unwrap();
        let stuck = dir.path().join(format!("{TOMBSTONES}.{}", fsio::UNFINISHED));
        hanging(&stuck);
        let finishing = {
            let store = store.clone();
            std::thread::spawn(move || store.finish_removal(REF, removal(3, false)))
        };
        let began = std::time::Instant::now();
        while store.writing.try_lock().is_ok() && began.elapsed() < Duration::from_secs(5) {
            std::thread::yield_now();
        }
        assert_eq!(at_once(&store, |store| store.tombstone(REF)), None);
        assert!(at_once(&store, |store| store.has_record(REF)));
        assert!(!finishing.is_finished(), "the disk did not hang");
        // The disk is back, and says that the write failed.
        fs::File::open(&stuck).unwrap();
        finishing.join().unwrap().unwrap_err();
        assert_eq!((store.tombstone(REF), store.has_record(REF)), (None, true));
        fs::remove_file(&stuck).unwrap();
        assert!(store.finish_removal(REF, removal(3, false)).unwrap());
        assert_eq!((store.tombstone(REF), store.has_record(REF)), (Some(3), false));
    }

    #[test]
    fn a_changed_or_renamed_record_is_reported_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.put(&record(1)).unwrap();
        let path = dir.path().join("records").join(format!("{REF}.sealed"));
        let renamed = dir.path().join("records/bbcdefghijklmnopqrst.sealed");
        fs::copy(&path, &renamed).unwrap();
        fs::write(dir.path().join("records/left.sealed.tmp"), "half").unwrap();
        let (records, broken) = store.load_all().unwrap();
        assert_eq!((records.len(), broken.len()), (1, 1));
        assert!(renamed.exists());
        assert!(!dir.path().join("records/left.sealed.tmp").exists());
    }
}
