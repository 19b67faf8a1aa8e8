//! What a project's volumes may take. In: the sizes of the spec, and measurements. Out: the usage in reports, and what
//! follows from it, step by step:
//!
//! | used of a volume's size | what happens                                                                         |
//! |-------------------------|--------------------------------------------------------------------------------------|
//! | 80 %                    | a warning                                                                            |
//! | 100 %                   | data: DISK_FULL, a database on it starts transactions read-only; cache: it is cleared |
//! | 120 %                   | DISK_LIMIT: the services that have it mounted are stopped; the data is kept           |
//!
//! Beside that a plan may limit what the database's volumes hold together (`database_limits`): from 100 % of that the reason is
//! DATABASE_OVER_PLAN, and the database starts transactions read-only. Nothing is stopped for it.
//!
//! Whoever deletes sets its own transaction to read-write. Below 95 % all is as before. A project that was stopped and is
//! started again may use a tenth more than it does, so that it can delete. A restart of the agent changes nothing of that:
//! level and ceiling are written down with the generation. A volume that cannot be measured is DISK_UNMEASURED.

mod levels;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use supalove_proto::node::v1::{ProgressStep, VolumeSpec, VolumeUsage};
use supalove_spec::names::is_database_volume;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::levels::{Level, ceiling, is_over_plan, level, pause};
pub use self::levels::{hard_limit, image_mib};
use super::context::Project;
use super::database_limits::Limits;
use super::failure::StepFailure;
use super::first_start;
use super::plan::ServicePlan;
use super::psql;
use super::volumes;
use crate::admission::is_database;
use crate::docker::labels;
use crate::state::KnownUsage;

/// Usage is reported in steps of so many MiB, so that not every page written is news.
const STEP_MIB: u64 = 16;
/// A measurement takes at most one part in so many of the time.
const SHARE: u32 = 20;
/// Lines of a failed program that are reported.
const LINES: usize = 3;
/// Measurements that fail in a row before the project says so.
const MOST_FAILURES: u32 = 3;

/// The services that must not run for what their volumes hold, each with the reason.
pub type Stopped = BTreeMap<String, StepFailure>;

/// What a project's volumes say to its services, and the services to the guard.
#[derive(Debug, Default)]
pub struct Room {
    stopped: watch::Sender<Stopped>,
    database_ready: Notify,
}

impl Room {
    /// Services that must not run.
    pub fn stopped(&self) -> watch::Receiver<Stopped> {
        self.stopped.subscribe()
    }

    /// The database is ready after a start, without what the guard set in the server before.
    pub fn database_ready(&self) {
        self.database_ready.notify_one();
    }
}

/// One volume of the project.
#[derive(Debug)]
struct Volume<'a> {
    spec: &'a VolumeSpec,
    /// Full name.
    name: String,
    is_data: bool,
    /// Services that mount it.
    users: Vec<&'a ServicePlan>,
    level: Level,
    used: u64,
    /// None until this generation has measured it once.
    ceiling: Option<u64>,
    /// The start of the database in which it was made read-only.
    read_only_since: Option<String>,
    /// The database's data lies on it, and all that the database holds is over what its plan allows, which is so many MiB.
    over_plan: Option<OverPlan>,
    /// Measurements that failed in a row, and why the last one did.
    failed: u32,
    why: String,
}

/// See [`Volume::over_plan`]. In MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OverPlan {
    held: u64,
    allowed: u64,
}

