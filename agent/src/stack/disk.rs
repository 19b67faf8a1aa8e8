//! What a project's volumes may take. In: the sizes of the spec, and measurements. Out: the usage in reports, and what
//! follows from it, step by step:
//!
//! | used of a volume's size | what happens                                                                         |
//! |-------------------------|--------------------------------------------------------------------------------------|
//! | 80 %                    | a warning                                                                            |
//! | 100 %                   | data: DISK_FULL, the database starts transactions read-only; cache: it is cleared     |
//! | 120 %                   | DISK_LIMIT: the services that have it mounted are stopped; the data is kept           |
//!
//! Whoever deletes sets its own transaction to read-write. Below 95 % all is as before. A project that was stopped and is
//! started again may use a tenth more than it does, so that it can delete.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use supalove_proto::node::v1::{ProgressStep, VolumeSpec, VolumeUsage};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::context::Project;
use super::failure::StepFailure;
use super::plan::ServicePlan;
use super::volumes;
use crate::admission::is_database;
use crate::docker::labels;

/// Usage is reported in steps of so many MiB, so that not every page written is news.
const STEP_MIB: u64 = 16;
/// A measurement takes at most one part in so many of the time.
const SHARE: u32 = 20;
/// Lines of a failed program that are reported.
const LINES: usize = 3;

/// The services that must not run for what their volumes hold, each with the reason.
pub type Stopped = BTreeMap<String, StepFailure>;

/// How full a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Fine,
    Warned,
    Full,
    Over,
}

/// The size of a file system that holds so much: with what it needs itself, and with air, so that whoever writes is seen to
/// be over its limit before a database meets a full disk, with which it may not even start.
pub fn image_mib(limit_mib: u64) -> u64 {
    limit_mib + limit_mib / 10 + 64
}

/// The most that a volume may hold; who writes on is stopped.
pub fn hard_limit(size_mib: u64) -> u64 {
    size_mib + size_mib / 5
}

/// The most that it may ever be allowed to, however often it is started again.
fn last_limit(size_mib: u64) -> u64 {
    size_mib + size_mib / 2
}

fn level(used: u64, size: u64, ceiling: u64, before: Level) -> Level {
    let percent = |part: u64| size * part / 100;
    if size == 0 {
        return Level::Fine;
    }
    // What was stopped stays so until somebody acts, or it fits again.
    if used >= ceiling || before == Level::Over && used >= size {
        Level::Over
    } else if used >= size || before >= Level::Full && used >= percent(95) {
        Level::Full
    } else if used >= percent(80) {
        Level::Warned
    } else {
        Level::Fine
    }
}

/// The ceiling of a volume that this generation found with so much on it.
fn ceiling(used: u64, size: u64) -> u64 {
    let usual = hard_limit(size);
    if used < usual { usual } else { (used + used / 10).min(last_limit(size)).max(usual) }
}

/// How long until the next measurement: half of what the ceiling is away at this pace.
fn pause(grown: u64, within: Duration, left: u64, least: Duration, most: Duration) -> Duration {
    if grown == 0 {
        return most;
    }
    let until_there = within.mul_f64(f64::from(u32::try_from(left).unwrap_or(u32::MAX)))
        / u32::try_from(grown).unwrap_or(u32::MAX);
    (until_there / 2).clamp(least, most)
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
    /// Set by the first measurement.
    ceiling: Option<u64>,
}

impl Volume<'_> {
    fn size(&self) -> u64 {
        self.spec.size_mib.into()
    }

    fn database(&self) -> Option<&ServicePlan> {
        self.users.iter().find(|plan| is_database(&plan.spec)).copied()
    }

    fn failure(&self) -> Option<StepFailure> {
        let (name, used, size) = (&self.spec.name, self.used, self.size());
        match self.level {
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
            _ => None,
        }
    }
}

