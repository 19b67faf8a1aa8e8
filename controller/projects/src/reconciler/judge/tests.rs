use super::*;
use crate::{
    restriction::{Bounds, Restriction, Rule},
    store::snapshot::PlacementRow,
    types::OperationKind,
};
use supalove_core::ids::{ClusterId, NodeId, OperationId, OrganizationId, ProjectRef};
use supalove_plans::ProjectSize;
use supalove_scheduler::Resources;

pub fn project(state: ProjectState, desired: Desired, kind: Option<OperationKind>) -> Snapshot {
    Snapshot {
        project: ProjectRef::generate(),
        organization: OrganizationId::generate(),
        cluster: ClusterId::generate(),
        state,
        state_reason: String::new(),
        desired,
        desired_before_delete: None,
        generation: 3,
        revision: 1,
        needs: Resources { cpu_millis: 1, memory_mib: 1, disk_mib: 1 },
        size: ProjectSize {
            name: "nano".to_owned(),
            cpu_millis: 1,
            memory_mib: 1,
            disk_mib: 1,
            connections: 1,
        },
        services: Vec::new(),
        restriction: None,
        purge_at: None,
        undo_window: None,
        purge_due: false,
        node_silence: std::time::Duration::ZERO,
        placement: Some(PlacementRow { node: NodeId::generate(), slot: 0, holds_compute: true }),
        operation: kind.map(|kind| OpenOperation {
            id: OperationId::generate(),
            kind,
            state: OperationState::Running,
            generation: 3,
            status_message: String::new(),
            red_before: Vec::new(),
        }),
    }
}

fn creating() -> Snapshot {
    project(ProjectState::ComingUp, Desired::Running, Some(OperationKind::Create))
}

fn report(phase: StackPhase, generation: u64) -> ObservedStack {
    ObservedStack { phase: phase.into(), generation, ..Default::default() }
}

fn error(permanent: bool) -> StackError {
    StackError { reason: "SERVICE_EXITED".into(), message: "boom".into(), permanent, ..Default::default() }
}

fn service(name: &str, state: ServiceState) -> ObservedService {
    ObservedService { name: name.into(), state: state.into(), ..Default::default() }
}

fn known_as(name: &str, state: &str) -> ServiceStatus {
    ServiceStatus { name: name.into(), state: state.into(), message: String::new() }
}

#[test]
fn only_health_of_this_generation_makes_a_project_healthy() {
    assert!(judge(&creating(), &report(StackPhase::Healthy, 2)).is_nothing());
    let verdict = judge(&creating(), &report(StackPhase::Healthy, 3));
    assert_eq!(verdict.state, Some((ProjectState::ActiveHealthy, String::new())));
    assert_eq!(verdict.end.unwrap().state, OperationState::Succeeded);
}

#[test]
fn a_failed_try_keeps_the_operation_open_and_shows_the_reason() {
    let verdict =
        judge(&creating(), &ObservedStack { error: Some(error(false)), ..report(StackPhase::Failed, 3) });
    assert!(verdict.end.is_none());
    assert_eq!(verdict.status.as_deref(), Some("boom"));
    assert_eq!(verdict.trouble.unwrap().reason, "SERVICE_EXITED");
}

#[test]
fn a_permanent_failure_ends_the_operation_with_the_reason() {
    let verdict =
        judge(&creating(), &ObservedStack { error: Some(error(true)), ..report(StackPhase::Failed, 3) });
    let ended = verdict.end.unwrap();
    assert_eq!(ended.state, OperationState::Failed);
    assert_eq!(ended.failure.unwrap().message, "boom");
    assert_eq!(verdict.state.unwrap().0, ProjectState::InitFailed);
    assert_eq!(verdict.node, Some(NodeRecord::Failed));
}

#[test]
fn later_health_clears_a_failed_create() {
    let verdict =
        judge(&project(ProjectState::InitFailed, Desired::Running, None), &report(StackPhase::Healthy, 3));
    assert_eq!(verdict.state.unwrap().0, ProjectState::ActiveHealthy);
    assert!(verdict.end.is_none());
}