impl Volume<'_> {
    fn size(&self) -> u64 {
        self.spec.size_mib.into()
    }

    fn database(&self) -> Option<&ServicePlan> {
        self.users.iter().find(|plan| is_database(&plan.spec)).copied()
    }

    fn is_of_database(&self) -> bool {
        is_database_volume(&self.spec.name)
    }

    /// True if a database has its data on it, and not only files of its configuration.
    fn holds_database(&self) -> bool {
        self.database().is_some_and(|plan| first_start::data_name(plan) == Some(&*self.name))
    }

    /// Goes on where an agent before this one was with the same generation. In a new one nothing is known: somebody acted.
    fn take_up(&mut self, usage: &KnownUsage, generation: u64) {
        if usage.generation == generation {
            self.level = Level::from_number(usage.level);
            self.used = usage.used_mib;
            self.ceiling = Some(usage.ceiling_mib);
        }
    }

    /// True if the database on it may not write.
    fn is_read_only(&self) -> bool {
        self.level >= Level::Full || self.over_plan.is_some()
    }

    /// How grave its failure is: what stops services, what makes a database read-only, what does nothing yet.
    fn gravity(&self) -> u8 {
        match self.level {
            Level::Over if self.is_data => 5,
            Level::Full if self.is_data && self.database().is_some() => 4,
            // Deleting for the plan alone would not do on a full volume.
            _ if self.over_plan.is_some() => 3,
            Level::Full if self.is_data => 2,
            _ => 1,
        }
    }

    fn failure(&self) -> Option<StepFailure> {
        let (name, used, size) = (&self.spec.name, self.used, self.size());
        match self.level {
            Level::Full if self.is_data && self.database().is_none() => Some(StepFailure::new(
                "DISK_FULL",
                format!(
                    "volume {name} holds {used} MiB of {size}. Delete what is not needed: from {} MiB on, the services that write \
                     there are stopped",
                    hard_limit(size)
                ),
            )),
            Level::Full if self.is_data => Some(StepFailure::new(
                "DISK_FULL",
                format!(
                    "volume {name} holds {used} MiB of {size}: the database starts transactions read-only until it is \
                     below 95 %. To delete, begin with: set transaction read write; then vacuum full or drop what is not \
                     needed"
                ),
            )),
            Level::Over if self.is_data => Some(StepFailure::new(
                "DISK_LIMIT",
                format!(
                    "volume {name} holds {used} MiB of {size}, and what writes there is stopped; the data is kept. Start the \
                     project again: it may then use a tenth more to delete what is not needed"
                ),
            )),
            _ if self.over_plan.is_some() => self.over_plan.map(|OverPlan { held, allowed }| {
                StepFailure::new(
                    "DATABASE_OVER_PLAN",
                    format!(
                        "the database holds {held} MiB, and the plan of its organization allows {allowed}: it starts transactions \
                         read-only until it is below 95 % of that. To delete, begin with: set transaction read write; then vacuum \
                         full or drop what is not needed"
                    ),
                )
            }),
            _ if self.failed >= MOST_FAILURES => Some(StepFailure::new(
                "DISK_UNMEASURED",
                format!("volume {name} cannot be measured, so that its size does not bound it: {}", self.why),
            )),
            _ => None,
        }
    }
}

/// Measures a project's volumes as long as its containers run, and acts on what it finds.
#[derive(Debug)]
pub struct Guard<'a> {
    project: &'a Project,
    generation: u64,
    all: Vec<Volume<'a>>,
    room: &'a Room,
    limits: watch::Receiver<Arc<Limits>>,
    /// MiB that the plan allows its database; none if it bounds nothing.
    allowed: Option<u64>,
    /// When it last began to measure.
    last: Option<Instant>,
    /// When it is to measure again.
    due: Instant,
}

impl<'a> Guard<'a> {
    /// Knows which services must not run before any is started: from what was written down, else by a first measurement.
    pub async fn new(
        project: &'a Project,
        generation: u64,
        plans: &'a [ServicePlan],
        specs: &'a [VolumeSpec],
        room: &'a Room,
    ) -> Self {
        let mut all: Vec<Volume<'_>> = specs.iter().map(|spec| watched(project, plans, spec)).collect();
        let limits = project.shared.database_limits.subscribe();
        let allowed = limits.borrow().get(&*project.project_ref).copied();
        for volume in &mut all {
            match volumes::known(project, &volume.name).await {
                Ok(Some(known)) => {
                    if let Some(usage) = known.usage {
                        volume.take_up(&usage, generation);
                    }
                    // Until it is measured it is as before.
                    if known.read_only && volume.holds_database() {
                        volume.over_plan = allowed.map(|allowed| OverPlan { held: volume.used, allowed });
                    }
                }
                Ok(None) => {}
                Err(failure) => log(project, Err(failure), "cannot read what a volume held"),
            }
        }
        let is_news = all.iter().any(|volume| volume.ceiling.is_none());
        let due = Instant::now();
        let mut guard = Self { project, generation, all, room, limits, allowed, last: None, due };
        // A disk that hangs must not keep the services from being watched.
        if is_news && timeout(project.shared.times.disk_check, guard.measure()).await.is_err() {
            log(
                project,
                Err(StepFailure::new("ENGINE_ERROR", "it takes too long")),
                "cannot measure volumes",
            );
        }
        guard.tell();
        guard
    }

