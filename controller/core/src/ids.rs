//! Typed ids: the compiler refuses a `ProjectRef` where a `NodeId` is needed. UUIDv7 in SQL, prefixed text on the wire.

use std::{fmt, str::FromStr};

use rand::RngExt as _;
use uuid::Uuid;

/// The text is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be {expected}")]
pub struct InvalidId {
    /// Format of an id of this kind.
    pub expected: &'static str,
}

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Generates a new id, greater than all ids before it.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.as_simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|hex| hex.len() == 32)
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or(InvalidId { expected: concat!("an id like ", $prefix, "_0197a1…") })
            }
        }
    )*};
}

uuid_ids! {
    /// A platform user.
    UserId = "usr";
    /// A session of a user.
    SessionId = "ses";
    /// A personal access token.
    PersonalAccessTokenId = "pat";
    /// An invitation to an organization.
    InvitationId = "inv";
    /// An organization.
    OrganizationId = "org";
    /// A cluster.
    ClusterId = "clu";
    /// A node.
    NodeId = "nod";
    /// A join token.
    JoinTokenId = "jtk";
    /// An operation.
    OperationId = "opr";
    /// A root certificate of the fleet.
    AuthorityId = "aut";
    /// A mail of the outbox.
    MailId = "mal";
    /// A run of a controller.
    ControllerId = "ctl";
    /// A restore of the control database that waits for its confirmation.
    RestoreId = "rst";
}

/// A project's id everywhere: 20 lower-case letters, as hosted Supabase has them; a DNS-safe label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct ProjectRef(String);

impl ProjectRef {
    /// Length of a ref.
    pub const LENGTH: usize = 20;

    /// Generates a random ref. Its 94 bits make it unique without a look-up.
    pub fn generate() -> Self {
        let mut rng = rand::rng();
        Self((0..Self::LENGTH).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect())
    }

    /// Returns the ref as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectRef {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.len() == Self::LENGTH && text.bytes().all(|b| b.is_ascii_lowercase()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId { expected: "a project ref of 20 lower-case letters" })
        }
    }
}

impl fmt::Display for ProjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_kinds_do_not_mix() {
        let node = NodeId::generate();
        assert_eq!(node.to_string().parse(), Ok(node));
        assert!(node.to_string().parse::<UserId>().is_err());
        assert!("nod_xyz".parse::<NodeId>().is_err());
    }

    #[test]
    fn refs_are_twenty_lower_case_letters() {
        let made = ProjectRef::generate();
        assert_eq!(made.as_str().parse(), Ok(made.clone()));
        for wrong in ["", "abc", "ABCDEFGHIJKLMNOPQRST", "abcdefghijklmnopqrs1", "abcdefghijklmnopqrstu"] {
            assert!(wrong.parse::<ProjectRef>().is_err(), "{wrong}");
        }
    }
}
