//! One service while its project runs, as a loop of steps: wait for the services it depends on, start, become ready, stay
//! ready. The loop ends only when the container is gone.

mod limits;
mod probing;

use std::net::Ipv4Addr;
use std::time::Duration;

use supalove_failpoints::failpoint;
use supalove_proto::node::v1::{ProgressStep, ServiceState, VolumeSpec};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::container_watch::ContainerWatch;
use super::context::Project;
use super::diff::Existing;
use super::disk::{Room, Stopped};
use super::failure::{LOG_LINES, StepFailure};
use super::first_start::{self, Unfinished};
use super::lost_ports::PortsOfService;
use super::plan::{self, ServicePlan};
use super::start_sql::{self, Due};
use super::volumes::{self, Checked};
use crate::admission::is_database;
use crate::backoff::Backoff;
use crate::conditions::ENGINE_SILENT;
use crate::config::Times;
use crate::docker::{HeldLimits, Inspected};
use crate::probe::NotReady;

use probing::Probed;

/// The container no longer exists: the project must be prepared again.
#[derive(Debug)]
pub struct Gone;

/// Keeps one service running.
#[derive(Debug)]
pub struct Service<'a> {
    project: &'a Project,
    plan: &'a ServicePlan,
    /// All volumes of the project.
    volumes: &'a [VolumeSpec],
    container: String,
    /// Health of each service it depends on.
    needs: Vec<watch::Receiver<bool>>,
    /// Its own health, for those that depend on it.
    healthy: watch::Sender<bool>,
    /// Whom its database tells that it is ready.
    room: &'a Room,
    /// Services that must not run for what their volumes hold.
    stopped: watch::Receiver<Stopped>,
    /// Where it is probed; changes with each start.
    address: Option<Ipv4Addr>,
    /// The host's address on its network.
    bridge: Option<Ipv4Addr>,
    /// When the container was started, in the engine's words.
    started_at: String,
    events: ContainerWatch,
    backoff: Backoff,
    /// Starts that did not become ready in time, in a row.
    late: u32,
    /// This agent has started it before.
    started_before: bool,
    /// Its published ports, as a part of the node's.
    ports: PortsOfService,
    /// Limits that stayed other than they should be though the agent set them.
    stuck: Option<HeldLimits>,
    /// It ran when it was found, and no probe has failed since: nothing is reported until one does.
    adopted: bool,
}

/// Failed attempts of the start SQL in a row after which an operation need not wait longer.
const START_SQL_TRIES: u32 = 3;

/// How an attempt to become or stay ready ended.
enum End {
    Ready,
    Exited(Inspected),
    Late(NotReady),
    Hung,
    /// Its volumes hold more than they may.
    OverLimit,
}

impl<'a> Service<'a> {
    /// A service whose container exists.
    pub fn new(
        project: &'a Project,
        plan: &'a ServicePlan,
        volumes: &'a [VolumeSpec],
        container: Existing,
        needs: Vec<watch::Receiver<bool>>,
        healthy: watch::Sender<bool>,
        room: &'a Room,
    ) -> Self {
        let times = &project.shared.times;
        Self {
            events: ContainerWatch::new(project, &container.id),
            backoff: Backoff::new(times.restart_first, times.restart_cap),
            project,
            plan,
            volumes,
            container: container.id,
            needs,
            healthy,
            room,
            stopped: room.stopped(),
            address: None,
            bridge: None,
            started_at: String::new(),
            late: 0,
            ports: project.shared.lost_ports.of_service(&project.project_ref, &plan.spec.name),
            stuck: None,
            started_before: false,
            adopted: container.running,
        }
    }

    /// Runs until the container is gone.
    pub async fn run(mut self) -> Gone {
        loop {
            if let Err(gone) = self.one_life().await {
                self.healthy.send_replace(false);
                return gone;
            }
        }
    }

    /// From the start of the container to its end.
    async fn one_life(&mut self) -> Result<(), Gone> {
        self.wait_for_needs().await;
        self.wait_for_room().await;
        if !self.start().await? {
            sleep(self.backoff.next_pause()).await;
            return Ok(());
        }
        let end = self.become_ready().await?;
        self.adopted = false;
        match end {
            End::Ready => {}
            End::Late(reason) => return self.after_late(reason).await,
            End::Exited(inspected) => {
                let first_start = self.unfinished_first_start().await;
                return self.after_exit(&inspected, None, first_start).await;
            }
            End::Hung => return Ok(()),
            End::OverLimit => return self.stop_over_limit().await,
        }
        let ready_at = Instant::now();
        self.remember_ready().await;
        if is_database(&self.plan.spec) {
            self.room.database_ready();
        }
        self.set_healthy();
        match self.stay_ready().await? {
            End::Exited(inspected) => self.after_exit(&inspected, Some(ready_at), None).await,
            End::OverLimit => self.stop_over_limit().await,
            _ => self.restart_hung().await,
        }
    }

