//! The chains of the audit log: one for each organization, and one for the platform. The one of a row is decided when the
//! row is written: an act on an organization, or on something in it, is the organization's.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use crate::{
    access::{Credential, Principal},
    ids::{InvalidId, OrganizationId},
    sql_enum,
};

/// The platform's chain, for people.
const PLATFORM: &str = "platform";

/// Whose part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// Acts of operators, jobs and nodes, acts of users on themselves, and refused calls of strangers.
    Platform,
    /// Acts on an organization and on what is in it.
    Organization(OrganizationId),
}

impl Chain {
    /// Its value in SQL: the platform's is all zeros.
    pub fn id(self) -> Uuid {
        match self {
            Self::Platform => Uuid::nil(),
            Self::Organization(id) => id.0,
        }
    }

    /// Reads the value in SQL.
    pub fn from_id(id: Uuid) -> Self {
        if id.is_nil() { Self::Platform } else { Self::Organization(OrganizationId(id)) }
    }

    /// The organization that a target names: `org_…`, also before a `/` or a space.
    pub fn from_target(target: &str) -> Self {
        let name = target.split(['/', ' ']).next().unwrap_or_default();
        name.parse().map_or(Self::Platform, Self::Organization)
    }
}

/// From what [`fmt::Display`] writes.
impl FromStr for Chain {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == PLATFORM { Ok(Self::Platform) } else { text.parse().map(Self::Organization) }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => f.write_str(PLATFORM),
            Self::Organization(id) => id.fmt(f),
        }
    }
}

sql_enum! {
    /// What an actor showed.
    Shown {
        /// Nothing, or what the method itself takes: a password, a refresh token, the set-up token.
        Nothing = "NONE",
        /// The access token of a session.
        Session = "SESSION",
        /// A personal access token.
        PersonalAccessToken = "PERSONAL_ACCESS_TOKEN",
        /// A node's certificate.
        Node = "NODE",
        /// It is a job of the control plane.
        System = "SYSTEM",
    }
}

impl Shown {
    /// By a call's principal.
    pub fn by(principal: Option<&Principal>) -> Self {
        match principal.map(|principal| principal.credential) {
            None => Self::Nothing,
            Some(Credential::Session(_)) => Self::Session,
            Some(Credential::Token(..)) => Self::PersonalAccessToken,
        }
    }

    /// By an actor in the background: a node, or a job.
    pub fn in_background(actor: &str) -> Self {
        if actor.starts_with("nod_") { Self::Node } else { Self::System }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_names_its_organization() {
        let organization = OrganizationId::generate();
        for target in [
            organization.to_string(),
            format!("{organization}/usr_1"),
            format!("{organization} OWNER"),
            format!("{organization}/usr_1 OWNER"),
        ] {
            assert_eq!(Chain::from_target(&target), Chain::Organization(organization), "{target}");
        }
        for target in ["", "platform", "usr_1", "org_", "/org_1", "abcdefghijklmnopqrst"] {
            assert_eq!(Chain::from_target(target), Chain::Platform, "{target}");
        }
        for chain in [Chain::Platform, Chain::Organization(organization)] {
            assert_eq!(Chain::from_id(chain.id()), chain);
            assert_eq!(chain.to_string().parse::<Chain>().unwrap(), chain);
        }
    }
}