#[test]
fn stopping_frees_compute_and_removing_frees_all() {
    let stop = project(ProjectState::Pausing, Desired::Stopped, Some(OperationKind::Stop));
    let verdict = judge(&stop, &report(StackPhase::Stopped, 3));
    assert!(verdict.free_compute && !verdict.remove);
    assert_eq!(verdict.state.unwrap().0, ProjectState::Inactive);

    let delete = project(ProjectState::GoingDown, Desired::Removed, Some(OperationKind::Delete));
    assert!(judge(&delete, &report(StackPhase::Stopped, 3)).state.is_none());
    assert!(judge(&delete, &report(StackPhase::Removed, 3)).remove);
}

#[test]
fn a_stopped_project_within_its_undo_window_stays_going_down() {
    let mut deleted = project(ProjectState::GoingDown, Desired::Stopped, Some(OperationKind::Delete));
    deleted.purge_at = Some(chrono::Utc::now());
    let verdict = judge(&deleted, &report(StackPhase::Stopped, 3));
    assert_eq!(verdict.state.unwrap().0, ProjectState::GoingDown);
    assert!(verdict.end.is_some() && !verdict.remove);
}

#[test]
fn a_service_that_falls_is_an_event_and_makes_the_project_unhealthy() {
    let mut up = project(ProjectState::ActiveHealthy, Desired::Running, None);
    up.services = vec![known_as("postgres", "HEALTHY")];
    let service =
        ObservedService { message: "exit code 1".into(), ..service("postgres", ServiceState::Exited) };
    let verdict = judge(&up, &ObservedStack { services: vec![service], ..report(StackPhase::Unhealthy, 3) });
    assert_eq!(verdict.state, Some((ProjectState::ActiveUnhealthy, "postgres: exit code 1".to_owned())));
    assert_eq!(verdict.events.len(), 1);
}

#[test]
fn what_an_agent_has_not_looked_at_again_is_as_it_was() {
    let looking = ObservedStack {
        services: vec![service("gateway", ServiceState::Pending), service("postgres", ServiceState::Healthy)],
        ..report(StackPhase::Converging, 3)
    };
    let mut up = project(ProjectState::ActiveHealthy, Desired::Running, None);
    up.services = vec![known_as("gateway", "HEALTHY"), known_as("postgres", "HEALTHY")];
    assert!(judge(&up, &looking).is_nothing());
    // A new generation begins with services that the agent has not probed.
    let mut restarting = project(ProjectState::Restarting, Desired::Running, Some(OperationKind::Restart));
    restarting.services.clone_from(&up.services);
    let now = judge(&restarting, &looking).services.unwrap();
    assert_eq!(now, [known_as("gateway", "PENDING"), known_as("postgres", "HEALTHY")]);
}

#[test]
fn the_reason_of_a_state_has_the_last_log_lines() {
    let up = project(ProjectState::ActiveHealthy, Desired::Running, None);
    let log_tail = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    let error = StackError { log_tail, ..error(false) };
    for phase in [StackPhase::Unhealthy, StackPhase::Failed] {
        let verdict = judge(&up, &ObservedStack { error: Some(error.clone()), ..report(phase, 3) });
        let told = "boom; its last lines: b / c / d".to_owned();
        assert_eq!(verdict.state, Some((ProjectState::ActiveUnhealthy, told)));
    }
}

#[test]
fn a_failure_of_the_release_or_of_the_tenants_roles_is_not_the_nodes() {
    for (reason, counts) in [("SERVICE_EXITED", true), ("START_SQL_FAILED", false), ("ROLE_SPOILT", false)] {
        let error = StackError { reason: reason.into(), ..error(true) };
        let report = ObservedStack { error: Some(error), ..report(StackPhase::Failed, 3) };
        let verdict = judge(&creating(), &report);
        assert_eq!(verdict.node, counts.then_some(NodeRecord::Failed), "{reason}");
    }
}

/// A change of settings that touches auth, while api has been red all along.
fn changing() -> Snapshot {
    let mut found = project(ProjectState::Restarting, Desired::Running, Some(OperationKind::UpdateSettings));
    found.operation.as_mut().unwrap().red_before = vec!["api".to_owned()];
    found
}

