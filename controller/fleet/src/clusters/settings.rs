//! What can be set on clusters and nodes, checked: name, region, labels, policy, factors and reserves.

use std::collections::BTreeMap;

use supalove_core::{
    error::{Error, Result},
    sql_enum,
};
use supalove_proto::v1::{self as pb, ResourceFactors, ResourceReserve};
use supalove_spec::text::is_plain;

use super::ClusterKind;

/// Labels of a cluster or a node.
pub type Labels = BTreeMap<String, String>;

/// Maximum number of labels of an object.
const LABELS: usize = 32;
/// Maximum length of a label's key, and of its value.
const LABEL_CHARS: usize = 63;
/// Maximum length of a region.
const REGION_CHARS: usize = 80;
/// Bounds of a factor. A host's capacity times the largest fits the columns, see `nodes.rs`.
const FACTORS: std::ops::RangeInclusive<f64> = 1.0..=64.0;
/// Bounds of reserves: a thousand cores, 16 TiB of memory, 1 PiB of disk.
const MOST_RESERVE: (u32, u32, u64) = (1_000_000, 1 << 24, 1 << 30);

sql_enum! {
    /// How the scheduler chooses among nodes with room.
    PlacementPolicy {
        /// Prefers the fullest node.
        Pack = "PACK",
        /// Prefers the emptiest node.
        Spread = "SPREAD",
    }
}

/// What can be set on a cluster. Kind and owner cannot: they are fixed at its creation.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub name: String,
    pub region: String,
    pub labels: Labels,
    pub policy: PlacementPolicy,
    pub overcommit: Factors,
    pub reserve: Reserve,
}

/// Factors by which projects may reserve more than the hosts have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    pub cpu: f64,
    pub memory: f64,
    pub disk: f64,
}

/// What each host keeps for itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reserve {
    pub cpu_millis: i32,
    pub memory_mib: i32,
    pub disk_mib: i64,
}

impl Default for Factors {
    fn default() -> Self {
        Self { cpu: 8.0, memory: 1.5, disk: 1.0 }
    }
}

/// Checks the name of a cluster.
pub fn name(text: &str) -> Result<String> {
    let letter = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if letter && plain && (2..=40).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(Error::field("name", "must be 2 to 40 of a-z, 0-9 and \"-\", starting with a letter"))
}

/// Checks a region.
pub fn region(text: &str) -> Result<String> {
    if is_plain(text, REGION_CHARS) {
        return Ok(text.to_owned());
    }
    let wrong = format!("must have at most {REGION_CHARS} characters and no control characters");
    Err(Error::field("region", wrong))
}

/// Checks labels.
pub fn labels(given: &Labels) -> Result<Labels> {
    if given.len() > LABELS {
        return Err(Error::field("labels", format!("must be at most {LABELS}")));
    }
    if !given.keys().all(|key| is_label_key(key)) {
        let wrong = format!(
            "keys must have 1 to {LABEL_CHARS} of a-z, 0-9, \".\", \"_\", \"/\" and \"-\", and begin and end with a letter or digit"
        );
        return Err(Error::field("labels", wrong));
    }
    if !given.values().all(|value| is_plain(value, LABEL_CHARS)) {
        let wrong = format!("values must have at most {LABEL_CHARS} characters and no control characters");
        return Err(Error::field("labels", wrong));
    }
    Ok(given.clone())
}

fn is_label_key(key: &str) -> bool {
    let word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = key.as_bytes();
    bytes.len() <= LABEL_CHARS
        && word(bytes.first())
        && word(bytes.last())
        && bytes.iter().all(|byte| word(Some(byte)) || b"._/-".contains(byte))
}

/// Returns a policy, or the default of a kind of cluster.
pub fn policy(given: pb::PlacementPolicy, kind: ClusterKind) -> PlacementPolicy {
    match (given, kind) {
        (pb::PlacementPolicy::Pack, _) | (pb::PlacementPolicy::Unspecified, ClusterKind::Shared) => {
            PlacementPolicy::Pack
        }
        (pb::PlacementPolicy::Spread, _) | (pb::PlacementPolicy::Unspecified, ClusterKind::Private) => {
            PlacementPolicy::Spread
        }
    }
}

/// Checks a policy as a request has it: a number.
pub fn known_policy(number: i32) -> Result<pb::PlacementPolicy> {
    pb::PlacementPolicy::try_from(number).map_err(|_| Error::field("policy", "must be PACK or SPREAD"))
}

