//! Turns an agent's records into what was used between them. In: what was counted last, a batch, where projects are placed.
//! Out: amounts by project and minute, and what was refused. No I/O.
//!
//! A record has counters of each run of a container, which only grow while the run lasts. What was used since the record before
//! is the difference; a run that is seen for the first time has used all that its counters say. So a batch that comes again
//! counts nothing, and a record that is missing loses no more than the end of the runs that only it would have shown.
//!
//! A node is not trusted: it may report on the projects that are placed on it only, and all its projects together cannot use
//! more than its host has in the time that has really passed, since it is a node and since each project exists. What is over that
//! is held back for the next record; what cannot be made up for within a minute is refused.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use supalove_core::ids::{OrganizationId, ProjectRef};
use supalove_proto::node::v1::{ContainerUsage, StreamUsageResponse, UsageRecord, VolumeBytes};
use supalove_spec::{limits::VOLUMES, names::is_database_volume};

use crate::amounts::{Amounts, Volumes};

/// Records of a batch, projects of a record, and runs of containers of a node that are looked at.
pub const RECORDS: usize = 512;
const PROJECTS: usize = 4096;
const RUNS: usize = 8192;
/// Records in a row without a run after which it counts as ended for good.
const MISSED: u16 = 240;
/// Age of a record from which it is passed over: the minutes of its hour may be deleted before they are summed. The counters of
/// the next record hold what it held.
pub const TOO_OLD: TimeDelta = TimeDelta::hours(47);
/// Longest time for which one record says how much memory was in use: nobody looked meanwhile.
const LONGEST_COVERED: TimeDelta = TimeDelta::minutes(5);
/// Excess for which a record is not yet refused, in milliseconds of the whole host: samples are not all taken at one moment.
const TOLERANCE_MS: u64 = 60_000;
/// Most bytes that a host receives and sends, and reads and writes, in a millisecond: 100 and 160 Gbit/s.
const NETWORK_BYTES_MS: u64 = 12_500_000;
const BLOCK_BYTES_MS: u64 = 20_000_000;
/// So much is believed of any host, whatever its Hello says: microseconds of processors in a millisecond, and bytes of memory and
/// disks. Sums over two years of it fit into a `bigint`.
const MOST_CPU_US_MS: u64 = 100_000_000;
const MOST_MEMORY: u64 = 1 << 47;
const MOST_DISK: u64 = 1 << 60;

/// Counters of a run that were counted last. Short names: a node's row has hundreds of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counted {
    #[serde(rename = "c")]
    cpu_us: u64,
    #[serde(rename = "i")]
    received: u64,
    #[serde(rename = "o")]
    sent: u64,
    #[serde(rename = "r")]
    read: u64,
    #[serde(rename = "w")]
    written: u64,
    /// Records in a row that did not have the run.
    #[serde(rename = "m", default)]
    missed: u16,
}

/// By identity of the run.
pub type Counters = BTreeMap<u64, Counted>;

/// How far the records of a node are counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    pub spool: String,
    pub seq: i64,
    /// When the newest record was made; none before the first.
    pub at: Option<DateTime<Utc>>,
    pub counters: Counters,
    pub dropped: i64,
}

/// What the host of a node has, as it told in Hello.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    pub cpu_millis: u64,
    pub memory_mib: u64,
    pub disk_mib: u64,
    /// Since when it is a node: nothing that it reports is older.
    pub since: DateTime<Utc>,
}

/// Where a project of a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Placed on the node; it exists since then.
    Placed(OrganizationId, DateTime<Utc>),
    /// It was removed: its last records come after it.
    Removed,
}

/// What a batch says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// By project and minute.
    pub projects: BTreeMap<(ProjectRef, DateTime<Utc>), (OrganizationId, Amounts)>,
    /// Of the node, by minute.
    pub node: BTreeMap<DateTime<Utc>, Amounts>,
    /// Reports that were refused.
    pub refused: i64,
    /// Why the newest one was.
    pub refusal: String,
}