    /// Never returns.
    pub async fn run(mut self) {
        if self.all.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::select! {
                () = self.room.database_ready.notified() => {
                    for volume in &mut self.all {
                        keep_read_only(self.project, volume).await;
                    }
                }
                allowed = changed(&mut self.limits, &self.project.project_ref, self.allowed) => {
                    self.allowed = allowed;
                    self.due = Instant::now();
                }
                () = sleep_until(self.due) => {
                    self.measure().await;
                    self.tell();
                    self.clear_caches().await;
                    if let Some(began) = self.last {
                        self.due = self.due.max(began + began.elapsed() * SHARE);
                    }
                }
            }
        }
    }

    async fn measure(&mut self) {
        let times = &self.project.shared.times;
        let began = Instant::now();
        let within = self.last.replace(began).map(|last| began - last);
        let mut next = times.disk_check;
        let before_plan = self.allowed.map(|allowed| allowed.saturating_sub(self.held()));
        for volume in &mut self.all {
            let before = volume.used;
            if !measure_one(self.project, volume).await {
                continue;
            }
            let most = match volume.ceiling {
                Some(most) => most,
                None => self::ceiling(volume.used, volume.size()),
            };
            if volume.ceiling.is_none() && most > hard_limit(volume.size()) {
                let grown = volumes::grow(self.project, &volume.name, most).await;
                log(self.project, grown, "cannot let a full volume grow");
            }
            volume.ceiling = Some(most);
            if let Some(within) = within
                && volume.size() > 0
            {
                let grown = volume.used.saturating_sub(before);
                let mut left = most.saturating_sub(volume.used);
                if let Some(before_plan) = before_plan.filter(|left| *left > 0 && volume.is_of_database()) {
                    left = left.min(before_plan.saturating_sub(grown));
                }
                next = next.min(pause(grown, within, left, times.disk_check_least, times.disk_check));
            }
            act(self.project, self.generation, volume, most).await;
        }
        self.compare_with_plan().await;
        self.due = began + next;
    }

    /// MiB that the database's volumes hold together.
    fn held(&self) -> u64 {
        self.all.iter().filter(|volume| volume.is_of_database()).map(|volume| volume.used).sum()
    }

    /// Compares what the database's volumes hold together with what its plan allows.
    async fn compare_with_plan(&mut self) {
        let held = self.held();
        let Some(volume) = self.all.iter_mut().find(|volume| volume.holds_database()) else { return };
        let before = volume.over_plan.is_some();
        let over = is_over_plan(held, self.allowed, before);
        volume.over_plan = self.allowed.filter(|_| over).map(|allowed| OverPlan { held, allowed });
        keep_read_only(self.project, volume).await;
    }

    fn tell(&self) {
        let usage = self.all.iter().map(|volume| VolumeUsage {
            name: volume.spec.name.clone(),
            used_mib: volume.used.next_multiple_of(STEP_MIB),
            limit_mib: volume.size(),
        });
        // One reason is reported: that of the rule that has to be kept first.
        let worst =
            self.all.iter().filter(|volume| volume.failure().is_some()).max_by_key(|volume| volume.gravity());
        self.project.view.usage(usage.collect(), worst.and_then(Volume::failure));
        let over = self.all.iter().filter(|volume| volume.level == Level::Over && volume.is_data);
        let held: Stopped = over
            .filter_map(|volume| Some((volume, volume.failure()?)))
            .flat_map(|(volume, failure)| {
                volume.users.iter().map(move |plan| (plan.spec.name.clone(), failure.clone()))
            })
            .collect();
        self.room.stopped.send_if_modified(|now| {
            let changed = *now != held;
            *now = held;
            changed
        });
    }

    /// A cache over its limit is emptied while its services are stopped for a moment; it is never emptied under a service
    /// that runs.
    async fn clear_caches(&mut self) {
        let project = self.project;
        for volume in self.all.iter_mut().filter(|volume| !volume.is_data && volume.level >= Level::Full) {
            let words = format!(
                "cache {} holds {} MiB of {}; it is cleared",
                volume.spec.name,
                volume.used,
                volume.size()
            );
            tracing::warn!(project = &*project.project_ref, words, "a cache is full");
            let users: BTreeSet<String> = volume.users.iter().map(|plan| plan.spec.name.clone()).collect();
            self.room.stopped.send_modify(|now| {
                now.extend(
                    users.iter().map(|user| (user.clone(), StepFailure::new("DISK_FULL", words.clone()))),
                );
            });
            match until_ended(project, &users).await {
                Ok(()) => match volumes::clear(project, &volume.name).await {
                    Ok(()) => volume.level = Level::Fine,
                    Err(failure) => log(project, Err(failure), "cannot clear a cache"),
                },
                Err(failure) => log(project, Err(failure), "cannot clear a cache that services use"),
            }
            self.room.stopped.send_modify(|now| now.retain(|user, _| !users.contains(user)));
        }
    }
}

