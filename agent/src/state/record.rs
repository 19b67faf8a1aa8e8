//! The stored desired state of a project, and the fence that decides which request may replace it. No I/O.

use aws_lc_rs::digest::{SHA256, digest};
use prost::Message;
use supalove_proto::node::v1::{ApplyStackRequest, Placement, RunState, StackSpec};

/// Hash over everything that must not change within a generation.
pub type ContentHash = [u8; 32];

/// A project's last accepted desired state.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    #[prost(string, tag = "1")]
    pub project_ref: String,
    /// The last ApplyStack; absent where only a removal is known.
    #[prost(message, optional, tag = "2")]
    pub apply: Option<ApplyStackRequest>,
    /// Set while the project is being removed.
    #[prost(message, optional, tag = "3")]
    pub removal: Option<Removal>,
}

/// An accepted RemoveStack that has not ended.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Removal {
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// Whether volumes go, too.
    #[prost(bool, tag = "2")]
    pub delete_volumes: bool,
}

impl Record {
    /// A record of an applied state.
    pub fn applied(request: ApplyStackRequest) -> Self {
        Self { project_ref: request.project_ref.clone(), apply: Some(request), removal: None }
    }

    /// The generation of the newest request in it.
    pub fn generation(&self) -> u64 {
        let applied = self.apply.as_ref().map_or(0, |apply| apply.generation);
        let removed = self.removal.map_or(0, |removal| removal.generation);
        applied.max(removed)
    }

    /// Whether its containers should run.
    pub fn is_running(&self) -> bool {
        self.removal.is_none()
            && self.apply.as_ref().is_some_and(|apply| apply.run_state() == RunState::Running)
    }

    /// The slot it occupies.
    pub fn slot(&self) -> Option<u32> {
        let placement = self.apply.as_ref()?.placement.as_ref()?;
        Some(placement.slot)
    }

    pub fn spec(&self) -> Option<&StackSpec> {
        self.apply.as_ref()?.spec.as_ref()
    }

    pub fn placement(&self) -> Option<&Placement> {
        self.apply.as_ref()?.placement.as_ref()
    }
}

/// Hash over run state, restart token, spec and placement, which must not change within a generation.
pub fn content_hash(request: &ApplyStackRequest) -> ContentHash {
    let content = ApplyStackRequest { project_ref: String::new(), generation: 0, ..request.clone() };
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &content.encode_to_vec()).as_ref());
    hash
}

/// What to do with an accepted request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// Store it and work on it.
    New,
    /// It is stored already.
    Known,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The stored generation is newer.
    #[error("generation {asked} is older than the stored generation {stored}")]
    Stale {
        /// Generation of the request.
        asked: u64,
        stored: u64,
    },
    /// The same generation was stored with other content.
    #[error("generation {0} is stored with other content; a change needs a new generation")]
    Conflict(u64),
    /// The project was removed with this or a newer generation.
    #[error("the project was removed with generation {removed}; generation {asked} cannot bring it back")]
    Removed {
        /// Generation of the request.
        asked: u64,
        /// Generation of the removal.
        removed: u64,
    },
    /// A removal that deletes volumes has not ended.
    #[error("the project is being removed with generation {0}; try again when it is REMOVED")]
    Removing(u64),
}

impl Refused {
    /// Stable reason for callers.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Stale { .. } | Self::Removed { .. } => "STALE_GENERATION",
            Self::Conflict(_) => "GENERATION_CONFLICT",
            Self::Removing(_) => "REMOVAL_IN_PROGRESS",
        }
    }
}

impl Refused {
    /// The newest generation that the agent knows of the project.
    pub fn stored(&self) -> u64 {
        match *self {
            Self::Stale { stored, .. } => stored,
            Self::Conflict(generation) | Self::Removing(generation) => generation,
            Self::Removed { removed, .. } => removed,
        }
    }

