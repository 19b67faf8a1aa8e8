//! What plans limit, and the decisions on limits: which one counts, and what is over it.

use supalove_core::{
    error::{Error, Result},
    sql_enum,
};

/// Sizes of projects, smallest first.
pub const PROJECT_SIZES: [&str; 5] = ["nano", "micro", "small", "medium", "large"];

/// Maximum of limits that count things of which the platform has a row each.
const MOST_THINGS: u64 = 1_000_000_000;
/// Maximum of amounts.
const MOST: u64 = 1_000_000_000_000_000;
/// Maximum of limits in days: a hundred years.
const MOST_DAYS: u64 = 36_500;

sql_enum! {
    /// Something that a plan limits.
    Entitlement {
        /// Number of projects.
        Projects = "PROJECTS",
        /// Size of a project's database in MiB.
        DatabaseSize = "DATABASE_SIZE",
        /// Size of a project's files in MiB.
        StorageSize = "STORAGE_SIZE",
        /// Number of function invocations in a month.
        FunctionInvocations = "FUNCTION_INVOCATIONS",
        /// Number of members.
        Members = "MEMBERS",
        /// Sizes that a project may have.
        ProjectSizes = "PROJECT_SIZES",
        /// Whether there may be private clusters.
        PrivateClusters = "PRIVATE_CLUSTERS",
        /// Days for which backups are kept.
        BackupDays = "BACKUP_DAYS",
        /// Days for which logs are kept.
        LogDays = "LOG_DAYS",
    }
}

sql_enum! {
    /// What happens at the limit of a database's size.
    SizeAction {
        /// The organization is told.
        Notify = "NOTIFY",
        /// The database starts transactions read-only, too.
        ReadOnly = "READ_ONLY",
    }
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// In the unit of the entitlement.
    Number(i64),
    Allowed(bool),
    Sizes(Vec<String>),
}

/// The limits of a plan, or those that count for an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub projects: i64,
    pub database_mib: i64,
    pub storage_mib: i64,
    pub function_invocations: i64,
    pub members: i64,
    pub project_sizes: Vec<String>,
    pub private_clusters: bool,
    pub backup_days: i64,
    pub log_days: i64,
}

/// How much of what is measured an organization uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    pub projects: i64,
    pub members: i64,
    pub private_clusters: i64,
    /// Number of projects of each size, in the order of [`PROJECT_SIZES`].
    pub sizes: [i64; PROJECT_SIZES.len()],
}

/// A use that is over a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// Slug.
    pub organization: String,
    pub entitlement: Entitlement,
    pub used: i64,
    /// What the limit would be.
    pub limit: i64,
}

impl Limits {
    /// The limit of an entitlement.
    pub fn value(&self, entitlement: Entitlement) -> Value {
        match entitlement {
            Entitlement::Projects => Value::Number(self.projects),
            Entitlement::DatabaseSize => Value::Number(self.database_mib),
            Entitlement::StorageSize => Value::Number(self.storage_mib),
            Entitlement::FunctionInvocations => Value::Number(self.function_invocations),
            Entitlement::Members => Value::Number(self.members),
            Entitlement::ProjectSizes => Value::Sizes(self.project_sizes.clone()),
            Entitlement::PrivateClusters => Value::Allowed(self.private_clusters),
            Entitlement::BackupDays => Value::Number(self.backup_days),
            Entitlement::LogDays => Value::Number(self.log_days),
        }
    }

    /// Sets the limit of an entitlement; an error, which names `field`, if the value is of another kind.
    pub fn set(&mut self, entitlement: Entitlement, value: Value, field: &str) -> Result<()> {
        let number = match entitlement {
            Entitlement::Projects => &mut self.projects,
            Entitlement::DatabaseSize => &mut self.database_mib,
            Entitlement::StorageSize => &mut self.storage_mib,
            Entitlement::FunctionInvocations => &mut self.function_invocations,
            Entitlement::Members => &mut self.members,
            Entitlement::BackupDays => &mut self.backup_days,
            Entitlement::LogDays => &mut self.log_days,
            Entitlement::ProjectSizes => {
                let Value::Sizes(sizes) = value else {
                    return Err(Error::field(field, "must be sizes for PROJECT_SIZES"));
                };
                self.project_sizes = sizes;
                return Ok(());
            }
            Entitlement::PrivateClusters => {
                let Value::Allowed(allowed) = value else {
                    return Err(Error::field(field, "must be yes or no (allowed) for PRIVATE_CLUSTERS"));
                };
                self.private_clusters = allowed;
                return Ok(());
            }
        };
        let Value::Number(given) = value else {
            return Err(Error::field(field, format!("must be a number for {}", entitlement.as_sql())));
        };
        *number = given;
        Ok(())
    }

    /// The limit of what is measured, as a number.
    pub fn bound(&self, measured: Entitlement) -> Option<i64> {
        match measured {
            Entitlement::Projects => Some(self.projects),
            Entitlement::Members => Some(self.members),
            // Their number has no limit.
            Entitlement::PrivateClusters => Some(if self.private_clusters { i64::MAX } else { 0 }),
            _ => None,
        }
    }

    /// Sizes that `self` no longer allows.
    pub fn sizes_taken_away(&self, before: &Self) -> Vec<String> {
        let kept = |size: &&String| !self.project_sizes.contains(size);
        before.project_sizes.iter().filter(kept).cloned().collect()
    }

    /// The limit if `self` lowers it, else no limit: what was over before may stay.
    pub fn lowered(&self, before: &Self, measured: Entitlement) -> i64 {
        match (self.bound(measured), before.bound(measured)) {
            (Some(now), Some(before)) if now < before => now,
            _ => i64::MAX,
        }
    }
}