    /// auth, realtime and storage exit when the database is unreachable, so they start only once it is ready.
    async fn wait_for_needs(&mut self) {
        if !self.adopted && !self.needs_are_healthy() {
            self.project.view.set(
                self.name(),
                ServiceState::Created,
                "waiting for the services it depends on",
            );
        }
        for need in &mut self.needs {
            // An error means that the other service's task has ended; this one is about to be dropped as well.
            let _ = need.wait_for(|healthy| *healthy).await;
        }
    }

    /// Returns when its volumes hold no more than they may.
    async fn wait_for_room(&mut self) {
        while let Some(failure) = self.over_limit() {
            self.project.view.fail_service(self.name(), ServiceState::Exited, failure);
            if self.stopped.changed().await.is_err() {
                return;
            }
        }
    }

    fn over_limit(&self) -> Option<StepFailure> {
        self.stopped.borrow().get(self.name()).cloned()
    }

    async fn stop_over_limit(&mut self) -> Result<(), Gone> {
        self.healthy.send_replace(false);
        // A service that is stopped has lost no port.
        self.ports.have();
        self.stop().await;
        Ok(())
    }

    fn needs_are_healthy(&self) -> bool {
        self.needs.iter().all(|need| *need.borrow())
    }

    /// Starts the container unless it runs; false if that failed.
    async fn start(&mut self) -> Result<bool, Gone> {
        match self.ensure_running().await {
            Ok(Some(started)) => {
                self.address = started.address;
                self.bridge = started.gateway;
                self.started_at = started.started_at;
                Ok(true)
            }
            Ok(None) => Err(Gone),
            Err(failure) => {
                self.adopted = false;
                self.project.view.fail_service(self.name(), ServiceState::Exited, failure);
                Ok(false)
            }
        }
    }

    async fn ensure_running(&mut self) -> Result<Option<Inspected>, StepFailure> {
        let engine = self.project.engine();
        let Some(found) = engine.inspect(&self.container).await? else { return Ok(None) };
        self.adopted &= found.running;
        if !self.adopted {
            self.project.view.set(self.name(), ServiceState::Starting, "");
        }
        if !found.running {
            if self.started_before {
                self.project.view.count_restart(self.name());
            }
            match volumes::check(self.project, self.plan).await? {
                Checked::Fine => {}
                Checked::PrepareAgain => return Ok(None),
                Checked::Lost(failure) => return Err(failure),
            }
            if is_database(&self.plan.spec) {
                self.never_serve_half_made_data().await?;
            }
            self.project.shared.can_start()?;
            failpoint!("agent.service.starting", &self.project.project_ref);
            match engine.start(&self.container).await {
                Err(error) if error.is_not_found() => return Ok(None),
                result => result?,
            }
            failpoint!("agent.service.started", &self.project.project_ref);
            self.project.view.progress(self.name(), ProgressStep::Started, 0, "");
        }
        self.started_before = true;
        self.events.suspect();
        Ok(engine.inspect(&self.container).await?)
    }