#[test]
fn a_change_ends_although_a_service_that_it_does_not_touch_was_red_before() {
    let failing = StackError { service: "api".into(), ..error(false) };
    for (phase, api) in [
        (StackPhase::Failed, ServiceState::Exited),
        (StackPhase::Converging, ServiceState::Starting),
        (StackPhase::Unhealthy, ServiceState::Unhealthy),
    ] {
        let services = vec![service("api", api), service("auth", ServiceState::Healthy)];
        let told = ObservedStack { services, error: Some(failing.clone()), ..report(phase, 3) };
        let verdict = judge(&changing(), &told);
        assert_eq!(verdict.end.unwrap().state, OperationState::Succeeded, "{phase:?}");
        assert_eq!(verdict.state.unwrap().0, ProjectState::ActiveUnhealthy);
        assert_eq!(verdict.node, None, "it says nothing about the node");
    }
    // A full disk makes no service red.
    let services = vec![service("api", ServiceState::Healthy), service("auth", ServiceState::Healthy)];
    for reason in ["DISK_FULL", "DATABASE_OVER_PLAN"] {
        let full =
            StackError { reason: reason.into(), message: "it is full".into(), ..StackError::default() };
        let services = services.clone();
        let told = ObservedStack { services, error: Some(full), ..report(StackPhase::Converging, 3) };
        let verdict = judge(&changing(), &told);
        assert!(verdict.end.is_some());
        assert_eq!(verdict.state.unwrap().1, format!("{reason}: it is full"), "which of the rules it is");
    }
}

#[test]
fn a_change_does_not_end_while_what_it_touches_is_red_or_a_step_of_the_project_fails() {
    let ready = |name: &str| service(name, ServiceState::Healthy);
    let red = |name: &str| service(name, ServiceState::Exited);
    for (services, failing) in [
        (vec![red("api"), red("auth")], "api"),
        (vec![ready("api"), red("auth")], "auth"),
        (vec![ready("api"), ready("auth")], ""),
        (vec![], "api"),
    ] {
        let failing = StackError { service: failing.into(), ..error(false) };
        let told = ObservedStack { services, error: Some(failing), ..report(StackPhase::Failed, 3) };
        assert!(judge(&changing(), &told).end.is_none(), "{told:?}");
    }
    let services = vec![red("api"), ready("auth")];
    let told = ObservedStack { services, ..report(StackPhase::Failed, 3) };
    let mut upgrading = changing();
    upgrading.operation.as_mut().unwrap().kind = OperationKind::Upgrade;
    assert!(judge(&upgrading, &told).end.is_none(), "an upgrade touches all services");
}

#[test]
fn a_rule_that_bounds_a_project_is_kept_until_a_report_says_otherwise() {
    let over = |message: &str| ObservedStack {
        error: Some(StackError {
            reason: "DATABASE_OVER_PLAN".into(),
            message: message.into(),
            ..Default::default()
        }),
        ..report(StackPhase::Unhealthy, 3)
    };
    let bound = |message: &str| Some(Restriction { rule: Rule::DatabaseOverPlan, message: message.into() });
    let mut up = project(ProjectState::ActiveHealthy, Desired::Running, None);
    assert_eq!(judge(&up, &report(StackPhase::Healthy, 3)).restriction, None, "no news");
    assert_eq!(judge(&up, &over("510")).restriction, Some(Bounds(bound("510"))));
    assert_eq!(judge(&up, &ObservedStack { generation: 2, ..over("510") }).restriction, None);
    up.restriction = bound("510");
    assert_eq!(judge(&up, &over("510")).restriction, None, "the same");
    assert_eq!(judge(&up, &over("600")).restriction, Some(Bounds(bound("600"))));
    assert_eq!(judge(&up, &report(StackPhase::Converging, 3)).restriction, None, "it has not measured yet");
    assert_eq!(judge(&up, &report(StackPhase::Healthy, 3)).restriction, Some(Bounds(None)));
    // Also while an operation goes on, whose end the report is not.
    let restarting = project(ProjectState::Restarting, Desired::Running, Some(OperationKind::Restart));
    let verdict = judge(&restarting, &over("510"));
    assert_eq!((verdict.restriction, verdict.state), (Some(Bounds(bound("510"))), None));
}