impl Used {
    /// How much of an entitlement is in use, if that is measured.
    pub fn of(&self, entitlement: Entitlement) -> Option<i64> {
        match entitlement {
            Entitlement::Projects => Some(self.projects),
            Entitlement::Members => Some(self.members),
            Entitlement::PrivateClusters => Some(self.private_clusters),
            _ => None,
        }
    }

    /// How many projects have one of these sizes.
    fn of_sizes(&self, names: &[String]) -> i64 {
        let counted = PROJECT_SIZES.iter().zip(self.sizes);
        counted.filter(|(size, _)| names.iter().any(|name| name == *size)).map(|(_, projects)| projects).sum()
    }

    /// What is over the limits `after` and not allowed to stay.
    pub fn over(&self, organization: &str, before: &Limits, after: &Limits) -> Vec<Over> {
        let over = |entitlement: Entitlement| {
            let (used, limit) = match entitlement {
                Entitlement::ProjectSizes => (self.of_sizes(&after.sizes_taken_away(before)), 0),
                entitlement => (self.of(entitlement)?, after.lowered(before, entitlement)),
            };
            let organization = organization.to_owned();
            (used > limit).then_some(Over { organization, entitlement, used, limit })
        };
        Entitlement::ALL.iter().copied().filter_map(over).collect()
    }
}

/// Checks a number from a caller.
pub fn number(entitlement: Entitlement, field: &str, given: u64) -> Result<i64> {
    let (least, most) = match entitlement {
        Entitlement::Members => (1, MOST_THINGS),
        Entitlement::Projects => (0, MOST_THINGS),
        Entitlement::BackupDays | Entitlement::LogDays => (0, MOST_DAYS),
        _ => (0, MOST),
    };
    let valid = (least..=most).contains(&given).then(|| i64::try_from(given).ok()).flatten();
    valid.ok_or_else(|| Error::field(field, format!("must be between {least} and {most}")))
}

/// Checks sizes from a caller; returns them in their order.
pub fn sizes(field: &str, given: &[String]) -> Result<Vec<String>> {
    let known = given.iter().all(|size| PROJECT_SIZES.contains(&size.as_str()));
    if given.is_empty() || !known {
        return Err(Error::field(field, format!("must be at least one of {}", PROJECT_SIZES.join(", "))));
    }
    let chosen = PROJECT_SIZES.iter().filter(|size| given.iter().any(|given| given == *size));
    Ok(chosen.map(|size| (*size).to_owned()).collect())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn limits() -> Limits {
        Limits {
            projects: 20,
            database_mib: 5120,
            storage_mib: 102_400,
            function_invocations: 2_000_000,
            members: 25,
            project_sizes: vec!["nano".into(), "micro".into()],
            private_clusters: true,
            backup_days: 7,
            log_days: 7,
        }
    }

    #[test]
    fn a_value_is_of_the_kind_of_its_entitlement() {
        let mut limits = limits();
        for entitlement in Entitlement::ALL.iter().copied() {
            let value = limits.value(entitlement);
            limits.set(entitlement, value.clone(), "value").unwrap();
            assert_eq!(limits.value(entitlement), value, "{entitlement:?}");
            let wrong = [Value::Number(1), Value::Allowed(true), Value::Sizes(vec!["nano".into()])];
            let accepted =
                wrong.into_iter().filter(|value| limits.set(entitlement, value.clone(), "value").is_ok());
            assert_eq!(accepted.count(), 1, "{entitlement:?}");
        }
    }

    #[test]
    fn only_what_is_lowered_and_over_is_in_the_way() {
        let before = limits();
        let used = Used { projects: 15, members: 30, private_clusters: 1, sizes: [12, 2, 1, 0, 0] };
        assert_eq!(used.over("acme", &before, &before), [], "30 members were over before and may stay");
        let after = Limits { projects: 10, members: 26, private_clusters: false, ..limits() };
        let names: Vec<_> = used
            .over("acme", &before, &after)
            .into_iter()
            .map(|over| (over.entitlement, over.limit))
            .collect();
        assert_eq!(
            names,
            [(Entitlement::Projects, 10), (Entitlement::PrivateClusters, 0)],
            "26 members are more than before"
        );
        let smaller = Limits { project_sizes: vec!["nano".into()], ..limits() };
        let over = used.over("acme", &before, &smaller);
        assert_eq!((over[0].entitlement, over[0].used), (Entitlement::ProjectSizes, 2), "{over:?}");
        assert_eq!(over.len(), 1, "a project of a size that was not allowed before may stay");
        let lower = Limits { members: 5, projects: 15, ..limits() };
        let over = used.over("acme", &before, &lower);
        assert_eq!(over.len(), 1, "what fits exactly fits: {over:?}");
        assert_eq!((over[0].entitlement, over[0].used, over[0].limit), (Entitlement::Members, 30, 5));
    }

    #[test]
    fn numbers_and_sizes_of_callers_are_checked() {
        assert_eq!(number(Entitlement::Projects, "x", 0).unwrap(), 0);
        assert!(number(Entitlement::Members, "x", 0).is_err(), "an owner is a member");
        assert!(number(Entitlement::Projects, "x", MOST_THINGS + 1).is_err());
        assert!(number(Entitlement::LogDays, "x", u64::MAX).is_err());
        let given = |sizes: &[&str]| sizes.iter().map(|size| (*size).to_owned()).collect::<Vec<_>>();
        assert_eq!(sizes("x", &given(&["large", "nano", "nano"])).unwrap(), ["nano", "large"]);
        for wrong in [&[][..], &["huge"], &["nano", "NANO"]] {
            assert!(sizes("x", &given(wrong)).is_err(), "{wrong:?}");
        }
    }
}