    /// Probes fast at first, then slower, until ready, ended, or too late. A database that is late is waited for. As soon as
    /// its server answers a login, even with a refusal, its start SQL runs: that is what sets a spoilt role right.
    async fn become_ready(&mut self) -> Result<End, Gone> {
        let started = Instant::now();
        let limit = self.ready_within();
        let mut reported = false;
        let mut looked = started;
        let mut sql_due = start_sql::due(self.project, self.plan, &self.container, &self.started_at).await;
        let mut sql_backoff = Backoff::new(self.times().restart_first, self.times().restart_cap);
        let mut sql_failures = 0;
        loop {
            // Events may be lost, and a program that exits at its start must be noticed.
            if looked.elapsed() >= self.times().probe_slow {
                looked = Instant::now();
                self.events.suspect();
            }
            if let Some(inspected) = self.ended().await? {
                return Ok(End::Exited(inspected));
            }
            if self.over_limit().is_some() {
                return Ok(End::OverLimit);
            }
            let answered = match self.probe_while_it_runs(false).await? {
                Probed::Answered(answered) => answered,
                Probed::Ended(inspected) => return Ok(End::Exited(inspected)),
            };
            if sql_due != Due::Nothing && answered.as_ref().err().is_none_or(NotReady::is_role_spoilt) {
                let ran = start_sql::run(self.project, self.plan, &self.container, sql_due).await;
                let Err(failure) = ran else {
                    sql_due = Due::Nothing;
                    start_sql::remember(self.project, self.plan, &self.container, &self.started_at).await;
                    continue;
                };
                // A server that ended took its psql with it.
                self.events.suspect();
                if let Some(inspected) = self.ended().await? {
                    return Ok(End::Exited(inspected));
                }
                sql_failures += 1;
                let enough = sql_failures >= START_SQL_TRIES;
                self.adopted = false;
                let failure = if enough { failure.permanent() } else { failure };
                self.project.view.fail_service(self.name(), ServiceState::Unhealthy, failure);
                self.pause(sql_backoff.next_pause()).await;
                continue;
            }
            let reason = match answered {
                Ok(()) => return Ok(End::Ready),
                Err(reason) => reason,
            };
            if std::mem::take(&mut self.adopted) {
                self.project.view.set(self.name(), ServiceState::Starting, "");
            }
            if reason.is_role_spoilt() && started.elapsed() >= self.times().role_spoilt && !reported {
                self.report_spoilt(&reason).await;
                reported = true;
            }
            if started.elapsed() >= limit && !reported {
                if !is_database(&self.plan.spec) {
                    return Ok(End::Late(reason));
                }
                self.report_late(&reason).await;
                reported = true;
            }
            self.pause(self.times().start_probe_pause(started.elapsed())).await;
        }
    }

    /// A start after a late one gets more time, so that a slow host can become ready at all.
    fn ready_within(&self) -> Duration {
        let seconds = self.plan.spec.probe.as_ref().map_or(1, |probe| probe.ready_within_seconds);
        Duration::from_secs(seconds.into()) * (1 + self.late.min(3))
    }

    /// Probes at the spec's pace until the container ends, or fails its probe for so long that it must be restarted.
    async fn stay_ready(&mut self) -> Result<End, Gone> {
        let mut misses = 0;
        let mut unhealthy_since: Option<Instant> = None;
        let interval = self.interval();
        let mut limits_seen = None;
        loop {
            self.pause(interval).await;
            if let Some(inspected) = self.ended().await? {
                return Ok(self.exited(inspected));
            }
            if self.over_limit().is_some() {
                return Ok(End::OverLimit);
            }
            if limits_seen.is_none_or(|at: Instant| at.elapsed() >= self.times().truth) {
                self.keep_limits().await;
                limits_seen = Some(Instant::now());
            }
            let answered = match self.probe_while_it_runs(true).await? {
                Probed::Answered(answered) => answered,
                Probed::Ended(inspected) => return Ok(self.exited(inspected)),
            };
            match answered {
                Ok(()) => {
                    misses = 0;
                    self.ports.have();
                    if unhealthy_since.take().is_some() {
                        self.set_healthy();
                    }
                }
                Err(reason) => {
                    self.events.suspect();
                    misses += 1;
                    if misses >= self.allowed_misses() {
                        self.tell_dependants(reason.is_outside_only());
                        if reason.is_outside_only() {
                            self.ports.lose(&reason.to_string());
                        } else {
                            self.ports.have();
                        }
                        if unhealthy_since.is_none() {
                            unhealthy_since = Some(Instant::now());
                            let code =
                                if reason.is_role_spoilt() { "ROLE_SPOILT" } else { "SERVICE_UNHEALTHY" };
                            self.report(ServiceState::Unhealthy, code, reason.to_string()).await;
                        }
                    }
                }
            }
            let hung_for = unhealthy_since.map(|since| since.elapsed()).unwrap_or_default();
            // A failed probe alone never restarts a database, nor a service whose dependencies are unhealthy.
            if hung_for >= self.times().unhealthy_restart
                && !is_database(&self.plan.spec)
                && self.needs_are_healthy()
            {
                // Without the engine or its chains no restart is possible, and their return may be enough.
                let calm = self.project.shared.conditions.calm_for(self.times().unhealthy_restart);
                if calm && self.project.engine().inspect(&self.container).await.is_ok() {
                    return Ok(End::Hung);
                }
                unhealthy_since = Some(Instant::now());
            }
        }
    }

