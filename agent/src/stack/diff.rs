//! Which containers stay, go, and are missing. Decided by service and hash alone; no I/O.

use crate::docker::Container;

/// A container that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// Engine's id.
    pub id: String,
    /// Its service label.
    pub service: String,
    /// Its hash label.
    pub hash: String,
    pub running: bool,
}

impl From<Container> for Existing {
    fn from(container: Container) -> Self {
        let Container { id, service, hash, running, .. } = container;
        Self { id, service, hash, running }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Containers that stay as they are.
    pub keep: Vec<Existing>,
    pub remove: Vec<Existing>,
    /// Services that need a container.
    pub create: Vec<String>,
}

/// Compares what is wanted, as (service, hash), with what exists.
pub fn diff(wanted: &[(&str, &str)], existing: &[Existing]) -> Diff {
    let mut diff = Diff::default();
    let mut rest: Vec<&Existing> = existing.iter().collect();
    // Of two that fit, the running one stays.
    rest.sort_by_key(|container| !container.running);
    for (service, hash) in wanted {
        match rest.iter().position(|have| have.service == *service && have.hash == *hash) {
            Some(position) => diff.keep.push(rest.remove(position).clone()),
            None => diff.create.push((*service).to_owned()),
        }
    }
    diff.remove = rest.into_iter().cloned().collect();
    diff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn existing(id: &str, service: &str, hash: &str, running: bool) -> Existing {
        Existing { id: id.into(), service: service.into(), hash: hash.into(), running }
    }

    #[test]
    fn a_container_with_the_same_hash_is_kept() {
        let have = [existing("1", "postgres", "a", true), existing("2", "gateway", "b", false)];
        let same = diff(&[("postgres", "a"), ("gateway", "b")], &have);
        assert_eq!(same.keep.len(), 2);
        assert!(same.remove.is_empty() && same.create.is_empty());
    }

    #[test]
    fn changed_dropped_and_doubled_ones_go() {
        let have = [
            existing("1", "postgres", "a", false),
            existing("2", "postgres", "a", true),
            existing("3", "gateway", "old", true),
            existing("4", "auth", "x", true),
        ];
        let diff = diff(&[("postgres", "a"), ("gateway", "new")], &have);
        assert_eq!(diff.keep, [existing("2", "postgres", "a", true)]);
        assert_eq!(diff.create, ["gateway"]);
        let mut gone: Vec<_> = diff.remove.iter().map(|container| container.id.as_str()).collect();
        gone.sort_unstable();
        assert_eq!(gone, ["1", "3", "4"]);
    }
}