impl Taken {
    fn refuse(&mut self, why: String) {
        self.refused += 1;
        self.refusal = why;
    }
}

/// The projects that a batch names, as far as they can be refs.
pub fn named(batch: &StreamUsageResponse) -> BTreeSet<ProjectRef> {
    let records = batch.records.iter().take(RECORDS);
    records
        .flat_map(|record| record.projects.iter().take(PROJECTS))
        .filter_map(|project| project.project_ref.parse().ok())
        .collect()
}

/// 32 hex digits.
pub fn is_spool(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Counts a batch that arrived `now`. The spool's name must be one.
pub fn take(
    state: &mut State,
    batch: &StreamUsageResponse,
    standing: &BTreeMap<ProjectRef, Standing>,
    host: Host,
    now: DateTime<Utc>,
) -> Taken {
    let mut taken = Taken::default();
    // The database's clock was set back. Nothing would be believed until it is where it was.
    state.at = state.at.map(|at| at.min(now));
    if state.spool != batch.spool {
        state.spool.clone_from(&batch.spool);
        state.seq = 0;
    }
    state.dropped = amount(batch.dropped);
    for record in batch.records.iter().take(RECORDS) {
        let Ok(seq) = i64::try_from(record.seq) else {
            taken.refuse(format!("record {} has no possible number", record.seq));
            continue;
        };
        if seq <= state.seq {
            continue;
        }
        state.seq = seq;
        let age = i64::try_from(record.age_ms).ok().and_then(TimeDelta::try_milliseconds);
        if let Some(age) = age.filter(|age| *age <= TOO_OLD) {
            let at = (now - age).max(host.since.min(now));
            count(state, record, standing, host, at, &mut taken);
        }
    }
    taken
}

/// What all projects of the node together can have used in the time of a record.
#[derive(Debug, Clone, Copy)]
struct Budget {
    host: Host,
    cpu_us: u64,
    network: u64,
    block: u64,
    memory: u64,
    disk: u64,
}

impl Budget {
    fn new(host: Host, ms: u64) -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            host,
            // A thousandth of a core is a microsecond in a millisecond.
            cpu_us: ms.saturating_mul(Self::cores(host)),
            network: ms.saturating_mul(NETWORK_BYTES_MS),
            block: ms.saturating_mul(BLOCK_BYTES_MS),
            // Not of time. Twice, since an operator may offer less than there is.
            memory: host.memory_mib.saturating_mul(2 * MIB).min(MOST_MEMORY),
            disk: host.disk_mib.saturating_mul(2 * MIB).min(MOST_DISK),
        }
    }

    /// What is left for a project that exists for a part of that time only.
    fn within(&self, ms: u64) -> Self {
        let part = Self::new(self.host, ms);
        Self {
            cpu_us: self.cpu_us.min(part.cpu_us),
            network: self.network.min(part.network),
            block: self.block.min(part.block),
            ..*self
        }
    }

    /// Takes off what was spent of a part of it.
    fn spend(&mut self, part: &Self, left: &Self) {
        self.cpu_us -= part.cpu_us - left.cpu_us;
        self.network -= part.network - left.network;
        self.block -= part.block - left.block;
        self.memory -= part.memory - left.memory;
        self.disk -= part.disk - left.disk;
    }

    fn cores(host: Host) -> u64 {
        host.cpu_millis.saturating_mul(2).saturating_add(1000).min(MOST_CPU_US_MS)
    }
}

/// How long a record covers, and up to its longest.
fn passed(from: Option<DateTime<Utc>>, at: DateTime<Utc>) -> (u64, i64) {
    let passed = from.map_or(TimeDelta::zero(), |from| at - from).max(TimeDelta::zero());
    let ms = u64::try_from(passed.num_milliseconds()).unwrap_or(0);
    (ms, passed.min(LONGEST_COVERED).num_milliseconds())
}

