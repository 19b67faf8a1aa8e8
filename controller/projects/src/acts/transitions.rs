//! The legal transitions: from state and act to a permission, or to an error with the remedy.

use std::time::Duration;

use supalove_proto::v1::ErrorReason;

use crate::types::{
    OperationKind,
    ProjectState::{
        self, ActiveHealthy, ActiveUnhealthy, ComingUp, GoingDown, Inactive, InitFailed, PauseFailed,
        Pausing, Removed, Resizing, Restarting, RestoreFailed, Restoring, Unknown, Upgrading,
    },
};
use supalove_core::error::{Error, Result};

/// An act of a caller on an existing project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Start,
    Stop,
    Restart,
    Delete {
        /// How long to keep the data.
        undo_window: Duration,
        /// True if the caller named that time; else it is the default.
        named: bool,
    },
    Undelete,
    /// To another stack release; see `upgrade`.
    Upgrade,
    /// Of settings or secrets; see `change`.
    Change,
    /// To another organization; see `transfer`. Nothing of the desired state changes.
    Transfer,
    /// To another size; see `resize`.
    Resize,
}

impl Act {
    /// Returns the states from which the act is legal.
    fn legal_states(self) -> &'static [ProjectState] {
        match self {
            Self::Start => &[Inactive, InitFailed, PauseFailed, RestoreFailed, ActiveUnhealthy],
            Self::Stop => &[
                ComingUp,
                ActiveHealthy,
                ActiveUnhealthy,
                Restarting,
                InitFailed,
                PauseFailed,
                RestoreFailed,
                Unknown,
            ],
            Self::Restart => &[ActiveHealthy, ActiveUnhealthy, InitFailed, Unknown],
            Self::Delete { .. } => &[
                ComingUp,
                ActiveHealthy,
                ActiveUnhealthy,
                Pausing,
                Inactive,
                Restarting,
                Resizing,
                Upgrading,
                GoingDown,
                InitFailed,
                PauseFailed,
                RestoreFailed,
                Unknown,
            ],
            Self::Undelete => &[GoingDown],
            Self::Upgrade | Self::Change | Self::Resize => {
                &[ActiveHealthy, ActiveUnhealthy, Inactive, InitFailed]
            }
            Self::Transfer => {
                &[ActiveHealthy, ActiveUnhealthy, Inactive, InitFailed, PauseFailed, RestoreFailed, Unknown]
            }
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Stop => "stopped",
            Self::Restart => "restarted",
            Self::Delete { .. } => "deleted",
            Self::Undelete => "undeleted",
            Self::Upgrade => "upgraded",
            Self::Change => "changed",
            Self::Transfer => "transferred",
            Self::Resize => "resized",
        }
    }

    /// Returns FAILED_PRECONDITION with the remedy if the act is not legal. `open` is the project's open operation. While
    /// content changes only a delete is legal: the end of the change decides which content the project has.
    pub fn check(self, state: ProjectState, open: Option<OperationKind>) -> Result<()> {
        let changing = open.is_some_and(|kind| kind.changes_content() && kind.state() == state);
        if self.legal_states().contains(&state) && (!changing || matches!(self, Self::Delete { .. })) {
            return Ok(());
        }
        let message = format!(
            "a project that is {} cannot be {}; {}",
            state.as_sql(),
            self.verb(),
            remedy(state, open)
        );
        Err(Error::FailedPrecondition { reason: ErrorReason::WrongState, message })
    }
}

fn remedy(state: ProjectState, open: Option<OperationKind>) -> &'static str {
    match state {
        ComingUp | Pausing | Restarting | Resizing | Restoring | Upgrading => match open {
            // Callers can cancel only these: see `Acts::cancel`.
            Some(OperationKind::Create | OperationKind::Start) => {
                "wait for its operation to end, or cancel it"
            }
            _ => "wait for its operation to end",
        },
        ActiveHealthy => "it is up",
        ActiveUnhealthy | InitFailed | PauseFailed | RestoreFailed | Unknown => {
            "see its state_reason; stop, start or delete it"
        }
        Inactive => "start it first",
        GoingDown => "undelete it within its undo window",
        Removed => "it has been removed; create a new one",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTS: [Act; 9] = [
        Act::Start,
        Act::Stop,
        Act::Restart,
        Act::Delete { undo_window: Duration::ZERO, named: true },
        Act::Undelete,
        Act::Upgrade,
        Act::Change,
        Act::Transfer,
        Act::Resize,
    ];

    #[test]
    fn a_removed_project_takes_no_act_and_every_other_state_has_a_way_out() {
        for state in ProjectState::ALL {
            let legal = ACTS.iter().filter(|act| act.check(*state, None).is_ok()).count();
            match state {
                Removed => assert_eq!(legal, 0),
                Restoring => assert_eq!(legal, 0, "a restore ends by itself"),
                _ => assert!(legal > 0, "{state:?}"),
            }
        }
    }

    #[test]
    fn a_change_of_content_is_not_interrupted_but_by_a_delete() {
        for kind in OperationKind::ALL.iter().filter(|kind| kind.changes_content()) {
            for act in ACTS {
                let legal = act.check(kind.state(), Some(*kind)).is_ok();
                assert_eq!(legal, matches!(act, Act::Delete { .. }), "{act:?} during {kind:?}");
            }
        }
    }

    #[test]
    fn the_refusal_says_what_to_do() {
        let error = Act::Restart.check(Inactive, None).unwrap_err().to_string();
        assert_eq!(error, "a project that is INACTIVE cannot be restarted; start it first");
    }

    #[test]
    fn a_cancel_is_advised_only_where_it_is_possible() {
        for kind in OperationKind::ALL {
            let error = Act::Start.check(kind.state(), Some(*kind)).unwrap_err().to_string();
            let can_be_cancelled = matches!(kind, OperationKind::Create | OperationKind::Start);
            assert_eq!(error.contains("cancel"), can_be_cancelled, "{kind:?}: {error}");
        }
    }
}
