//! One project as the agent sees it. In: what happens to each service. Out: an observed state whenever it changes. One
//! function without I/O decides the phase. Every text that leaves here, into reports or logs, is redacted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use supalove_proto::node::v1::{
    ObservedService, ObservedStack, Progress, ProgressStep, ServiceState, StackError, StackPhase, VolumeUsage,
};

use super::failure::StepFailure;
use super::redact::Redactor;
use crate::reports::Reports;

/// The live view of one project.
#[derive(Debug)]
pub struct View {
    project_ref: String,
    reports: Reports,
    redactor: Mutex<Arc<Redactor>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    generation: u64,
    goal: Goal,
    services: Vec<ServiceView>,
    /// StepFailure of a step that concerns the whole project.
    failure: Option<StackError>,
    /// A failed step is being tried again.
    retrying: bool,
    /// Every service of this generation has been ready at the same time.
    was_healthy: bool,
    /// Room that its volumes take.
    usage: Vec<VolumeUsage>,
    /// What its disk usage makes it: nearly full, or over its limit.
    disk: Option<StackError>,
}

/// What the project is on its way to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// All services ready.
    #[default]
    Running,
    /// No container; not reached yet.
    Stopping,
    /// No container.
    Stopped,
    /// Nothing; not reached yet.
    Removing,
    /// Nothing.
    Removed,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ServiceView {
    name: String,
    state: ServiceState,
    message: String,
    restarts: u32,
    failure: Option<StackError>,
}

