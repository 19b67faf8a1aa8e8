//! Enums of projects and operations, with their texts in SQL and on the wire.

use supalove_proto::v1 as pb;

use supalove_core::sql_enum;

sql_enum! {
    /// State of a project, as clients see it.
    ProjectState {
        /// Being created or started, or waiting for capacity.
        ComingUp = "COMING_UP",
        /// All services of the current generation are ready.
        ActiveHealthy = "ACTIVE_HEALTHY",
        /// Up, but a service is not ready.
        ActiveUnhealthy = "ACTIVE_UNHEALTHY",
        Pausing = "PAUSING",
        Inactive = "INACTIVE",
        Restarting = "RESTARTING",
        /// Gets another size.
        Resizing = "RESIZING",
        Restoring = "RESTORING",
        /// Moving to another release.
        Upgrading = "UPGRADING",
        /// Being deleted, or deleted with its undo window open.
        GoingDown = "GOING_DOWN",
        Removed = "REMOVED",
        InitFailed = "INIT_FAILED",
        PauseFailed = "PAUSE_FAILED",
        RestoreFailed = "RESTORE_FAILED",
        /// Its node is lost.
        Unknown = "UNKNOWN",
    }
}

sql_enum! {
    /// Desired state of a project.
    Desired {
        Running = "RUNNING",
        /// No service runs; the data stays.
        Stopped = "STOPPED",
        Removed = "REMOVED",
    }
}

sql_enum! {
    /// Call that started an operation.
    OperationKind {
        Create = "CREATE_PROJECT",
        Start = "START_PROJECT",
        Stop = "STOP_PROJECT",
        Restart = "RESTART_PROJECT",
        Delete = "DELETE_PROJECT",
        Undelete = "UNDELETE_PROJECT",
        Upgrade = "UPGRADE_PROJECT",
        UpdateSettings = "UPDATE_SETTINGS",
        /// SetSecrets, DeleteSecrets, SetVariables and DeleteVariables.
        ChangeSecrets = "CHANGE_SECRETS",
        ResetDatabasePassword = "RESET_DATABASE_PASSWORD",
        RotateJwtSecret = "ROTATE_JWT_SECRET",
        Resize = "RESIZE_PROJECT",
    }
}

sql_enum! {
    /// State of an operation.
    OperationState {
        /// Waits for capacity on a node.
        Pending = "PENDING",
        Running = "RUNNING",
        Succeeded = "SUCCEEDED",
        Failed = "FAILED",
        /// Cancelled by a caller, or replaced by a later operation.
        Cancelled = "CANCELLED",
    }
}

sql_enum! {
    /// Kind of an event.
    EventType {
        ProjectCreated = "project.created",
        /// The placer placed it on a node.
        ProjectPlaced = "project.placed",
        /// It waits for capacity.
        ProjectPending = "project.pending",
        /// The agent prepares network, volumes and files.
        ProjectPreparing = "project.preparing",
        /// The operator revoked the node before its agent had removed the project.
        ProjectAbandoned = "project.abandoned",
        /// A change of content failed; the old content is desired again.
        ProjectReturned = "project.returned",
        /// Another organization has it now.
        ProjectTransferred = "project.transferred",
        /// The database gets a new certificate.
        CertificateRenewed = "certificate.renewed",
        StateChanged = "state.changed",
        /// The agent pulls a service's image.
        ServicePulling = "service.pulling",
        /// The agent created a service's container.
        ServiceCreated = "service.created",
        /// The agent started a service's container.
        ServiceStarted = "service.started",
        /// A service is ready.
        ServiceReady = "service.ready",
        /// A service is no longer ready, or its container exited.
        ServiceFailed = "service.failed",
        /// The agent stops a service.
        ServiceStopping = "service.stopping",
        /// The agent removed a service's container.
        ServiceRemoved = "service.removed",
        OperationStarted = "operation.started",
        OperationSucceeded = "operation.succeeded",
        OperationFailed = "operation.failed",
        /// A caller cancelled an operation, or a later one replaced it.
        OperationCancelled = "operation.cancelled",
    }
}