fn count(
    state: &mut State,
    record: &UsageRecord,
    standing: &BTreeMap<ProjectRef, Standing>,
    host: Host,
    at: DateTime<Utc>,
    taken: &mut Taken,
) {
    // Time never runs backwards, whatever the node says; so no more of it is covered than has passed.
    let before = state.at;
    let at = before.map_or(at, |before| at.max(before));
    let (ms, covered_ms) = passed(before, at);
    let minute = |at: DateTime<Utc>| at.duration_trunc(TimeDelta::minutes(1)).unwrap_or(at);
    let mut budget = Budget::new(host, ms);
    let mut seen = BTreeSet::new();
    let mut told = BTreeSet::new();
    let mut all = Amounts { covered_ms, ..Amounts::default() };
    for project in record.projects.iter().take(PROJECTS) {
        let known = project.project_ref.parse::<ProjectRef>().ok().and_then(|found| {
            let standing = standing.get(&found).copied()?;
            Some((found, standing))
        });
        let Some((project_ref, standing)) = known else {
            taken.refuse("the node reports on a project that is not placed on it".to_owned());
            continue;
        };
        let Standing::Placed(organization, since) = standing else { continue };
        if !told.insert(project.project_ref.as_str()) {
            taken.refuse("a record of the node has the same project twice".to_owned());
            continue;
        }
        let (own_ms, own_covered_ms) = passed(before.map(|before| before.max(since)), at);
        let part = budget.within(own_ms);
        let mut left = part;
        let mut used = Amounts::default();
        for container in &project.containers {
            if state.counters.len() >= RUNS && !state.counters.contains_key(&container.run) {
                taken.refuse(format!("the node reports more than {RUNS} runs of containers"));
                break;
            }
            seen.insert(container.run);
            let first = before.is_none();
            let counted = state.counters.entry(container.run).or_default();
            let grown = grow(counted, container, &mut left, first, own_covered_ms, taken);
            used.add_beside(&grown);
        }
        if !project.containers.is_empty() {
            used.covered_ms = own_covered_ms;
        }
        used.volumes = volumes(&project.volumes, &mut left, taken);
        budget.spend(&part, &left);
        all.add_beside(&used);
        let entry = taken
            .projects
            .entry((project_ref, minute(at.max(since))))
            .or_insert((organization, Amounts::default()));
        entry.1.add(&used);
    }
    taken.node.entry(minute(at)).or_default().add(&all);
    state.at = Some(at);
    state.counters.retain(|run, counted| {
        counted.missed = if seen.contains(run) { 0 } else { counted.missed + 1 };
        counted.missed <= MISSED
    });
}

/// What a run has used since it was counted last. Of the `first` record of a node nobody knows over how long.
fn grow(
    counted: &mut Counted,
    now: &ContainerUsage,
    budget: &mut Budget,
    first: bool,
    covered_ms: i64,
    taken: &mut Taken,
) -> Amounts {
    let told = Counted {
        cpu_us: now.cpu_us,
        received: now.network_received_bytes,
        sent: now.network_sent_bytes,
        read: now.block_read_bytes,
        written: now.block_written_bytes,
        missed: 0,
    };
    if first {
        *counted = told;
        return Amounts::default();
    }
    let cores = Budget::cores(budget.host);
    let mut step = |before: &mut u64, now: u64, left: &mut u64, per_ms: u64, what: &str| {
        let (used, excess) = difference(before, now, left, per_ms.saturating_mul(TOLERANCE_MS));
        if excess {
            taken.refuse(format!("the node reports more {what} than a host like it can have"));
        }
        amount(used)
    };
    let cpu_us = step(&mut counted.cpu_us, told.cpu_us, &mut budget.cpu_us, cores, "processor time");
    let received_bytes =
        step(&mut counted.received, told.received, &mut budget.network, NETWORK_BYTES_MS, "network traffic");
    let sent_bytes =
        step(&mut counted.sent, told.sent, &mut budget.network, NETWORK_BYTES_MS, "network traffic");
    let read_bytes =
        step(&mut counted.read, told.read, &mut budget.block, BLOCK_BYTES_MS, "reads and writes of disks");
    let written_bytes = step(
        &mut counted.written,
        told.written,
        &mut budget.block,
        BLOCK_BYTES_MS,
        "reads and writes of disks",
    );
    let memory = now.memory_bytes.min(budget.memory);
    let memory_max = now.memory_max_bytes.min(budget.memory);
    if memory < now.memory_bytes {
        taken.refuse("the node reports more memory than a host like it can have".to_owned());
    }
    budget.memory -= memory;
    let seconds_1000 = u128::try_from(covered_ms).unwrap_or(0);
    let kib_seconds = u128::from(memory) * seconds_1000 / (1024 * 1000);
    Amounts {
        covered_ms: 0,
        cpu_us,
        memory_kib_seconds: i64::try_from(kib_seconds).unwrap_or(i64::MAX),
        memory_max_kib: amount(memory_max / 1024),
        received_bytes,
        sent_bytes,
        read_bytes,
        written_bytes,
        volumes: None,
    }
}