/// Measures a project's volumes as long as its containers run, and acts on what it finds. Never returns.
pub async fn guard(
    project: &Project,
    plans: &[ServicePlan],
    specs: &[VolumeSpec],
    stopped: &watch::Sender<Stopped>,
) {
    let times = &project.shared.times;
    let mut all: Vec<Volume<'_>> = specs.iter().map(|spec| watched(project, plans, spec)).collect();
    if all.is_empty() {
        return std::future::pending().await;
    }
    let mut next = times.disk_check;
    let mut last: Option<Instant> = None;
    loop {
        sleep(next).await;
        let began = Instant::now();
        let within = last.map_or(times.disk_check, |last| began - last);
        last = Some(began);
        next = times.disk_check;
        for volume in &mut all {
            let before = volume.used;
            match volumes::used_mib(project, &volume.name).await {
                Ok(used) => volume.used = used,
                Err(failure) => {
                    tracing::warn!(
                        volume = volume.name,
                        message = failure.0.message,
                        "cannot measure a volume"
                    );
                    continue;
                }
            }
            let first = volume.ceiling.is_none();
            let most =
                *volume.ceiling.get_or_insert_with(|| ceiling(volume.used, volume.spec.size_mib.into()));
            if first && most > hard_limit(volume.size()) {
                log(volumes::grow(project, &volume.name, most).await, "cannot let a full volume grow");
            }
            if !first && volume.size() > 0 {
                let grown = volume.used.saturating_sub(before);
                let left = most.saturating_sub(volume.used);
                next = next.min(pause(grown, within, left, times.disk_check_least, times.disk_check));
            }
            act(project, volume, most).await;
        }
        tell(project, &all, stopped);
        clear_caches(project, &mut all, stopped).await;
        next = next.max(began.elapsed() * SHARE);
    }
}

fn watched<'a>(project: &Project, plans: &'a [ServicePlan], spec: &'a VolumeSpec) -> Volume<'a> {
    let name = labels::volume_name(&project.project_ref, &spec.name);
    let users = plans.iter().filter(|plan| volumes::mounted(plan).any(|mounted| mounted == name)).collect();
    Volume { spec, is_data: volumes::is_data(spec), name, users, level: Level::Fine, used: 0, ceiling: None }
}

async fn act(project: &Project, volume: &mut Volume<'_>, most: u64) {
    let before = volume.level;
    volume.level = level(volume.used, volume.size(), most, before);
    if volume.level == Level::Warned && before == Level::Fine {
        let words = format!("volume {} holds {} MiB of {}", volume.spec.name, volume.used, volume.size());
        tracing::warn!(project = &*project.project_ref, words, "a volume is nearly full");
        project.view.progress("", ProgressStep::Preparing, 0, &words);
    }
    if volume.is_data && volume.database().is_some() {
        let read_only = volume.level >= Level::Full;
        log(set_read_only(project, volume, read_only).await, "cannot set whether a database may write");
    }
}