impl OperationState {
    pub fn ended(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

impl OperationKind {
    /// True if it makes a generation with other content, to which the one before is the way back.
    pub fn changes_content(self) -> bool {
        match self {
            Self::Upgrade
            | Self::UpdateSettings
            | Self::ChangeSecrets
            | Self::ResetDatabasePassword
            | Self::RotateJwtSecret
            | Self::Resize => true,
            Self::Create | Self::Start | Self::Stop | Self::Restart | Self::Delete | Self::Undelete => false,
        }
    }

    /// Returns the deadline of an operation, from when it runs.
    pub fn time(self, times: &supalove_core::times::Times) -> std::time::Duration {
        match self {
            Self::Create | Self::Upgrade => times.create,
            Self::Start
            | Self::Restart
            | Self::Undelete
            | Self::UpdateSettings
            | Self::ChangeSecrets
            | Self::ResetDatabasePassword
            | Self::RotateJwtSecret
            | Self::Resize => times.start,
            Self::Stop => times.stop,
            Self::Delete => times.delete,
        }
    }

    /// Returns the state of the project while the operation runs.
    pub fn state(self) -> ProjectState {
        match self {
            Self::Create | Self::Start | Self::Undelete => ProjectState::ComingUp,
            Self::Stop => ProjectState::Pausing,
            Self::Restart
            | Self::UpdateSettings
            | Self::ChangeSecrets
            | Self::ResetDatabasePassword
            | Self::RotateJwtSecret => ProjectState::Restarting,
            Self::Delete => ProjectState::GoingDown,
            Self::Upgrade => ProjectState::Upgrading,
            Self::Resize => ProjectState::Resizing,
        }
    }

    /// Returns the state of the project after the operation has failed.
    pub fn failed_state(self) -> ProjectState {
        match self {
            Self::Create => ProjectState::InitFailed,
            // A change of content returns to a state that its row knows; see `store::changes`.
            Self::Start
            | Self::Restart
            | Self::Undelete
            | Self::Upgrade
            | Self::UpdateSettings
            | Self::ChangeSecrets
            | Self::ResetDatabasePassword
            | Self::RotateJwtSecret
            | Self::Resize => ProjectState::ActiveUnhealthy,
            Self::Stop => ProjectState::PauseFailed,
            Self::Delete => ProjectState::GoingDown,
        }
    }
}

impl From<ProjectState> for pb::ProjectState {
    fn from(state: ProjectState) -> Self {
        Self::from_str_name(&format!("PROJECT_STATE_{}", state.as_sql())).unwrap_or_default()
    }
}

impl From<OperationKind> for pb::OperationKind {
    fn from(kind: OperationKind) -> Self {
        Self::from_str_name(&format!("OPERATION_KIND_{}", kind.as_sql())).unwrap_or_default()
    }
}

impl From<OperationState> for pb::OperationState {
    fn from(state: OperationState) -> Self {
        Self::from_str_name(&format!("OPERATION_STATE_{}", state.as_sql())).unwrap_or_default()
    }
}

impl From<EventType> for pb::ProjectEventType {
    fn from(event: EventType) -> Self {
        let name = event.as_sql().to_ascii_uppercase().replace('.', "_");
        Self::from_str_name(&format!("PROJECT_EVENT_TYPE_{name}")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_its_twin_on_the_wire() {
        for state in ProjectState::ALL {
            assert_ne!(pb::ProjectState::from(*state), pb::ProjectState::Unspecified, "{state:?}");
            assert_eq!(state.as_sql().parse::<ProjectState>().unwrap(), *state);
        }
        for kind in OperationKind::ALL {
            assert_ne!(pb::OperationKind::from(*kind), pb::OperationKind::Unspecified, "{kind:?}");
        }
        for event in EventType::ALL {
            assert_ne!(pb::ProjectEventType::from(*event), pb::ProjectEventType::Unspecified, "{event:?}");
        }
        for state in OperationState::ALL {
            assert_ne!(pb::OperationState::from(*state), pb::OperationState::Unspecified, "{state:?}");
        }
    }
}