    /// The end of a container that was ready.
    fn exited(&self, inspected: Inspected) -> End {
        self.healthy.send_replace(false);
        self.ports.have();
        End::Exited(inspected)
    }

    fn tell_dependants(&self, healthy: bool) {
        self.healthy.send_if_modified(|told| std::mem::replace(told, healthy) != healthy);
    }

    /// Sleeps, but not beyond an event about the container or the end of its room.
    async fn pause(&mut self, pause: Duration) {
        tokio::select! {
            _ = timeout(pause, self.events.changed()) => {}
            Ok(()) = self.stopped.changed() => {}
        }
    }

    /// How the container ended, if it did. No answer of the engine is no proof of an end.
    async fn ended(&mut self) -> Result<Option<Inspected>, Gone> {
        // Waiting for it would keep the probes waiting.
        if self.engine_is_silent() || !self.events.take_suspicion() {
            return Ok(None);
        }
        match self.project.engine().inspect(&self.container).await {
            Ok(None) => Err(Gone),
            Ok(Some(found)) => Ok((!found.running).then_some(found)),
            Err(_) => {
                self.events.suspect();
                Ok(None)
            }
        }
    }

    /// Reports a container that ended by itself and waits before its restart. One that ended because a dependency was
    /// unreachable is not reported.
    async fn after_exit(
        &mut self,
        inspected: &Inspected,
        ready_at: Option<Instant>,
        first_start: Option<Unfinished>,
    ) -> Result<(), Gone> {
        if ready_at.is_some_and(|at| at.elapsed() >= self.times().restart_reset) {
            self.backoff.reset();
        }
        if !self.needs_are_healthy() {
            self.project.view.set(
                self.name(),
                ServiceState::Exited,
                "ended while a service it depends on was unreachable",
            );
            return Ok(());
        }
        let lines = self.project.engine().log_tail(&self.container, LOG_LINES).await;
        let failure =
            StepFailure::new("SERVICE_EXITED", exit_message(inspected, first_start)).with_log(lines);
        self.project.view.fail_service(self.name(), ServiceState::Exited, failure);
        sleep(self.backoff.next_pause()).await;
        // This service may have noticed the loss before the database's own probe did.
        if !self.needs_are_healthy() {
            self.backoff.reset();
        }
        Ok(())
    }

    /// A database whose first start did not end starts over on new volumes, if nothing can be lost by that.
    async fn never_serve_half_made_data(&mut self) -> Result<(), StepFailure> {
        match first_start::inspect(self.project, self.plan).await? {
            Some(Unfinished::Disposable) => {
                let words = "first start did not end; starting over on new volumes";
                // In the log as well: no controller may be connected to receive the progress.
                tracing::warn!(project = &*self.project.project_ref, service = self.name(), words);
                self.project.view.progress(self.name(), ProgressStep::Removed, 0, words);
                self.container =
                    first_start::start_over(self.project, self.plan, self.volumes, &self.container).await?;
                self.events = ContainerWatch::new(self.project, &self.container);
                Ok(())
            }
            Some(Unfinished::NotOurs(why)) => Err(StepFailure::new(
                "FIRST_START_UNFINISHED",
                format!(
                    "the first start on its volume did not end, and the volume is kept: {why}; nothing was ever served \
                     from it: delete the project and create it again"
                ),
            )),
            Some(Unfinished::WasReady) | None => Ok(()),
        }
    }

    async fn unfinished_first_start(&self) -> Option<Unfinished> {
        if !is_database(&self.plan.spec) {
            return None;
        }
        first_start::inspect(self.project, self.plan).await.unwrap_or_else(|failure| {
            tracing::warn!(
                project = &*self.project.project_ref,
                service = self.name(),
                message = failure.0.message,
                "cannot inspect a database's volumes; they are kept as they are"
            );
            None
        })
    }

    /// The volumes are safe without the record, too: by now the image has removed its own mark.
    async fn remember_ready(&self) {
        let mut remembered = volumes::mark_ready(self.project, self.plan).await;
        if is_database(&self.plan.spec) {
            remembered = remembered.and(first_start::mark_ready(self.project, self.plan).await);
        }
        if let Err(failure) = remembered {
            tracing::warn!(
                project = &*self.project.project_ref,
                service = self.name(),
                message = failure.0.message,
                "cannot record that the service was ready"
            );
        }
    }