/// What a counter has grown by, as far as the budget reaches; the rest stays for the next record. True if so much is left that
/// it cannot be made up for: it is then given up.
fn difference(before: &mut u64, now: u64, left: &mut u64, tolerance: u64) -> (u64, bool) {
    // A counter that has fallen began anew, though its run has the same identity.
    let grown = now.checked_sub(*before).unwrap_or(now);
    let used = grown.min(*left);
    *left -= used;
    let rest = grown - used;
    let excess = rest > tolerance;
    *before = if excess { now } else { now - rest };
    (used, excess)
}

fn volumes(told: &[VolumeBytes], budget: &mut Budget, taken: &mut Taken) -> Option<Volumes> {
    if told.is_empty() {
        return None;
    }
    let mut all = Volumes::default();
    for volume in told.iter().take(VOLUMES) {
        let bytes = volume.bytes.min(budget.disk);
        if bytes < volume.bytes {
            taken.refuse("the node reports more on its disks than a host like it can have".to_owned());
        }
        budget.disk -= bytes;
        let sum = match volume.name.as_str() {
            name if is_database_volume(name) => &mut all.database,
            "storage" => &mut all.storage,
            _ => &mut all.other,
        };
        *sum = sum.saturating_add(amount(bytes));
    }
    Some(all)
}

