//! Judges a report of an agent: a pure function from the project's row and the report to a verdict.

use supalove_proto::{
    node::v1::{ObservedService, ObservedStack, ServiceState, StackError, StackPhase},
    v1::ErrorReason,
};
use supalove_spec::limits;

use crate::{
    restriction,
    store::events::NewEvent,
    store::operations::Failure,
    store::projects::ServiceStatus,
    store::snapshot::{OpenOperation, Snapshot},
    types::{Desired, EventType, OperationKind, OperationState, ProjectState},
    verdict::{Ended, NodeRecord, Verdict},
};

/// Judges a report. Ignores a report on another generation than the project's.
pub fn judge(project: &Snapshot, observed: &ObservedStack) -> Verdict {
    if i64::try_from(observed.generation) != Ok(project.generation) || project.state == ProjectState::Removed
    {
        return Verdict::default();
    }
    let mut verdict = match (project.desired, observed.phase()) {
        (Desired::Running, StackPhase::Healthy) => healthy(project),
        (Desired::Running, _) if is_changed(project, observed) => changed(project, observed),
        (Desired::Running, StackPhase::Unhealthy) => not_ready(project, observed),
        (Desired::Running, StackPhase::Converging) => converging(project, observed),
        (Desired::Stopped, StackPhase::Stopped) => stopped(project),
        (Desired::Removed, StackPhase::Removed) => removed(project),
        (_, StackPhase::Failed) => failed(project, observed),
        _ => Verdict::default(),
    };
    verdict.restriction = restriction::reported(observed).filter(|found| found.0 != project.restriction);
    compare_services(project, observed, &mut verdict);
    verdict
}

fn ends(project: &Snapshot) -> Option<Ended> {
    let operation = project
        .operation
        .as_ref()
        .filter(|o| o.state == OperationState::Running && o.generation <= project.generation)?;
    Some(Ended { id: operation.id, kind: operation.kind, state: OperationState::Succeeded, failure: None })
}

fn healthy(project: &Snapshot) -> Verdict {
    Verdict {
        state: Some((ProjectState::ActiveHealthy, String::new())),
        end: ends(project),
        node: Some(NodeRecord::Started),
        ..Verdict::default()
    }
}

fn not_ready(project: &Snapshot, observed: &ObservedStack) -> Verdict {
    let reason = why(observed);
    match &project.operation {
        Some(_) => Verdict { status: Some(reason), ..Verdict::default() },
        None => Verdict { state: Some((ProjectState::ActiveUnhealthy, reason)), ..Verdict::default() },
    }
}

/// True if a change of settings or secrets has arrived although the project is not healthy: every service is ready but those that
/// were not before the change and that it does not touch. A full disk concerns no change either.
fn is_changed(project: &Snapshot, observed: &ObservedStack) -> bool {
    let Some(operation) = &project.operation else { return false };
    let red_before = |name: &str| operation.red_before.iter().any(|red| red == name);
    let elsewhere = |error: &StackError| red_before(&error.service) || is_of_disk(&error.reason);
    operation.kind.changes_content()
        && operation.kind != OperationKind::Upgrade
        && observed.error.as_ref().is_none_or(elsewhere)
        && !observed.services.is_empty()
        && observed.services.iter().all(|one| one.state() == ServiceState::Healthy || red_before(&one.name))
}

fn changed(project: &Snapshot, observed: &ObservedStack) -> Verdict {
    Verdict {
        state: Some((ProjectState::ActiveUnhealthy, why(observed))),
        end: ends(project),
        ..Verdict::default()
    }
}

/// The agent converges to a generation that was healthy before, for example after a reboot.
fn converging(project: &Snapshot, observed: &ObservedStack) -> Verdict {
    let down = |service: &ObservedService| {
        use ServiceState::{Created, Exited, Starting, Stopped, Unhealthy};
        matches!(service.state(), Created | Starting | Unhealthy | Exited | Stopped)
    };
    let up = matches!(project.state, ProjectState::ActiveHealthy | ProjectState::Unknown);
    if project.operation.is_none() && up && observed.services.iter().any(down) {
        return not_ready(project, observed);
    }
    Verdict::default()
}

fn stopped(project: &Snapshot) -> Verdict {
    let state = match project.purge_at {
        Some(until) => (
            ProjectState::GoingDown,
            format!("deleted; its data is kept until {}", until.format("%Y-%m-%d %H:%M UTC")),
        ),
        None => (ProjectState::Inactive, String::new()),
    };
    Verdict { state: Some(state), end: ends(project), free_compute: true, ..Verdict::default() }
}

/// Nothing is left of the project.
pub(crate) fn removed(project: &Snapshot) -> Verdict {
    Verdict {
        state: Some((ProjectState::Removed, String::new())),
        end: ends(project),
        remove: true,
        ..Verdict::default()
    }
}

/// A failed attempt. The agent retries, so the operation stays open unless the failure is permanent.
fn failed(project: &Snapshot, observed: &ObservedStack) -> Verdict {
    let failure = failure(observed.error.as_ref());
    let permanent = observed.error.as_ref().is_some_and(|e| e.permanent);
    match &project.operation {
        Some(operation) if permanent => give_up(operation, failure),
        Some(_) => {
            Verdict { status: Some(failure.message.clone()), trouble: Some(failure), ..Verdict::default() }
        }
        None if project.desired == Desired::Running && is_up(project.state) => {
            Verdict { state: Some((ProjectState::ActiveUnhealthy, told(failure))), ..Verdict::default() }
        }
        None => Verdict { state: Some((project.state, told(failure))), ..Verdict::default() },
    }
}

