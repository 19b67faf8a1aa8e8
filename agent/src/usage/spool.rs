//! Records that the controller has not acknowledged yet, on disk. Bounded: the oldest are dropped, and counted.
//!
//! A record is appended and synced before anybody sends it; its number never comes again. Files of up to 1 MiB, named after the
//! first number in them: each record is its length, the first bytes of its SHA-256, and its content. What a crash has left of a
//! record at the end of the newest file is cut off. Nothing here is async.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, mem};

use aws_lc_rs::digest::{SHA256, digest};
use prost::Message;
use supalove_proto::node::v1::ProjectUsage;
use tokio::sync::watch;

use super::clock::Clock;
use crate::fsio;

const EXTENSION: &str = "records";
/// File with the spool's identity.
const ID: &str = "id";
/// A file is closed at this size.
const FILE_BYTES: u64 = 1024 * 1024;
/// All files: some days of fifty projects.
const ALL_BYTES: u64 = 64 * 1024 * 1024;
/// Largest record: thousands of containers.
const RECORD_BYTES: usize = 1024 * 1024;
/// Records of one batch.
const BATCH: usize = 256;
const HEAD: usize = 8;

/// A record as it is stored.
#[derive(Clone, PartialEq, Message)]
pub struct Stored {
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    #[prost(string, tag = "2")]
    pub boot: String,
    #[prost(uint64, tag = "3")]
    pub uptime_ms: u64,
    #[prost(uint64, tag = "4")]
    pub wall_ms: u64,
    /// Records of this spool that were dropped before it.
    #[prost(uint64, tag = "5")]
    pub dropped: u64,
    #[prost(message, repeated, tag = "6")]
    pub projects: Vec<ProjectUsage>,
}

impl Stored {
    /// When it was made.
    pub fn made(&self) -> Clock {
        Clock { boot: self.boot.clone(), uptime_ms: self.uptime_ms, wall_ms: self.wall_ms }
    }
}

/// The spool of this agent.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    /// Identity: another spool begins to count anew.
    id: String,
    most: u64,
    inner: Mutex<Inner>,
    /// Number of the newest record.
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    /// By first number: bytes.
    files: BTreeMap<u64, u64>,
    next: u64,
    acknowledged: u64,
    dropped: u64,
    open: Option<File>,
}