fn tell(project: &Project, all: &[Volume<'_>], stopped: &watch::Sender<Stopped>) {
    let usage = all.iter().map(|volume| VolumeUsage {
        name: volume.spec.name.clone(),
        used_mib: volume.used.next_multiple_of(STEP_MIB),
        limit_mib: volume.size(),
    });
    // The worst first.
    let worst = all.iter().filter(|volume| volume.failure().is_some()).max_by_key(|volume| volume.level);
    project.view.usage(usage.collect(), worst.and_then(Volume::failure));
    let over = all.iter().filter(|volume| volume.level == Level::Over && volume.is_data);
    let held: Stopped = over
        .filter_map(|volume| Some((volume, volume.failure()?)))
        .flat_map(|(volume, failure)| {
            volume.users.iter().map(move |plan| (plan.spec.name.clone(), failure.clone()))
        })
        .collect();
    stopped.send_if_modified(|now| {
        let changed = *now != held;
        *now = held;
        changed
    });
}

/// A cache over its limit is emptied while its services are stopped for a moment.
async fn clear_caches(project: &Project, all: &mut [Volume<'_>], stopped: &watch::Sender<Stopped>) {
    for volume in all.iter_mut().filter(|volume| !volume.is_data && volume.level >= Level::Full) {
        let words = format!(
            "cache {} holds {} MiB of {}; it is cleared",
            volume.spec.name,
            volume.used,
            volume.size()
        );
        tracing::warn!(project = &*project.project_ref, words, "a cache is full");
        let users: BTreeSet<String> = volume.users.iter().map(|plan| plan.spec.name.clone()).collect();
        stopped.send_modify(|now| {
            now.extend(users.iter().map(|user| (user.clone(), StepFailure::new("DISK_FULL", words.clone()))));
        });
        log(until_ended(project, &users).await, "cannot see whether services ended");
        log(volumes::clear(project, &volume.name).await, "cannot clear a cache");
        stopped.send_modify(|now| now.retain(|user, _| !users.contains(user)));
        volume.level = Level::Fine;
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

/// Written down before it is set, and forgotten after it is taken back: a crash leaves no database that stays read-only.
async fn set_read_only(project: &Project, volume: &Volume<'_>, read_only: bool) -> Result<(), StepFailure> {
    let Some(database) = volume.database() else { return Ok(()) };
    let Some(known) = volumes::known(project, &volume.name).await? else { return Ok(()) };
    if known.read_only == read_only {
        return Ok(());
    }
    if read_only {
        setting(project, database, "alter system set default_transaction_read_only = on").await?;
    } else {
        setting(project, database, "alter system reset default_transaction_read_only").await?;
    }
    volumes::update(project, &volume.name, move |known| known.read_only = read_only).await
}

/// By the program in the container, over its socket: superusers need no network.
async fn setting(project: &Project, database: &ServicePlan, statement: &str) -> Result<(), StepFailure> {
    let container = labels::container_name(&project.project_ref, &database.spec.name);
    let argv = [
        "psql",
        "-h",
        "/var/run/postgresql",
        "-U",
        "supabase_admin",
        "-d",
        "postgres",
        "-qAtX",
        "-v",
        "ON_ERROR_STOP=1",
        "-c",
        statement,
        "-c",
        "select pg_reload_conf()",
    ];
    let limit = project.shared.times.database_setting;
    let ended = project.engine().exec(&container, &argv, &[], LINES, limit).await?;
    if ended.exit_code == 0 {
        return Ok(());
    }
    Err(StepFailure::new(
        "ENGINE_ERROR",
        format!("psql ended with {}: {}", ended.exit_code, ended.lines.join("; ")),
    ))
}

fn log(result: Result<(), StepFailure>, what: &str) {
    if let Err(failure) = result {
        tracing::warn!(reason = failure.0.reason, message = failure.0.message, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_rise_at_once_and_fall_with_a_distance() {
        let at = |used, before| level(used, 1000, ceiling(0, 1000), before);
        assert_eq!(at(799, Level::Fine), Level::Fine);
        assert_eq!(at(800, Level::Fine), Level::Warned);
        assert_eq!(at(1000, Level::Warned), Level::Full);
        assert_eq!(at(960, Level::Full), Level::Full);
        assert_eq!(at(949, Level::Full), Level::Warned);
        assert_eq!(at(1200, Level::Full), Level::Over);
        assert_eq!(at(1000, Level::Over), Level::Over, "it stays stopped until it fits");
        assert_eq!(at(999, Level::Over), Level::Full);
        assert_eq!(level(u64::MAX, 0, 0, Level::Fine), Level::Fine, "no limit");
    }

    #[test]
    fn a_start_gives_a_tenth_more_but_not_without_end() {
        assert_eq!(ceiling(500, 1000), 1200);
        assert_eq!(ceiling(1200, 1000), 1320);
        assert_eq!(ceiling(1480, 1000), 1500);
        assert_eq!(ceiling(9000, 1000), 1500);
        assert_eq!(level(1200, 1000, ceiling(1200, 1000), Level::Fine), Level::Full);
    }

    #[test]
    fn who_grows_fast_is_measured_often() {
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(15));
        let after = |grown, left| pause(grown, most, left, least, most);
        assert_eq!(after(0, 10), most);
        assert_eq!(after(150, 200), Duration::from_secs(10));
        assert_eq!(after(1500, 200), least);
        assert_eq!(after(u64::MAX, 0), least);
        assert_eq!(after(1, u64::MAX), most);
    }
}