    /// True if the agent has removed the project.
    pub fn removed(&self) -> bool {
        matches!(self, Self::Removed { .. } | Self::Removing(_))
    }
}

/// Decides about an ApplyStack. `tombstone` is the generation of an ended removal.
pub fn fence_apply(
    stored: Option<&Record>,
    tombstone: Option<u64>,
    request: &ApplyStackRequest,
) -> Result<Accepted, Refused> {
    let asked = request.generation;
    let removal = stored.and_then(|record| record.removal);
    if let Some(removed) = removal.map(|removal| removal.generation).max(tombstone)
        && asked <= removed
    {
        return Err(Refused::Removed { asked, removed });
    }
    if let Some(removal) = removal {
        return Err(Refused::Removing(removal.generation));
    }
    let Some(apply) = stored.and_then(|record| record.apply.as_ref()) else {
        return Ok(Accepted::New);
    };
    match asked.cmp(&apply.generation) {
        std::cmp::Ordering::Less => Err(Refused::Stale { asked, stored: apply.generation }),
        std::cmp::Ordering::Greater => Ok(Accepted::New),
        std::cmp::Ordering::Equal if content_hash(request) == content_hash(apply) => Ok(Accepted::Known),
        std::cmp::Ordering::Equal => Err(Refused::Conflict(asked)),
    }
}

/// Decides about a RemoveStack.
pub fn fence_remove(stored: Option<&Record>, tombstone: Option<u64>, asked: u64) -> Result<(), Refused> {
    let known = stored.map(Record::generation).max(tombstone).unwrap_or(0);
    if asked < known {
        return Err(Refused::Stale { asked, stored: known });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(generation: u64, token: &str) -> ApplyStackRequest {
        ApplyStackRequest {
            project_ref: "abcdefghijklmnopqrst".into(),
            generation,
            run_state: RunState::Running.into(),
            restart_token: token.into(),
            new_volumes: Vec::new(),
            spec: None,
            placement: None,
        }
    }

    #[test]
    fn a_generation_only_grows_and_never_changes() {
        let stored = Record::applied(request(5, "a"));
        let fence = |generation, token| fence_apply(Some(&stored), None, &request(generation, token));
        assert_eq!(fence(6, "b"), Ok(Accepted::New));
        assert_eq!(fence(5, "a"), Ok(Accepted::Known));
        assert_eq!(fence(5, "b"), Err(Refused::Conflict(5)));
        assert_eq!(fence(4, "a"), Err(Refused::Stale { asked: 4, stored: 5 }));
        assert_eq!(fence_apply(None, None, &request(1, "")), Ok(Accepted::New));
    }

    #[test]
    fn a_tombstone_keeps_older_generations_away() {
        assert!(fence_apply(None, Some(5), &request(5, "")).is_err());
        assert_eq!(fence_apply(None, Some(5), &request(6, "")), Ok(Accepted::New));
        let mut removing = Record::applied(request(5, ""));
        removing.removal = Some(Removal { generation: 5, delete_volumes: true });
        assert_eq!(fence_apply(Some(&removing), None, &request(6, "")), Err(Refused::Removing(5)));
        assert_eq!(
            fence_apply(Some(&removing), None, &request(5, "")).unwrap_err().reason(),
            "STALE_GENERATION"
        );
    }

    #[test]
    fn a_removal_must_not_be_older() {
        let stored = Record::applied(request(5, ""));
        assert!(fence_remove(Some(&stored), None, 4).is_err());
        assert!(fence_remove(Some(&stored), None, 5).is_ok());
        assert!(fence_remove(None, Some(7), 6).is_err());
        assert!(fence_remove(None, None, 1).is_ok());
    }

    #[test]
    fn the_hash_covers_content_but_not_the_generation() {
        assert_eq!(content_hash(&request(1, "a")), content_hash(&request(2, "a")));
        assert_ne!(content_hash(&request(1, "a")), content_hash(&request(1, "b")));
    }
}
