//! The words of a project's life, as SQL and the wire spell them.

use supalove_proto::v1 as pb;

use supalove_core::sql_enum;

sql_enum! {
    /// State as clients know it.
    ProjectState {
        /// Being created or started, or waiting for room.
        ComingUp = "COMING_UP",
        /// All services of the current generation are ready.
        ActiveHealthy = "ACTIVE_HEALTHY",
        /// Up, but a service is not ready.
        ActiveUnhealthy = "ACTIVE_UNHEALTHY",
        /// Being stopped.
        Pausing = "PAUSING",
        /// Stopped.
        Inactive = "INACTIVE",
        /// Being restarted.
        Restarting = "RESTARTING",
        /// Getting other resources.
        Resizing = "RESIZING",
        /// Being restored.
        Restoring = "RESTORING",
        /// Moving to another release.
        Upgrading = "UPGRADING",
        /// Being deleted, or deleted with its undo window open.
        GoingDown = "GOING_DOWN",
        /// Gone.
        Removed = "REMOVED",
        /// The create failed.
        InitFailed = "INIT_FAILED",
        /// The stop failed.
        PauseFailed = "PAUSE_FAILED",
        /// The restore failed.
        RestoreFailed = "RESTORE_FAILED",
        /// Its node is silent.
        Unknown = "UNKNOWN",
    }
}

sql_enum! {
    /// What should be.
    Desired {
        /// All services run.
        Running = "RUNNING",
        /// None runs; data stays.
        Stopped = "STOPPED",
        /// Nothing is left.
        Removed = "REMOVED",
    }
}

sql_enum! {
    /// What kind of work.
    OperationKind {
        /// CreateProject.
        Create = "CREATE_PROJECT",
        /// StartProject.
        Start = "START_PROJECT",
        /// StopProject.
        Stop = "STOP_PROJECT",
        /// RestartProject.
        Restart = "RESTART_PROJECT",
        /// DeleteProject.
        Delete = "DELETE_PROJECT",
        /// UndeleteProject.
        Undelete = "UNDELETE_PROJECT",
    }
}

sql_enum! {
    /// Where work is.
    OperationState {
        /// Waits for room on a node.
        Pending = "PENDING",
        /// Under way.
        Running = "RUNNING",
        /// Done.
        Succeeded = "SUCCEEDED",
        /// Ended without success.
        Failed = "FAILED",
        /// Given up or overtaken.
        Cancelled = "CANCELLED",
    }
}

sql_enum! {
    /// What happened to a project.
    EventType {
        /// It was made.
        ProjectCreated = "project.created",
        /// It got a place on a node.
        ProjectPlaced = "project.placed",
        /// It waits for room.
        ProjectPending = "project.pending",
        /// Network, volumes and files are being prepared.
        ProjectPreparing = "project.preparing",
        /// Its node was revoked before the project was removed from it.
        ProjectAbandoned = "project.abandoned",
        /// Its state changed.
        StateChanged = "state.changed",
        /// A service's image is being pulled.
        ServicePulling = "service.pulling",
        /// A service's container was made.
        ServiceCreated = "service.created",
        /// A service's container was started.
        ServiceStarted = "service.started",
        /// A service is ready.
        ServiceReady = "service.ready",
        /// A service is not ready any more, or its container ended.
        ServiceFailed = "service.failed",
        /// A service is being stopped.
        ServiceStopping = "service.stopping",
        /// A service's container was removed.
        ServiceRemoved = "service.removed",
        /// An operation began.
        OperationStarted = "operation.started",
        /// An operation succeeded.
        OperationSucceeded = "operation.succeeded",
        /// An operation failed.
        OperationFailed = "operation.failed",
        /// An operation was cancelled, or overtaken by a later one.
        OperationCancelled = "operation.cancelled",
    }
}

impl OperationState {
    /// It has ended.
    pub fn ended(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

impl OperationKind {
    /// How long it may take once it runs.
    pub fn time(self, times: &supalove_core::times::Times) -> std::time::Duration {
        match self {
            Self::Create => times.create,
            Self::Start | Self::Restart | Self::Undelete => times.start,
            Self::Stop => times.stop,
            Self::Delete => times.delete,
        }
    }

    /// State of the project while it runs.
    pub fn state(self) -> ProjectState {
        match self {
            Self::Create | Self::Start | Self::Undelete => ProjectState::ComingUp,
            Self::Stop => ProjectState::Pausing,
            Self::Restart => ProjectState::Restarting,
            Self::Delete => ProjectState::GoingDown,
        }
    }

    /// State of the project when it has failed.
    pub fn failed_state(self) -> ProjectState {
        match self {
            Self::Create => ProjectState::InitFailed,
            Self::Start | Self::Restart | Self::Undelete => ProjectState::ActiveUnhealthy,
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