/// Checks factors.
pub fn factors(given: Option<&ResourceFactors>) -> Result<Factors> {
    let defaults = Factors::default();
    let Some(given) = given else { return Ok(defaults) };
    let one = |field: &str, value: f64, default: f64| {
        if value == 0.0 {
            return Ok(default);
        }
        // False for NaN, too.
        if FACTORS.contains(&value) {
            return Ok(value);
        }
        Err(Error::field(format!("overcommit.{field}"), "must be from 1 to 64, or 0 for the default"))
    };
    Ok(Factors {
        cpu: one("cpu", given.cpu, defaults.cpu)?,
        memory: one("memory", given.memory, defaults.memory)?,
        disk: one("disk", given.disk, defaults.disk)?,
    })
}

/// Checks a reserve.
pub fn reserve(given: Option<&ResourceReserve>) -> Result<Reserve> {
    let given = given.copied().unwrap_or_default();
    let (cpu, memory, disk) = MOST_RESERVE;
    let too_much = |field: &str, most: String| {
        Error::field(format!("reserve.{field}"), format!("must be at most {most}"))
    };
    if given.cpu_millis > cpu {
        return Err(too_much("cpu_millis", cpu.to_string()));
    }
    if given.memory_mib > memory {
        return Err(too_much("memory_mib", memory.to_string()));
    }
    if given.disk_mib > disk {
        return Err(too_much("disk_mib", disk.to_string()));
    }
    Ok(Reserve {
        cpu_millis: given.cpu_millis.cast_signed(),
        memory_mib: given.memory_mib.cast_signed(),
        disk_mib: given.disk_mib.cast_signed(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_regions_are_bounded() {
        for good in ["eu", "eu-central-1", &"a".repeat(40)] {
            assert_eq!(name(good).unwrap(), good);
        }
        for wrong in ["", "a", "Eu", "1eu", "e_u", "clu_00", &"a".repeat(41), "e\0u"] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
        assert!(region("Frankfurt, hall 3").is_ok() && region("").is_ok());
        assert!(region("a\nb").is_err() && region(&"é".repeat(81)).is_err());
    }

    #[test]
    fn labels_are_few_and_short() {
        let one = |key: &str, value: &str| labels(&Labels::from([(key.to_owned(), value.to_owned())]));
        assert!(one("disk", "nvme").is_ok() && one("example.com/rack_1", "").is_ok());
        for wrong in ["", "-a", "a-", "A", "a b", &"a".repeat(64)] {
            assert!(one(wrong, "").is_err(), "{wrong:?}");
        }
        assert!(one("a", &"x".repeat(64)).is_err() && one("a", "x\u{1b}").is_err());
        let many: Labels = (0..33).map(|n| (format!("k{n}"), String::new())).collect();
        assert!(labels(&many).is_err());
    }

    #[test]
    fn each_kind_has_its_default_policy() {
        let unset = pb::PlacementPolicy::Unspecified;
        assert_eq!(policy(unset, ClusterKind::Shared), PlacementPolicy::Pack);
        assert_eq!(policy(unset, ClusterKind::Private), PlacementPolicy::Spread);
        assert_eq!(policy(pb::PlacementPolicy::Pack, ClusterKind::Private), PlacementPolicy::Pack);
        assert!(known_policy(7).is_err());
    }

    #[test]
    fn factors_and_reserves_are_bounded_and_the_error_names_the_field() {
        assert_eq!(factors(None).unwrap(), Factors::default());
        let given = ResourceFactors { cpu: 4.0, memory: 0.0, disk: 1.0 };
        assert_eq!(factors(Some(&given)).unwrap(), Factors { cpu: 4.0, memory: 1.5, disk: 1.0 });
        for wrong in [0.5, 64.5, -1.0, f64::NAN, f64::INFINITY] {
            let refused = factors(Some(&ResourceFactors { memory: wrong, ..given })).unwrap_err();
            assert!(refused.to_string().contains("overcommit.memory"), "{refused}");
        }
        let given = ResourceReserve { cpu_millis: 500, memory_mib: 1024, disk_mib: 10_240 };
        assert_eq!(reserve(Some(&given)).unwrap().memory_mib, 1024);
        let wrong = ResourceReserve { disk_mib: u64::MAX, ..given };
        assert!(reserve(Some(&wrong)).unwrap_err().to_string().contains("reserve.disk_mib"));
    }
}