impl View {
    /// A view that has reported nothing yet.
    pub fn new(project_ref: &str, reports: Reports) -> Self {
        Self {
            project_ref: project_ref.to_owned(),
            reports,
            redactor: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// From now on nothing that the redactor knows is reported.
    pub fn redact(&self, redactor: Redactor) {
        *self.redactor.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(redactor);
    }

    fn redactor(&self) -> Arc<Redactor> {
        self.redactor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts over for a generation.
    pub fn begin<'a>(&self, generation: u64, goal: Goal, services: impl Iterator<Item = &'a str>) {
        self.update(|state| {
            *state = State {
                generation,
                goal,
                services: services.map(ServiceView::new).collect(),
                usage: std::mem::take(&mut state.usage),
                ..State::default()
            };
        });
    }

    /// The goal is reached.
    pub fn reach(&self, goal: Goal) {
        self.update(|state| {
            state.goal = goal;
            state.failure = None;
            if goal == Goal::Removed {
                state.services.clear();
            }
            for service in &mut state.services {
                service.set(ServiceState::Stopped, "");
                service.failure = None;
            }
        });
    }

    /// A step for the whole project failed.
    pub fn fail(&self, failure: StepFailure) {
        let error = self.redactor().error(failure.0);
        tracing::warn!(
            project = self.project_ref,
            service = error.service,
            reason = error.reason,
            message = error.message,
            "project step failed"
        );
        self.update(|state| {
            state.failure = Some(error);
            state.retrying = false;
        });
    }

    /// The failed step is tried again.
    pub fn retry(&self) {
        self.update(|state| state.retrying = true);
    }

    /// Every container exists: what failed before that is over.
    pub fn prepared(&self) {
        self.update(|state| state.failure = None);
    }

    /// A service's state. The message is one of our own.
    pub fn set(&self, service: &str, state: ServiceState, message: &str) {
        self.service(service, |view| {
            view.set(state, message);
            if state == ServiceState::Healthy {
                view.failure = None;
            }
        });
    }

    /// A service failed, with what it is in now.
    pub fn fail_service(&self, service: &str, state: ServiceState, failure: StepFailure) {
        let error = self.redactor().error(failure.for_service(service).0);
        tracing::warn!(
            project = self.project_ref,
            service,
            reason = error.reason,
            message = error.message,
            "service failed"
        );
        self.service(service, |view| {
            view.set(state, &error.message);
            view.failure = Some(error);
        });
    }

    /// What the project's volumes take, and what follows from that.
    pub fn usage(&self, usage: Vec<VolumeUsage>, disk: Option<StepFailure>) {
        let error = disk.map(|failure| self.redactor().error(failure.0));
        let known = self.lock().disk.clone();
        if let Some(error) = error.as_ref().filter(|error| known.as_ref() != Some(error)) {
            tracing::warn!(
                project = self.project_ref,
                reason = error.reason,
                message = error.message,
                "project uses up its disk"
            );
        }
        self.update(|state| {
            state.usage = usage;
            state.disk = error;
        });
    }

    /// A service is started once more.
    pub fn count_restart(&self, service: &str) {
        self.service(service, |view| view.restarts = view.restarts.saturating_add(1));
    }

    pub fn progress(&self, service: &str, step: ProgressStep, percent: u32, message: &str) {
        let generation = self.lock().generation;
        self.reports.progress(Progress {
            project_ref: self.project_ref.clone(),
            generation,
            service: service.to_owned(),
            step: step.into(),
            percent,
            message: self.redactor().message(message),
        });
    }

    fn service(&self, name: &str, change: impl FnOnce(&mut ServiceView)) {
        self.update(|state| {
            if let Some(view) = state.services.iter_mut().find(|view| view.name == name) {
                change(view);
            }
        });
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let observed = state.observe(&self.project_ref);
        // Under the lock, so that an older state cannot be published after a newer one.
        self.reports.publish(observed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServiceView {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: ServiceState::Pending,
            message: String::new(),
            restarts: 0,
            failure: None,
        }
    }

    fn set(&mut self, state: ServiceState, message: &str) {
        self.state = state;
        message.clone_into(&mut self.message);
    }
}

impl State {
    fn observe(&mut self, project_ref: &str) -> ObservedStack {
        let phase = phase(self);
        self.was_healthy |= phase == StackPhase::Healthy;
        // A full disk is why services fail.
        let error = self
            .disk
            .clone()
            .filter(|_| phase != StackPhase::Stopped && phase != StackPhase::Removed)
            .or_else(|| self.failure.clone())
            .or_else(|| self.services.iter().find_map(|view| view.failure.clone()));
        ObservedStack {
            project_ref: project_ref.to_owned(),
            generation: self.generation,
            phase: phase.into(),
            services: self.services.iter().map(observed_service).collect(),
            error: if phase == StackPhase::Healthy { None } else { error },
            observed_at: None,
            volumes: self.usage.clone(),
            // The board of reports adds it.
            digest: Vec::new(),
        }
    }
}

fn observed_service(view: &ServiceView) -> ObservedService {
    ObservedService {
        name: view.name.clone(),
        state: view.state.into(),
        message: view.message.clone(),
        restarts: view.restarts,
    }
}

/// Where the agent is with a generation.
fn phase(state: &State) -> StackPhase {
    match state.goal {
        Goal::Stopped => return StackPhase::Stopped,
        Goal::Removed => return StackPhase::Removed,
        Goal::Running | Goal::Stopping | Goal::Removing => {}
    }
    let all_healthy =
        state.disk.is_none() && state.services.iter().all(|view| view.state == ServiceState::Healthy);
    if state.goal == Goal::Running && state.failure.is_none() && all_healthy && !state.services.is_empty() {
        return StackPhase::Healthy;
    }
    if state.was_healthy {
        return StackPhase::Unhealthy;
    }
    let project_failed = state.failure.is_some() && !state.retrying;
    // A service that failed and is starting again is being tried again.
    let service_failed =
        state.services.iter().any(|view| view.failure.is_some() && view.state != ServiceState::Starting);
    if project_failed || service_failed { StackPhase::Failed } else { StackPhase::Converging }
}

#[cfg(test)]
mod tests {
    use supalove_proto::node::v1::{ApplyStackRequest, EnvVar, ServiceSpec, StackSpec};

    use super::*;
    use crate::state::Record;

    fn view() -> (View, Reports) {
        let reports = Reports::default();
        let view = View::new("abcdefghijklmnopqrst", reports.clone());
        view.begin(3, Goal::Running, ["postgres", "gateway"].into_iter());
        (view, reports)
    }

    fn seen(reports: &Reports) -> (StackPhase, Option<String>) {
        let stack = reports.all().remove(0);
        (stack.phase(), stack.error.map(|error| error.reason))
    }

    #[test]
    fn healthy_means_every_service_of_this_generation() {
        let (view, reports) = view();
        assert_eq!(seen(&reports), (StackPhase::Converging, None));
        view.set("postgres", ServiceState::Healthy, "");
        assert_eq!(seen(&reports).0, StackPhase::Converging);
        view.set("gateway", ServiceState::Healthy, "");
        assert_eq!(seen(&reports), (StackPhase::Healthy, None));
        view.begin(4, Goal::Running, ["postgres"].into_iter());
        assert_eq!(seen(&reports).0, StackPhase::Converging);
    }

    #[test]
    fn a_failed_start_is_failed_then_tried_again_with_its_error() {
        let (view, reports) = view();
        view.fail_service("postgres", ServiceState::Exited, StepFailure::new("SERVICE_EXITED", "code 1"));
        assert_eq!(seen(&reports), (StackPhase::Failed, Some("SERVICE_EXITED".into())));
        view.set("postgres", ServiceState::Starting, "");
        assert_eq!(seen(&reports), (StackPhase::Converging, Some("SERVICE_EXITED".into())));
        view.set("postgres", ServiceState::Healthy, "");
        view.set("gateway", ServiceState::Healthy, "");
        assert_eq!(seen(&reports), (StackPhase::Healthy, None));
        view.fail_service("gateway", ServiceState::Exited, StepFailure::new("SERVICE_EXITED", "code 1"));
        assert_eq!(seen(&reports).0, StackPhase::Unhealthy);
    }

    #[test]
    fn a_full_disk_is_unhealthy_until_there_is_room() {
        let (view, reports) = view();
        for service in ["postgres", "gateway"] {
            view.set(service, ServiceState::Healthy, "");
        }
        let usage = VolumeUsage { name: "db_data".into(), used_mib: 9, limit_mib: 8 };
        view.usage(vec![usage.clone()], Some(StepFailure::new("DISK_FULL", "m")));
        assert_eq!(seen(&reports), (StackPhase::Unhealthy, Some("DISK_FULL".into())));
        view.fail_service("postgres", ServiceState::Exited, StepFailure::new("SERVICE_EXITED", "no space"));
        assert_eq!(seen(&reports).1, Some("DISK_FULL".into()), "the cause, not what follows from it");
        view.set("postgres", ServiceState::Healthy, "");
        view.usage(vec![usage.clone()], None);
        assert_eq!(seen(&reports), (StackPhase::Healthy, None));
        assert_eq!(reports.all().remove(0).volumes, [usage]);
    }

    #[test]
    fn what_is_reported_is_redacted() {
        let (view, reports) = view();
        let mut request = ApplyStackRequest::default();
        let env =
            vec![EnvVar { name: "PASSWORD".into(), value: "s3cr3t-s3cr3t".into(), bind_placement: false }];
        let service = ServiceSpec { env, ..ServiceSpec::default() };
        request.spec = Some(StackSpec { services: vec![service], ..StackSpec::default() });
        view.redact(Redactor::from_record(&Record::applied(request)));
        let failure =
            || StepFailure::new("X", "it is s3cr3t-s3cr3t").with_log(vec!["a s3cr3t-s3cr3t\0".into()]);
        view.fail_service("postgres", ServiceState::Exited, failure());
        let stack = reports.all().remove(0);
        assert_eq!(stack.services[0].message, "it is [redacted]");
        assert_eq!(stack.error.unwrap().log_tail, ["a [redacted]"]);
        view.fail(failure());
        assert_eq!(reports.all().remove(0).error.unwrap().message, "it is [redacted]");
    }

    #[test]
    fn a_failed_step_of_the_project_and_its_retry() {
        let (view, reports) = view();
        view.fail(StepFailure::new("IMAGE_NOT_FOUND", "m"));
        assert_eq!(seen(&reports).0, StackPhase::Failed);
        view.retry();
        assert_eq!(seen(&reports), (StackPhase::Converging, Some("IMAGE_NOT_FOUND".into())));
        view.prepared();
        assert_eq!(seen(&reports).1, None);
    }

    #[test]
    fn stopping_and_removing_end_in_their_phases() {
        let (view, reports) = view();
        view.begin(4, Goal::Stopping, ["postgres"].into_iter());
        assert_eq!(seen(&reports).0, StackPhase::Converging);
        view.reach(Goal::Stopped);
        assert_eq!(seen(&reports).0, StackPhase::Stopped);
        view.begin(5, Goal::Removing, [].into_iter());
        assert_eq!(seen(&reports).0, StackPhase::Converging);
        view.reach(Goal::Removed);
        assert_eq!(seen(&reports).0, StackPhase::Removed);
    }
}