fn watched<'a>(project: &Project, plans: &'a [ServicePlan], spec: &'a VolumeSpec) -> Volume<'a> {
    let name = labels::volume_name(&project.project_ref, &spec.name);
    let users = plans.iter().filter(|plan| volumes::mounted(plan).any(|mounted| mounted == name)).collect();
    Volume {
        spec,
        is_data: volumes::is_data(spec),
        name,
        users,
        level: Level::Fine,
        used: 0,
        ceiling: None,
        read_only_since: None,
        over_plan: None,
        failed: 0,
        why: String::new(),
    }
}

/// Returns when a project has another limit than this one, with the new one.
async fn changed(
    limits: &mut watch::Receiver<Arc<Limits>>,
    project_ref: &str,
    before: Option<u64>,
) -> Option<u64> {
    let other = |limits: &Arc<Limits>| limits.get(project_ref).copied() != before;
    let found = limits.wait_for(other).await.ok().map(|limits| limits.get(project_ref).copied());
    match found {
        Some(now) => now,
        // The agent ends.
        None => std::future::pending().await,
    }
}

/// False if that failed: the volume stays at the level that it had.
async fn measure_one(project: &Project, volume: &mut Volume<'_>) -> bool {
    match volumes::used_mib(project, &volume.name).await {
        Ok(used) => {
            volume.used = used;
            volume.failed = 0;
            true
        }
        Err(failure) => {
            volume.failed = volume.failed.saturating_add(1);
            volume.why.clone_from(&failure.0.message);
            log(project, Err(failure), "cannot measure a volume");
            false
        }
    }
}

async fn act(project: &Project, generation: u64, volume: &mut Volume<'_>, most: u64) {
    let before = volume.level;
    volume.level = level(volume.used, volume.size(), most, before);
    if volume.level == Level::Warned && before == Level::Fine {
        let words = format!("volume {} holds {} MiB of {}", volume.spec.name, volume.used, volume.size());
        tracing::warn!(project = &*project.project_ref, words, "a volume is nearly full");
        project.view.progress("", ProgressStep::Preparing, 0, &words);
    }
    let usage =
        KnownUsage { generation, ceiling_mib: most, level: volume.level as u32, used_mib: volume.used };
    let noted = volumes::update(project, &volume.name, move |known| {
        // Not each MiB is worth a write.
        let is_news = known.usage.as_ref().is_none_or(|old| {
            (old.generation, old.ceiling_mib, old.level) != (usage.generation, usage.ceiling_mib, usage.level)
        });
        if is_news {
            known.usage = Some(usage);
        }
    });
    log(project, noted.await, "cannot write down what a volume holds");
    keep_read_only(project, volume).await;
}