    async fn after_late(&mut self, reason: NotReady) -> Result<(), Gone> {
        self.report_late(&reason).await;
        self.late = self.late.saturating_add(1);
        self.stop().await;
        sleep(self.backoff.next_pause()).await;
        Ok(())
    }

    async fn restart_hung(&mut self) -> Result<(), Gone> {
        tracing::warn!(
            project = &*self.project.project_ref,
            service = self.name(),
            "service does not answer its probe, restarting it"
        );
        self.stop().await;
        Ok(())
    }

    /// A failed stop shows again at the next start.
    async fn stop(&mut self) {
        let grace = plan::grace(&self.plan.spec).into();
        if let Err(error) = self.project.engine().stop(&self.container, grace).await {
            self.project.view.fail_service(self.name(), ServiceState::Unhealthy, error.into());
        }
    }

    fn set_healthy(&mut self) {
        failpoint!("agent.service.ready", &self.project.project_ref);
        self.late = 0;
        self.project.view.set(self.name(), ServiceState::Healthy, "");
        self.project.view.progress(self.name(), ProgressStep::Ready, 0, "");
        self.healthy.send_replace(true);
    }

    async fn report_late(&self, reason: &NotReady) {
        let seconds = self.ready_within().as_secs();
        let message = format!("not ready within {seconds} s: {reason}");
        self.report(ServiceState::Unhealthy, "SERVICE_NOT_READY", message).await;
    }

    /// No wait mends a role of the platform, so an operation ends now. The probe goes on: somebody may mend it.
    async fn report_spoilt(&self, reason: &NotReady) {
        let lines = self.project.engine().log_tail(&self.container, LOG_LINES).await;
        let failure = StepFailure::new("ROLE_SPOILT", reason.to_string()).with_log(lines).permanent();
        self.project.view.fail_service(self.name(), ServiceState::Unhealthy, failure);
    }

    async fn report(&self, state: ServiceState, reason: &str, message: String) {
        let lines = self.project.engine().log_tail(&self.container, LOG_LINES).await;
        let failure = StepFailure::new(reason, message).with_log(lines);
        self.project.view.fail_service(self.name(), state, failure);
    }

    fn interval(&self) -> Duration {
        let millis = self.plan.spec.probe.as_ref().map_or(1000, |probe| probe.interval_ms);
        Duration::from_millis(millis.into())
    }

    fn allowed_misses(&self) -> u32 {
        self.plan.spec.probe.as_ref().map_or(1, |probe| probe.failures)
    }

    fn engine_is_silent(&self) -> bool {
        self.project.shared.conditions.stands(ENGINE_SILENT)
    }

    fn name(&self) -> &'a str {
        &self.plan.spec.name
    }

    fn times(&self) -> &'a Times {
        &self.project.shared.times
    }
}

fn exit_message(inspected: &Inspected, first_start: Option<Unfinished>) -> String {
    let mut message = format!("ended with exit code {}", inspected.exit_code);
    if inspected.oom_killed {
        message.push_str(" (killed for using more memory than its limit)");
    }
    if !inspected.error.is_empty() {
        message.push_str(": ");
        message.push_str(&inspected.error);
    }
    match first_start {
        Some(Unfinished::Disposable) => message.push_str(" before its first start was done"),
        Some(Unfinished::NotOurs(why)) => {
            message.push_str("; its volume says that the first start did not end, and is kept: ");
            message.push_str(why);
        }
        Some(Unfinished::WasReady) => {
            message.push_str("; its volume says that the first start did not end, and is kept: ");
            message.push_str("a server was ready on it before");
        }
        None => {}
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_told_with_its_cause() {
        let mut inspected = Inspected {
            running: false,
            started_at: String::new(),
            exit_code: 137,
            oom_killed: true,
            error: String::new(),
            address: None,
            gateway: None,
            limits: HeldLimits::default(),
        };
        assert!(exit_message(&inspected, None).contains("137 (killed for using more memory"));
        inspected.oom_killed = false;
        inspected.error = "no such file".into();
        assert_eq!(exit_message(&inspected, None), "ended with exit code 137: no such file");
        let kept = exit_message(&inspected, Some(Unfinished::NotOurs("it is dear")));
        assert!(kept.ends_with("is kept: it is dear"), "{kept}");
    }
}
