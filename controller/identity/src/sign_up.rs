//! Who may sign up.

use supalove_core::error::{Error, Result};
use supalove_proto::v1::{self as pb, ErrorReason};

/// The operator's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignUpPolicy {
    /// Everybody who has a mailbox.
    Open,
    /// Whoever is invited to an organization.
    #[default]
    Invitation,
    /// Nobody.
    Closed,
}

impl SignUpPolicy {
    /// Returns an error unless strangers may sign up by mail.
    pub fn check_open(self) -> Result<()> {
        match self {
            Self::Open => Ok(()),
            Self::Invitation => {
                Err(closed("only invited people may sign up; ask a member for an invitation"))
            }
            Self::Closed => Err(nobody()),
        }
    }

    /// Returns an error unless invited people may sign up.
    pub fn check_invited(self) -> Result<()> {
        if self == Self::Closed { Err(nobody()) } else { Ok(()) }
    }
}

fn nobody() -> Error {
    closed("the operator of this platform has closed the sign-up")
}

fn closed(message: &str) -> Error {
    Error::FailedPrecondition { reason: ErrorReason::SignUpClosed, message: message.to_owned() }
}

impl From<SignUpPolicy> for pb::SignUpPolicy {
    fn from(policy: SignUpPolicy) -> Self {
        match policy {
            SignUpPolicy::Open => Self::Open,
            SignUpPolicy::Invitation => Self::Invitation,
            SignUpPolicy::Closed => Self::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_lets_in_whom_it_says() {
        let lets_in = |policy: SignUpPolicy| (policy.check_open().is_ok(), policy.check_invited().is_ok());
        assert_eq!(lets_in(SignUpPolicy::Open), (true, true));
        assert_eq!(lets_in(SignUpPolicy::Invitation), (false, true));
        assert_eq!(lets_in(SignUpPolicy::Closed), (false, false));
        assert_eq!(SignUpPolicy::default(), SignUpPolicy::Invitation);
    }
}