async fn keep_read_only(project: &Project, volume: &mut Volume<'_>) {
    if volume.is_data {
        log(project, set_read_only(project, volume).await, "cannot set whether a database may write");
    }
}

async fn until_ended(project: &Project, services: &BTreeSet<String>) -> Result<(), StepFailure> {
    let longest = project.shared.times.disk_check * 2;
    let began = Instant::now();
    while began.elapsed() < longest {
        let all = project.engine().project_containers(&project.project_ref).await?;
        if !all.iter().any(|container| container.running && services.contains(&container.service)) {
            return Ok(());
        }
        sleep(project.shared.times.probe_medium).await;
    }
    Err(StepFailure::new("ENGINE_ERROR", format!("services did not end within {longest:?}")))
}

/// Written down before it is set, and forgotten after it is taken back: a crash leaves no database that stays read-only. A
/// start may undo it, since images empty the file that it is in, so it is set once in each start.
async fn set_read_only(project: &Project, volume: &mut Volume<'_>) -> Result<(), StepFailure> {
    let Some(database) = volume.database().cloned() else { return Ok(()) };
    let read_only = volume.is_read_only();
    let Some(known) = volumes::known(project, &volume.name).await? else { return Ok(()) };
    if !read_only && !known.read_only {
        return Ok(());
    }
    if read_only && !known.read_only {
        volumes::update(project, &volume.name, |known| known.read_only = true).await?;
    }
    let container = labels::container_name(&project.project_ref, &database.spec.name);
    // One that does not run is told when it is ready.
    let found = project.engine().inspect(&container).await?.filter(|found| found.running);
    let Some(found) = found else { return Ok(()) };
    if !read_only {
        setting(project, &database, &container, "alter system reset default_transaction_read_only").await?;
        volume.read_only_since = None;
        return volumes::update(project, &volume.name, |known| known.read_only = false).await;
    }
    if volume.read_only_since.as_ref() != Some(&found.started_at) {
        setting(project, &database, &container, "alter system set default_transaction_read_only = on")
            .await?;
        volume.read_only_since = Some(found.started_at);
    }
    Ok(())
}

async fn setting(
    project: &Project,
    database: &ServicePlan,
    container: &str,
    statement: &str,
) -> Result<(), StepFailure> {
    let limit = project.shared.times.database_setting;
    let what = ["-c", statement, "-c", "select pg_catalog.pg_reload_conf()"];
    let ended = psql::run(project, database, container, &what, LINES, limit).await?;
    if ended.exit_code == 0 {
        return Ok(());
    }
    Err(StepFailure::new(
        "ENGINE_ERROR",
        format!("psql ended with {}: {}", ended.exit_code, ended.lines.join("; ")),
    ))
}