/// Log lines in the reason of a state, and characters of each. Small, because every listing contains the reason.
const REASON_LINES: usize = 3;
const REASON_LINE_CHARS: usize = 200;

/// Formats a failure as the reason of a state, with the last log lines, because no operation stores them.
fn told(failure: Failure) -> String {
    let last = failure.log_tail.len().saturating_sub(REASON_LINES);
    match &failure.log_tail[last..] {
        // Several rules bound a disk: the word says which one acts.
        [] if is_of_disk(&failure.reason) => format!("{}: {}", failure.reason, failure.message),
        [] => failure.message,
        lines => {
            let lines: Vec<String> =
                lines.iter().map(|line| line.chars().take(REASON_LINE_CHARS).collect()).collect();
            format!("{}; its last lines: {}", failure.message, lines.join(" / "))
        }
    }
}

/// True if what the project holds on its disk is the reason, by the size of a volume or by the plan.
fn is_of_disk(reason: &str) -> bool {
    reason.starts_with("DISK_") || reason == ErrorReason::DatabaseOverPlan.text()
}

/// Fails the operation and keeps the desired state, so that a later success still counts.
fn give_up(operation: &OpenOperation, failure: Failure) -> Verdict {
    let of_the_project = failure.reason.starts_with("IMAGE_")
        || [ErrorReason::StartSqlFailed, ErrorReason::RoleSpoilt]
            .iter()
            .any(|one| one.text() == failure.reason);
    // New settings and secrets say nothing about the node, which ran the project before.
    let of_the_project =
        of_the_project || (operation.kind.changes_content() && operation.kind != OperationKind::Upgrade);
    let node = (!of_the_project).then_some(NodeRecord::Failed);
    Verdict { node, ..Verdict::failed(operation.id, operation.kind, failure) }
}

fn is_up(state: ProjectState) -> bool {
    matches!(state, ProjectState::ActiveHealthy | ProjectState::ActiveUnhealthy | ProjectState::Unknown)
}

/// Makes an agent's text fit for rows and screens: visible characters only (PostgreSQL rejects NUL), bounded length.
pub fn printable(text: &str) -> String {
    supalove_spec::text::printable(text, limits::REPORT_CHARS)
}

/// Converts the agent's error to an operation's.
pub fn failure(error: Option<&StackError>) -> Failure {
    let Some(error) = error else {
        return Failure::new(ErrorReason::Unknown, "the agent gave no reason");
    };
    Failure {
        reason: printable(&error.reason),
        message: printable(&error.message),
        service: printable(&error.service),
        log_tail: error.log_tail.iter().take(limits::LOG_TAIL_LINES).map(|line| printable(line)).collect(),
    }
}

/// Describes the problem in one line: the error, else each service that is not ready.
fn why(observed: &ObservedStack) -> String {
    if observed.error.is_some() {
        return told(failure(observed.error.as_ref()));
    }
    let down: Vec<String> = statuses(observed)
        .into_iter()
        .filter(|s| s.state != "HEALTHY")
        .map(|s| {
            if s.message.is_empty() {
                format!("{} is {}", s.name, s.state)
            } else {
                format!("{}: {}", s.name, s.message)
            }
        })
        .collect();
    printable(&down.join("; "))
}

fn statuses(observed: &ObservedStack) -> Vec<ServiceStatus> {
    let mut all: Vec<_> = observed
        .services
        .iter()
        .take(limits::SERVICES)
        .map(|s| ServiceStatus {
            name: printable(&s.name),
            state: s.state().as_str_name().trim_start_matches("SERVICE_STATE_").to_owned(),
            message: printable(&s.message),
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.dedup_by(|a, b| a.name == b.name);
    all
}

/// An agent that has just started reports services as PENDING that it has not probed yet. While no operation is open,
/// keep the known state of such a service.
fn known(project: &Snapshot, now: ServiceStatus) -> ServiceStatus {
    if now.state != "PENDING" || project.operation.is_some() {
        return now;
    }
    project.services.iter().find(|before| before.name == now.name).cloned().unwrap_or(now)
}

/// Adds events for services that became ready or unready.
fn compare_services(project: &Snapshot, observed: &ObservedStack, verdict: &mut Verdict) {
    let now: Vec<_> = statuses(observed).into_iter().map(|status| known(project, status)).collect();
    if now == project.services {
        return;
    }
    for service in &now {
        let before = project.services.iter().find(|s| s.name == service.name).map(|s| s.state.as_str());
        if before == Some(service.state.as_str()) {
            continue;
        }
        let event = match service.state.as_str() {
            "HEALTHY" => NewEvent::for_service(
                EventType::ServiceReady,
                &service.name,
                format!("{} is ready", service.name),
            ),
            "UNHEALTHY" | "EXITED" => {
                let message = format!("{} is {}: {}", service.name, service.state, service.message);
                NewEvent::for_service(EventType::ServiceFailed, &service.name, message)
            }
            _ => continue,
        };
        verdict.events.push(event);
    }
    verdict.services = Some(now);
}

#[cfg(test)]
pub mod tests;