impl Spool {
    /// Opens the spool below a state directory; makes it if there is none.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        Self::open_bounded(&state_dir.join("usage"), ALL_BYTES)
    }

    fn open_bounded(dir: &Path, most: u64) -> io::Result<Self> {
        fsio::private_dir(dir)?;
        let id = identity(dir)?;
        let mut files = files(dir)?;
        let mut inner = Inner { files: BTreeMap::new(), next: 1, acknowledged: 0, dropped: 0, open: None };
        if let Some((first, _)) = files.last_key_value().map(|(first, bytes)| (*first, *bytes)) {
            let path = path(dir, first);
            let (records, whole) = scan(&fs::read(&path)?);
            // What was written in part was never sent.
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(whole)?;
            file.sync_all()?;
            files.insert(first, whole);
            let last = records.last();
            inner.next = last.map_or(first, |last| last.seq.max(first).saturating_add(1));
            inner.dropped = match last {
                Some(last) => last.dropped,
                // The newest file was begun and never written: the record before it knows.
                None => dropped_before(dir, &files, first)?,
            };
        }
        inner.files = files;
        let newest = watch::Sender::new(inner.next - 1);
        Ok(Self { dir: dir.to_owned(), id, most, inner: Mutex::new(inner), newest })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Changes when there is a new record.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Records that were dropped.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Appends a record; it is on disk when this returns.
    pub fn append(&self, made: &Clock, projects: Vec<ProjectUsage>) -> io::Result<()> {
        let mut inner = self.lock();
        self.make_room(&mut inner)?;
        let stored = Stored {
            seq: inner.next,
            boot: made.boot.clone(),
            uptime_ms: made.uptime_ms,
            wall_ms: made.wall_ms,
            dropped: inner.dropped,
            projects,
        };
        let bytes = framed(&stored)?;
        let written = self.write(&mut inner, &bytes);
        if written.is_err() {
            // Whatever is there of it is cut off: the next record begins a new file.
            inner.open = None;
            if let Some((first, whole)) = inner.files.last_key_value().map(|(first, whole)| (*first, *whole))
            {
                let file = OpenOptions::new().write(true).open(path(&self.dir, first))?;
                file.set_len(whole)?;
            }
        }
        written?;
        inner.next += 1;
        self.newest.send_replace(stored.seq);
        Ok(())
    }

    fn write(&self, inner: &mut Inner, bytes: &[u8]) -> io::Result<()> {
        let newest = inner.files.last_key_value().map(|(first, size)| (*first, *size));
        let first = match newest {
            Some((first, size)) if size < FILE_BYTES => first,
            _ => {
                inner.open = None;
                inner.files.insert(inner.next, 0);
                inner.next
            }
        };
        if inner.open.is_none() {
            let path = path(&self.dir, first);
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
            fsio::sync_parent(&path)?;
            inner.open = Some(file);
        }
        if let Some(file) = &mut inner.open {
            file.write_all(bytes)?;
            file.sync_data()?;
        }
        if let Some(size) = inner.files.get_mut(&first) {
            *size += bytes.len() as u64;
        }
        Ok(())
    }

    /// Drops the oldest files while there is too much.
    fn make_room(&self, inner: &mut Inner) -> io::Result<()> {
        while inner.files.values().sum::<u64>() >= self.most && inner.files.len() > 1 {
            let Some((first, _)) = inner.files.pop_first() else { break };
            let end = inner.files.first_key_value().map_or(inner.next, |(next, _)| *next);
            let lost = end.saturating_sub(first.max(inner.acknowledged.saturating_add(1)));
            inner.dropped = inner.dropped.saturating_add(lost);
            tracing::warn!(records = lost, "spool of usage is full: its oldest records are dropped");
            fsio::remove(&path(&self.dir, first))?;
        }
        Ok(())
    }

    /// The records after this number, oldest first: at least one if there is any, and about as many as `bytes` hold.
    pub fn after(&self, seq: u64, bytes: usize) -> io::Result<Vec<Stored>> {
        let inner = self.lock();
        let begin = inner.files.range(..=seq.saturating_add(1)).next_back().map_or(0, |(first, _)| *first);
        let wanted: Vec<u64> = inner.files.range(begin..).map(|(first, _)| *first).collect();
        drop(inner);
        let mut found = Vec::new();
        let mut size = 0;
        for first in wanted {
            // It may have been dropped just now.
            let content = match fs::read(path(&self.dir, first)) {
                Ok(content) => content,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for record in scan(&content).0.into_iter().filter(|record| record.seq > seq) {
                size += record.encoded_len();
                if !found.is_empty() && size > bytes || found.len() >= BATCH {
                    return Ok(found);
                }
                found.push(record);
            }
        }
        Ok(found)
    }

    /// The controller has stored all records up to this one. Numbers that it has and this spool has never given are not given
    /// any more: the spool is older than the controller, as after a restore of its directory.
    pub fn acknowledge(&self, seq: u64) -> io::Result<()> {
        let mut inner = self.lock();
        inner.acknowledged = inner.acknowledged.max(seq);
        if seq >= inner.next {
            inner.next = seq.saturating_add(1);
            inner.open = None;
            let next = inner.next;
            inner.files.insert(next, 0);
            File::create(path(&self.dir, next))?.sync_all()?;
        }
        // The newest file stays: it knows the next number.
        let mut files = mem::take(&mut inner.files);
        while files.len() > 1 {
            let mut firsts = files.keys();
            let (first, next) = (firsts.next().copied(), firsts.next().copied());
            let (Some(first), Some(next)) = (first, next) else { break };
            if next > seq.saturating_add(1) {
                break;
            }
            files.remove(&first);
            fsio::remove(&path(&self.dir, first))?;
        }
        inner.files = files;
        Ok(())
    }

    /// Records that no controller has acknowledged, and records that were dropped.
    pub fn waiting(&self) -> (u64, u64) {
        let inner = self.lock();
        let first = inner.files.first_key_value().map_or(inner.next, |(first, _)| *first);
        let oldest = first.max(inner.acknowledged.saturating_add(1));
        (inner.next.saturating_sub(oldest), inner.dropped)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(dir: &Path) -> io::Result<String> {
    let path = dir.join(ID);
    if let Ok(text) = fs::read_to_string(&path) {
        let text = text.trim();
        if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(text.to_owned());
        }
    }
    // Without its identity nobody knows which numbers were given: the records of before belong to no spool.
    for first in files(dir)?.into_keys() {
        fsio::remove(&self::path(dir, first))?;
    }
    let id = uuid::Uuid::new_v4().simple().to_string();
    fsio::write_atomic(&path, id.as_bytes(), 0o600)?;
    Ok(id)
}

/// First numbers and sizes of the files.
fn files(dir: &Path) -> io::Result<BTreeMap<u64, u64>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let is_ours = path.extension().is_some_and(|extension| extension == EXTENSION);
        let first = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(first) = first.filter(|_| is_ours) {
            found.insert(first, entry.metadata()?.len());
        }
    }
    Ok(found)
}

fn dropped_before(dir: &Path, files: &BTreeMap<u64, u64>, first: u64) -> io::Result<u64> {
    let Some((before, _)) = files.range(..first).next_back() else { return Ok(0) };
    Ok(scan(&fs::read(path(dir, *before))?).0.last().map_or(0, |last| last.dropped))
}

fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.{EXTENSION}"))
}

fn checksum(content: &[u8]) -> [u8; 4] {
    let digest = digest(&SHA256, content);
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

fn framed(record: &Stored) -> io::Result<Vec<u8>> {
    let content = record.encode_to_vec();
    let length = u32::try_from(content.len()).ok().filter(|_| content.len() <= RECORD_BYTES);
    let length = length.ok_or_else(|| io::Error::other("the record is too large for the spool"))?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&checksum(&content));
    bytes.extend_from_slice(&content);
    Ok(bytes)
}

/// The whole records at the beginning of a file, and how many bytes they take.
pub(super) fn scan(bytes: &[u8]) -> (Vec<Stored>, u64) {
    let mut records = Vec::new();
    let mut left = bytes;
    while let Some((head, rest)) = left.split_at_checked(HEAD) {
        let (length, sum) = head.split_at(4);
        let length =
            length.try_into().map(u32::from_le_bytes).ok().and_then(|length| usize::try_from(length).ok());
        let content =
            length.filter(|length| *length <= RECORD_BYTES).and_then(|length| rest.split_at_checked(length));
        let Some((content, rest)) = content else { break };
        if checksum(content).as_slice() != sum {
            break;
        }
        let Ok(record) = Stored::decode(content) else { break };
        records.push(record);
        left = rest;
    }
    (records, (bytes.len() - left.len()) as u64)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn now() -> Clock {
        Clock { boot: "b".into(), uptime_ms: 7, wall_ms: 9 }
    }

    fn project() -> Vec<ProjectUsage> {
        vec![ProjectUsage { project_ref: "abcdefghijklmnopqrst".into(), ..ProjectUsage::default() }]
    }

    pub fn file() -> Vec<u8> {
        let one = Stored { seq: 1, boot: "b".into(), projects: project(), ..Stored::default() };
        [framed(&one).unwrap(), framed(&Stored { seq: 2, ..one }).unwrap()].concat()
    }

    fn numbers(spool: &Spool, after: u64) -> Vec<u64> {
        spool.after(after, 1 << 20).unwrap().iter().map(|record| record.seq).collect()
    }

    #[test]
    fn records_outlive_the_agent_and_a_torn_one_never_was() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let id = spool.id().to_owned();
        for _ in 0..3 {
            spool.append(&now(), project()).unwrap();
        }
        assert_eq!(numbers(&spool, 0), [1, 2, 3]);
        assert_eq!(spool.after(0, 1).unwrap().len(), 1, "one at least");
        assert_eq!(spool.after(1, 1 << 20).unwrap()[0].made(), now());
        drop(spool);
        let file = dir.path().join("usage").join(format!("{:020}.records", 1));
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        assert_eq!((spool.id(), numbers(&spool, 0)), (id.as_str(), vec![1, 2]));
        spool.append(&now(), project()).unwrap();
        assert_eq!(numbers(&spool, 2), [3], "it was never sent, so its number is free");
    }

    #[test]
    fn what_is_acknowledged_goes_and_its_numbers_never_come_again() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        spool.append(&now(), project()).unwrap();
        spool.acknowledge(1).unwrap();
        drop(spool);
        let spool = Spool::open(dir.path()).unwrap();
        spool.append(&now(), project()).unwrap();
        assert_eq!(numbers(&spool, 1), [2]);
        // The directory was restored from a backup: the controller has seen newer ones.
        spool.acknowledge(100).unwrap();
        spool.append(&now(), project()).unwrap();
        assert_eq!(numbers(&spool, 100), [101]);
        drop(spool);
        let spool = Spool::open(dir.path()).unwrap();
        assert_eq!(numbers(&spool, 0), [101]);
        fs::write(dir.path().join("usage/id"), "").unwrap();
        let other = Spool::open(dir.path()).unwrap();
        assert!(numbers(&other, 0).is_empty() && other.id() != spool.id());
    }

    #[test]
    fn a_full_spool_drops_the_oldest_and_counts_them() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open_bounded(dir.path(), 3 * FILE_BYTES).unwrap();
        let large = |_| ProjectUsage { project_ref: "x".repeat(1000), ..ProjectUsage::default() };
        let projects: Vec<_> = (0..500).map(large).collect();
        for _ in 0..12 {
            spool.append(&now(), projects.clone()).unwrap();
        }
        let left = spool.after(0, usize::MAX).unwrap();
        let first = left[0].seq;
        assert!(first > 1, "{first}");
        assert_eq!(spool.dropped(), first - 1);
        assert_eq!(left.last().unwrap().seq, 12);
        drop(spool);
        let spool = Spool::open_bounded(dir.path(), 3 * FILE_BYTES).unwrap();
        assert_eq!(spool.dropped(), left.last().unwrap().dropped, "told also after a restart");
        spool.acknowledge(12).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "the identity, and the newest file");
    }
}