fn log(project: &Project, result: Result<(), StepFailure>, what: &str) {
    if let Err(failure) = result {
        let project = &*project.project_ref;
        tracing::warn!(project, reason = failure.0.reason, message = failure.0.message, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn volume(spec: &VolumeSpec) -> Volume<'_> {
        Volume {
            spec,
            name: String::new(),
            is_data: true,
            users: Vec::new(),
            level: Level::Fine,
            used: 0,
            ceiling: None,
            read_only_since: None,
            over_plan: None,
            failed: 0,
            why: String::new(),
        }
    }

    #[test]
    fn a_plan_makes_a_database_read_only_and_lets_it_write_again_with_a_distance() {
        let spec = VolumeSpec { name: "db_data".into(), size_mib: 1000, ..VolumeSpec::default() };
        let over_plan = Some(OverPlan { held: 510, allowed: 500 });
        let mut volume = Volume { used: 510, over_plan, failed: MOST_FAILURES, ..volume(&spec) };
        let failure = volume.failure().unwrap().0;
        assert!(volume.is_read_only() && failure.reason == "DATABASE_OVER_PLAN");
        assert!(failure.message.contains("510") && failure.message.contains("500"), "{}", failure.message);
        volume.level = Level::Full;
        assert_eq!(
            volume.failure().unwrap().0.reason,
            "DISK_FULL",
            "deleting for the plan alone would not do"
        );
    }

    #[test]
    fn one_reason_is_reported_that_of_the_rule_that_acts_first() {
        let spec = VolumeSpec { name: "storage".into(), size_mib: 1000, ..VolumeSpec::default() };
        let of = |level, over_plan, failed| Volume { level, over_plan, failed, ..volume(&spec) };
        let over_plan = Some(OverPlan { held: 510, allowed: 500 });
        let unmeasured = of(Level::Warned, None, MOST_FAILURES);
        let over = of(Level::Fine, over_plan, 0);
        let files = of(Level::Full, None, 0);
        let stopped = of(Level::Over, None, 0);
        let order = [unmeasured, files, over, stopped];
        assert!(order.is_sorted_by_key(Volume::gravity));
        let reasons = order.map(|volume| volume.failure().unwrap().0.reason);
        assert_eq!(reasons, ["DISK_UNMEASURED", "DISK_FULL", "DATABASE_OVER_PLAN", "DISK_LIMIT"]);
        let files = of(Level::Full, None, 0).failure().unwrap().0.message;
        assert!(files.contains("from 1200 MiB on") && !files.contains("read-only"), "{files}");
    }

    #[tokio::test]
    async fn only_another_limit_of_its_own_concerns_a_project() {
        let limits = |mib| Arc::new(Limits::from([("a".to_owned(), 1), ("b".to_owned(), mib)]));
        let sender = watch::Sender::new(limits(5));
        let mut receiver = sender.subscribe();
        let mut waiting = std::pin::pin!(changed(&mut receiver, "b", Some(5)));
        let soon = Duration::from_millis(20);
        assert!(timeout(soon, &mut waiting).await.is_err());
        sender.send_modify(|all| *all = Arc::new(Limits::from([("b".to_owned(), 5)])));
        assert!(timeout(soon, &mut waiting).await.is_err());
        sender.send_replace(Arc::default());
        assert_eq!(waiting.await, None);
    }

    #[test]
    fn another_agent_goes_on_with_a_generation_and_a_new_one_begins_anew() {
        let spec = VolumeSpec { size_mib: 1000, ..VolumeSpec::default() };
        let usage =
            KnownUsage { generation: 3, ceiling_mib: 1200, level: Level::Over as u32, used_mib: 1210 };
        let mut same = volume(&spec);
        same.take_up(&usage, 3);
        assert_eq!((same.level, same.used, same.ceiling), (Level::Over, 1210, Some(1200)));
        assert_eq!(same.failure().unwrap().0.reason, "DISK_LIMIT", "before it is measured");
        let mut next = volume(&spec);
        next.take_up(&usage, 4);
        assert_eq!((next.level, next.ceiling), (Level::Fine, None));
    }

    #[test]
    fn a_volume_that_cannot_be_measured_is_told_but_not_at_once() {
        let spec = VolumeSpec { name: "db_data".into(), size_mib: 1000, ..VolumeSpec::default() };
        let mut volume = Volume { failed: MOST_FAILURES - 1, why: "it is gone".into(), ..volume(&spec) };
        assert!(volume.failure().is_none());
        volume.failed = MOST_FAILURES;
        let failure = volume.failure().unwrap().0;
        assert_eq!(failure.reason, "DISK_UNMEASURED");
        assert!(failure.message.contains("db_data") && failure.message.contains("it is gone"));
        volume.level = Level::Over;
        assert_eq!(volume.failure().unwrap().0.reason, "DISK_LIMIT", "the worse of the two");
    }
}