fn amount(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;
    use supalove_proto::node::v1::ProjectUsage;

    use super::*;

    pub const SPOOL: &str = "0123456789abcdef0123456789abcdef";
    const MINUTE_MS: u64 = 60_000;

    pub fn host() -> Host {
        Host { cpu_millis: 4000, memory_mib: 8192, disk_mib: 100_000, since: DateTime::UNIX_EPOCH }
    }

    pub fn here() -> (ProjectRef, BTreeMap<ProjectRef, Standing>) {
        let project: ProjectRef = "abcdefghijklmnopqrst".parse().unwrap();
        let organization = OrganizationId::generate();
        (project.clone(), [(project, Standing::Placed(organization, DateTime::UNIX_EPOCH))].into())
    }

    pub fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).unwrap().duration_trunc(TimeDelta::hours(1)).unwrap()
    }

    pub fn container(run: u64, cpu_us: u64) -> ContainerUsage {
        ContainerUsage {
            run,
            cpu_us,
            network_received_bytes: cpu_us * 2,
            memory_bytes: 1 << 20,
            memory_max_bytes: 2 << 20,
            ..ContainerUsage::default()
        }
    }

    pub fn record(seq: u64, age_ms: u64, containers: &[ContainerUsage]) -> UsageRecord {
        let project = ProjectUsage {
            project_ref: here().0.to_string(),
            containers: containers.to_vec(),
            volumes: Vec::new(),
        };
        UsageRecord { seq, age_ms, projects: vec![project] }
    }

    pub fn batch(records: &[UsageRecord]) -> StreamUsageResponse {
        StreamUsageResponse { spool: SPOOL.into(), dropped: 0, records: records.to_vec() }
    }

    /// A node that has delivered an empty record at noon.
    fn begun() -> State {
        let mut state = State::default();
        take(&mut state, &batch(&[record(1, 0, &[])]), &here().1, host(), noon());
        state
    }

    fn cpu(taken: &Taken) -> i64 {
        taken.projects.values().map(|(_, used)| used.cpu_us).sum()
    }

    fn minutes(count: u64) -> TimeDelta {
        TimeDelta::milliseconds(i64::try_from(count * MINUTE_MS).unwrap())
    }

    #[test]
    fn what_is_used_is_the_difference_and_a_new_run_has_used_all_that_it_shows() {
        let (project, standing) = here();
        let mut state = begun();
        let first = batch(&[record(2, 0, &[container(7, 1_000_000)])]);
        let taken = take(&mut state, &first, &standing, host(), noon() + minutes(1));
        let (_, used) = taken.projects[&(project.clone(), noon() + minutes(1))];
        assert_eq!((used.cpu_us, used.received_bytes, used.covered_ms), (1_000_000, 2_000_000, 60_000));
        assert_eq!((used.memory_kib_seconds, used.memory_max_kib), (1024 * 60, 2048));
        assert_eq!(taken.node[&(noon() + minutes(1))].cpu_us, 1_000_000);
        assert_eq!(cpu(&take(&mut state, &first, &standing, host(), noon() + minutes(2))), 0, "sent again");
        let next = batch(&[record(3, 0, &[container(7, 1_500_000), container(8, 40)])]);
        assert_eq!(cpu(&take(&mut state, &next, &standing, host(), noon() + minutes(3))), 500_040);
        let reset = batch(&[record(4, 0, &[container(7, 10)])]);
        assert_eq!(cpu(&take(&mut state, &reset, &standing, host(), noon() + minutes(4))), 10);
        assert_eq!(state.counters.len(), 2, "a run may be missing for a while");
    }

    #[test]
    fn records_that_were_dropped_lose_only_their_time() {
        let mut state = begun();
        let (project, standing) = here();
        let late = batch(&[
            record(50, 3 * MINUTE_MS, &[container(7, 2_000_000)]),
            record(51, 0, &[container(7, 2_500_000)]),
        ]);
        let taken = take(&mut state, &late, &standing, host(), noon() + minutes(60));
        assert_eq!(taken.projects[&(project.clone(), noon() + minutes(57))].1.cpu_us, 2_000_000);
        assert_eq!(taken.projects[&(project, noon() + minutes(60))].1.cpu_us, 500_000);
        assert_eq!(taken.node[&(noon() + minutes(57))].covered_ms, 300_000, "nobody looked for an hour");
        // One that is too old to be summed: its counters are in the next.
        let ancient = batch(&[record(52, 48 * 60 * MINUTE_MS, &[container(7, 2_600_000)])]);
        let after = noon() + minutes(61);
        assert_eq!(cpu(&take(&mut state, &ancient, &standing, host(), after)), 0);
        let next = batch(&[record(53, 0, &[container(7, 2_700_000)])]);
        assert_eq!(cpu(&take(&mut state, &next, &standing, host(), after)), 200_000);
    }

    #[test]
    fn a_new_spool_counts_from_one_and_nothing_twice() {
        let mut state = begun();
        let standing = here().1;
        let first = batch(&[record(900, 0, &[container(7, 1_000_000)])]);
        take(&mut state, &first, &standing, host(), noon() + minutes(1));
        let mut other = batch(&[record(1, 0, &[container(7, 1_000_100)])]);
        other.spool = "f".repeat(32);
        assert_eq!(cpu(&take(&mut state, &other, &standing, host(), noon() + minutes(2))), 100);
        assert_eq!((state.seq, state.spool.as_str()), (1, other.spool.as_str()));
        assert!(is_spool(SPOOL) && !is_spool("") && !is_spool(&"G".repeat(32)));
    }

    #[test]
    fn the_first_record_of_a_node_counts_nothing() {
        let mut state = State::default();
        let standing = here().1;
        let first = batch(&[record(1, 0, &[container(7, 900_000_000)])]);
        assert_eq!(cpu(&take(&mut state, &first, &standing, host(), noon())), 0);
        let next = batch(&[record(2, 0, &[container(7, 900_000_005)])]);
        assert_eq!(cpu(&take(&mut state, &next, &standing, host(), noon() + minutes(1))), 5);
    }

    #[test]
    fn a_node_cannot_report_on_others_projects_or_more_than_its_host_has() {
        let mut state = begun();
        let mut foreign = record(2, 0, &[container(7, 5)]);
        foreign.projects[0].project_ref = "zzzzzzzzzzzzzzzzzzzz".into();
        let taken = take(&mut state, &batch(&[foreign]), &here().1, host(), noon() + minutes(1));
        assert!(taken.projects.is_empty() && taken.refused == 1, "{taken:?}");
        assert!(taken.refusal.contains("not placed"));
        let removed = BTreeMap::from([(here().0, Standing::Removed)]);
        let last = batch(&[record(3, 0, &[container(7, 5)])]);
        let taken = take(&mut state, &last, &removed, host(), noon() + minutes(1));
        assert!(taken.projects.is_empty() && taken.refused == 0, "the last records of a removed project");

        // 4 cores with overcommit: at most 9 cores are believed, so 540 s in a minute.
        let standing = here().1;
        let much = batch(&[record(4, 0, &[container(9, 800_000_000)])]);
        let taken = take(&mut state, &much, &standing, host(), noon() + minutes(2));
        assert_eq!((cpu(&taken), taken.refused), (540_000_000, 0), "the rest is held back");
        let idle = batch(&[record(5, 0, &[container(9, 800_000_000)])]);
        let taken = take(&mut state, &idle, &standing, host(), noon() + minutes(3));
        assert_eq!((cpu(&taken), taken.refused), (260_000_000, 0));
        let absurd = batch(&[record(6, 0, &[container(9, u64::MAX / 4)])]);
        let taken = take(&mut state, &absurd, &standing, host(), noon() + minutes(4));
        assert!(cpu(&taken) == 540_000_000 && taken.refusal.contains("more"), "{taken:?}");
        let again = batch(&[record(7, 0, &[container(9, u64::MAX / 4 + 7)])]);
        assert_eq!(cpu(&take(&mut state, &again, &standing, host(), noon() + minutes(5))), 7);
        // A flood of records in no time has used nothing.
        let flood: Vec<_> = (8..300).map(|seq| record(seq, 0, &[container(seq, 100_000_000)])).collect();
        let taken = take(&mut state, &batch(&flood), &standing, host(), noon() + minutes(5));
        assert_eq!(cpu(&taken), 0);
    }

    #[test]
    fn a_clock_that_runs_backwards_covers_no_time_twice() {
        let mut state = begun();
        let standing = here().1;
        let batches = [(2, 0), (3, 30 * MINUTE_MS), (4, 0)];
        let mut covered = 0;
        for (seq, age) in batches {
            let one = batch(&[record(seq, age, &[container(7, seq)])]);
            let taken = take(&mut state, &one, &standing, host(), noon() + minutes(seq));
            covered += taken.node.values().map(|used| used.covered_ms).sum::<i64>();
        }
        assert_eq!(covered, 4 * 60_000, "four minutes have passed");
    }

    #[test]
    fn nothing_is_used_before_a_node_or_a_project_exists() {
        let (project, standing) = here();
        let before = 40 * 60 * MINUTE_MS;
        // A host that joined a minute ago claims days.
        let host = Host { since: noon() - minutes(1), ..host() };
        let mut state = State::default();
        let claim = batch(&[record(1, before, &[]), record(2, 0, &[container(7, 20_000_000_000)])]);
        let taken = take(&mut state, &claim, &standing, host, noon());
        assert_eq!(cpu(&taken), 540_000_000, "nine cores for a minute");
        assert_eq!(taken.node.keys().min(), Some(&(noon() - minutes(1))));
        // A host that was silent for days charges them to a project of a minute ago.
        let new = Standing::Placed(OrganizationId::generate(), noon() - minutes(1));
        let standing = BTreeMap::from([(project.clone(), new)]);
        let mut state = State { at: Some(noon() - minutes(40 * 60)), ..State::default() };
        let claim = batch(&[
            record(1, before - MINUTE_MS, &[container(7, 20_000_000_000)]),
            record(2, 0, &[container(8, 20_000_000_000)]),
        ]);
        let taken = take(&mut state, &claim, &standing, self::host(), noon());
        assert_eq!((cpu(&taken), taken.refused), (540_000_000, 2));
        assert!(taken.projects.keys().all(|(_, minute)| *minute >= noon() - minutes(1)), "{taken:?}");
        let covered: i64 = taken.projects.values().map(|(_, used)| used.covered_ms).sum();
        assert_eq!(covered, 60_000);
    }

    #[test]
    fn a_clock_of_the_database_that_is_set_back_stops_nothing() {
        let mut state = begun();
        let standing = here().1;
        let taken = |state: &mut State, seq, cpu_us, at| {
            let taken =
                take(state, &batch(&[record(seq, 0, &[container(7, cpu_us)])]), &standing, host(), at);
            (cpu(&taken), taken.refused)
        };
        assert_eq!(taken(&mut state, 2, 60_000_000, noon() + minutes(60)), (60_000_000, 0));
        // An hour back: the first record after it covers no time, and the next one has what it used.
        assert_eq!(taken(&mut state, 3, 120_000_000, noon()), (0, 0));
        assert_eq!(taken(&mut state, 4, 180_000_000, noon() + minutes(1)), (120_000_000, 0));
        assert_eq!(state.at, Some(noon() + minutes(1)));
    }

    #[test]
    fn what_any_host_claims_to_have_fits_into_sums_of_two_years() {
        let all = u64::MAX;
        let host = Host { cpu_millis: all, memory_mib: all, disk_mib: all, ..host() };
        let two_years = u64::try_from(crate::span::Step::Day.kept().num_milliseconds()).unwrap();
        let budget = Budget::new(host, two_years);
        let most = u64::try_from(i64::MAX).unwrap();
        assert!(budget.cpu_us < most && budget.network < most && budget.block < most);
        assert!(budget.memory / 1024 * (two_years / 1000) < most && budget.disk < most);
        // All volumes of all projects share it.
        let mut taken = Taken::default();
        let volume = |name: &str| VolumeBytes { name: name.into(), bytes: u64::MAX };
        let mut budget = Budget::new(host, 0);
        let held = volumes(&[volume("db_data"), volume("storage")], &mut budget, &mut taken).unwrap();
        assert_eq!((held.database, held.storage, taken.refused), (1 << 60, 0, 2));
    }

    proptest! {
        /// However records are lost, repeated and delayed, what is counted is what the counters have grown by.
        #[test]
        fn what_is_counted_is_what_was_used(steps in prop::collection::vec((0u64..50_000_000, any::<bool>(), 0usize..3, any::<bool>()), 1..40)) {
            let standing = here().1;
            let mut state = begun();
            let (mut run, mut cpu_us, mut seen, mut counted) = (1, 0, 0, 0);
            let mut truth = 0;
            for (index, (used, arrives, repeats, restarts)) in steps.iter().enumerate() {
                if *restarts {
                    // What the run before used since its last record is lost with it.
                    truth -= i64::try_from(cpu_us - seen).unwrap();
                    (run, cpu_us, seen) = (run + 1, 0, 0);
                }
                cpu_us += used;
                truth += i64::try_from(*used).unwrap();
                let seq = index as u64 + 2;
                let now = noon() + minutes(seq);
                if *arrives {
                    seen = cpu_us;
                    let one = batch(&[record(seq, 0, &[container(run, cpu_us)])]);
                    for _ in 0..=*repeats {
                        counted += cpu(&take(&mut state, &one, &standing, host(), now));
                    }
                }
            }
            let last = batch(&[record(1000, 0, &[container(run, cpu_us)])]);
            counted += cpu(&take(&mut state, &last, &standing, host(), noon() + minutes(1000)));
            prop_assert_eq!(counted, truth);
        }
    }
}
