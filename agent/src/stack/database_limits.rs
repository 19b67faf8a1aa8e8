//! How much the databases of projects may hold by their plans, as the controller said last. In: a request. Out: the limits, also
//! after a restart without a controller. What follows from them is decided where volumes are measured (`disk`).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message as _;
use supalove_proto::node::v1::SetDatabaseLimitsRequest;
use supalove_spec::names::is_project_ref;
use tokio::sync::watch;

use crate::fsio;

/// Projects of a node that may have one.
const MOST: usize = 4096;
const FILE: &str = "database-limits";
const MODE: u32 = 0o600;

/// MiB, by project.
pub type Limits = BTreeMap<String, u64>;

/// What is wrong with a request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Wrong {
    pub field: String,
    pub problem: &'static str,
}

/// The limits in force.
#[derive(Debug)]
pub struct DatabaseLimits {
    path: PathBuf,
    now: watch::Sender<Arc<Limits>>,
    /// Held while they are stored: the newest ones win on disk, too.
    storing: Mutex<()>,
}

impl DatabaseLimits {
    /// Reads those of before. Without them every database is bounded by its volumes only, until the controller says more.
    pub fn open(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE);
        let limits = stored(&path).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the limits of databases; the controller will send them again");
            Limits::new()
        });
        Self { path, now: watch::Sender::new(Arc::new(limits)), storing: Mutex::default() }
    }

    /// Puts these in the place of those of before. Durable when this returns.
    pub fn set(&self, limits: Limits) -> io::Result<()> {
        let _one_at_a_time = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        if **self.now.borrow() == limits {
            return Ok(());
        }
        fsio::write_atomic(&self.path, &request(&limits).encode_to_vec(), MODE)?;
        self.now.send_replace(Arc::new(limits));
        Ok(())
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<Limits>> {
        self.now.subscribe()
    }
}

/// Checks a request.
pub fn parse(request: &SetDatabaseLimitsRequest) -> Result<Limits, Wrong> {
    let wrong = |field: String, problem| Err(Wrong { field, problem });
    if request.limits.len() > MOST {
        return wrong("limits".to_owned(), "at most 4096 projects");
    }
    let mut limits = Limits::new();
    for (index, limit) in request.limits.iter().enumerate() {
        let field = format!("limits[{index}].project_ref");
        if !is_project_ref(&limit.project_ref) {
            return wrong(field, "must be 20 lower-case letters");
        }
        if limits.insert(limit.project_ref.clone(), limit.mib).is_some() {
            return wrong(field, "a project has one limit");
        }
    }
    Ok(limits)
}

fn request(limits: &Limits) -> SetDatabaseLimitsRequest {
    let limits = limits.iter().map(|(project_ref, mib)| supalove_proto::node::v1::DatabaseLimit {
        project_ref: project_ref.clone(),
        mib: *mib,
    });
    SetDatabaseLimitsRequest { limits: limits.collect() }
}

fn stored(path: &Path) -> io::Result<Limits> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Limits::new()),
        Err(error) => return Err(error),
    };
    let request = SetDatabaseLimitsRequest::decode(bytes.as_slice()).map_err(io::Error::other)?;
    parse(&request).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use supalove_fuzz::{Samples, Verdict, bytes};

    use super::*;

    fn limits(all: &[(&str, u64)]) -> Limits {
        all.iter().map(|(project, mib)| ((*project).to_owned(), *mib)).collect()
    }

    #[test]
    fn the_newest_limits_outlive_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let open = || DatabaseLimits::open(dir.path());
        assert!(open().subscribe().borrow().is_empty(), "nobody has said anything");
        let two = limits(&[("aaaaaaaaaaaaaaaaaaaa", 500), ("bbbbbbbbbbbbbbbbbbbb", 0)]);
        let first = open();
        let mut seen = first.subscribe();
        first.set(two.clone()).unwrap();
        assert!(seen.has_changed().unwrap());
        seen.mark_unchanged();
        first.set(two.clone()).unwrap();
        assert!(!seen.has_changed().unwrap(), "the same again is no news");
        assert_eq!(**open().subscribe().borrow(), two);
        first.set(Limits::new()).unwrap();
        assert!(open().subscribe().borrow().is_empty());
        std::fs::write(dir.path().join(FILE), b"\xff\xff").unwrap();
        assert!(open().subscribe().borrow().is_empty(), "an unreadable file stops nobody");
    }

    #[test]
    fn limits_are_of_projects_and_one_for_each() {
        let mut asked = request(&limits(&[("aaaaaaaaaaaaaaaaaaaa", 1)]));
        assert!(parse(&asked).is_ok());
        asked.limits.push(asked.limits[0].clone());
        assert_eq!(parse(&asked).unwrap_err().field, "limits[1].project_ref");
        asked.limits[1].project_ref = "../x".to_owned();
        assert_eq!(parse(&asked).unwrap_err().problem, "must be 20 lower-case letters");
        asked.limits = vec![asked.limits[0].clone(); MOST + 1];
        assert_eq!(parse(&asked).unwrap_err().field, "limits");
    }

    #[test]
    fn limits_of_databases() {
        let sample = request(&limits(&[("aaaaaaaaaaaaaaaaaaaa", 500), ("bbbbbbbbbbbbbbbbbbbb", 0)]));
        bytes("limits of databases", &Samples::new([sample.encode_to_vec()]), |input| {
            let Ok(told) = SetDatabaseLimitsRequest::decode(input) else { return Verdict::Refused };
            let parsed = parse(&told);
            if let Ok(limits) = &parsed {
                assert!(
                    limits.len() == told.limits.len() && limits.keys().all(|project| is_project_ref(project))
                );
                assert_eq!(parse(&request(limits)).as_ref(), Ok(limits), "what is stored is what is read");
            }
            Verdict::from_result(&parsed)
        });
    }
}
