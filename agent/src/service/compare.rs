//! Compares what the agent believes of its projects with what is on the host. In: records, states and a listing. Out: what
//! differs. No I/O.
//!
//! Only projects at rest are compared: those that are healthy, stopped or gone. Of the others the agent says itself that they are
//! not yet as they should be.

use std::collections::{BTreeMap, BTreeSet};

use supalove_proto::node::v1::{HostDifference, ObservedStack, StackPhase};

use crate::docker::labels;
use crate::state::Record;

/// Maximum number of differences in one answer.
const KEPT: usize = 1000;

/// What the host has.
#[derive(Debug)]
pub(super) struct Host {
    /// Containers of each project: name, and whether it runs.
    pub containers: BTreeMap<String, BTreeMap<String, bool>>,
    /// Networks of each project.
    pub networks: BTreeMap<String, BTreeSet<String>>,
    /// Volumes of each project: those of the engine, and folders.
    pub volumes: BTreeMap<String, BTreeSet<String>>,
    /// Projects that have a chain in the packet rules, or why they could not be listed.
    pub ruled: Result<BTreeSet<String>, String>,
    /// False if somebody has changed the packet rules since the agent loaded them.
    pub rules_intact: bool,
    /// Projects that have a folder of configuration.
    pub folders: BTreeSet<String>,
    /// Projects that have a record on disk.
    pub records: BTreeSet<String>,
}

/// What the agent believes.
#[derive(Debug, Default)]
pub(super) struct Believed<'a> {
    pub records: Vec<&'a Record>,
    pub states: Vec<&'a ObservedStack>,
    /// Volumes that the agent knows of each project, as written down.
    pub volumes: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Default)]
struct Found(Vec<HostDifference>);

impl Found {
    fn note(&mut self, check: &str, project: &str, expected: String, found: String) {
        if expected != found && self.0.len() < KEPT {
            self.0.push(HostDifference {
                check: check.to_owned(),
                project_ref: project.to_owned(),
                expected,
                found,
            });
        }
    }
}

/// What differs, by project.
pub(super) fn differences(believed: &Believed<'_>, host: &Host) -> Vec<HostDifference> {
    let mut found = Found::default();
    match &host.ruled {
        Err(why) => found.note("packet_rules", "", "the rules of this node".into(), why.clone()),
        Ok(_) if !host.rules_intact => {
            found.note("packet_rules", "", "the rules that the agent loaded".into(), "others".into());
        }
        Ok(_) => {}
    }
    let mut known = BTreeSet::new();
    for record in &believed.records {
        known.insert(record.project_ref.as_str());
        let state = believed
            .states
            .iter()
            .find(|state| state.project_ref == record.project_ref && state.generation == record.generation());
        match state.map(|state| state.phase()) {
            Some(StackPhase::Healthy) if record.is_running() => running(&mut found, record, believed, host),
            Some(StackPhase::Stopped) if record.removal.is_none() => {
                nothing_runs(&mut found, &record.project_ref, host);
                volumes(&mut found, &record.project_ref, believed, host);
            }
            _ => {}
        }
        if !host.records.contains(&record.project_ref) {
            found.note("files", &record.project_ref, "its record on disk".into(), "none".into());
        }
    }
    for project in everything(host).into_iter().filter(|project| !known.contains(project)) {
        remains(&mut found, project, believed, host);
    }
    found.0
}

fn running(found: &mut Found, record: &Record, believed: &Believed<'_>, host: &Host) {
    let project = record.project_ref.as_str();
    let services = record.spec().map(|spec| spec.services.as_slice()).unwrap_or_default();
    let wanted: BTreeMap<String, bool> =
        services.iter().map(|service| (labels::container_name(project, &service.name), true)).collect();
    let there = host.containers.get(project).cloned().unwrap_or_default();
    found.note("containers", project, containers(&wanted), containers(&there));
    let network = BTreeSet::from([labels::network_name(project)]);
    let networks = host.networks.get(project).cloned().unwrap_or_default();
    found.note("networks", project, listed(&network), listed(&networks));
    ruled(found, project, true, host);
    volumes(found, project, believed, host);
}

fn nothing_runs(found: &mut Found, project: &str, host: &Host) {
    let there = host.containers.get(project).cloned().unwrap_or_default();
    found.note("containers", project, containers(&BTreeMap::new()), containers(&there));
    let networks = host.networks.get(project).cloned().unwrap_or_default();
    found.note("networks", project, listed(&BTreeSet::new()), listed(&networks));
    ruled(found, project, false, host);
}

fn ruled(found: &mut Found, project: &str, wanted: bool, host: &Host) {
    let Ok(ruled) = &host.ruled else { return };
    let told = |has: bool| if has { "a chain of the project" } else { "no chain of the project" }.to_owned();
    found.note("packet_rules", project, told(wanted), told(ruled.contains(project)));
}

/// Volumes that the agent knows are there. Others may be, too: what was put aside, or what an older release had.
fn volumes(found: &mut Found, project: &str, believed: &Believed<'_>, host: &Host) {
    let known = believed.volumes.get(project).cloned().unwrap_or_default();
    let there = host.volumes.get(project).cloned().unwrap_or_default();
    let missing: BTreeSet<String> = known.difference(&there).cloned().collect();
    if !missing.is_empty() {
        found.note("volumes", project, listed(&known), format!("all but {}", listed(&missing)));
    }
}

/// A project without a record that can be read, and so without an owner here.
fn remains(found: &mut Found, project: &str, believed: &Believed<'_>, host: &Host) {
    nothing_runs(found, project, host);
    // A project that was removed without its volumes leaves them known.
    let kept = believed.volumes.get(project).cloned().unwrap_or_default();
    let there = host.volumes.get(project).cloned().unwrap_or_default();
    let unknown: BTreeSet<String> = there.difference(&kept).cloned().collect();
    found.note("volumes", project, listed(&BTreeSet::new()), listed(&unknown));
    if host.folders.contains(project) {
        found.note("files", project, "no folder of configuration".into(), "one".into());
    }
    if host.records.contains(project) {
        found.note(
            "files",
            project,
            "no record on disk".into(),
            "one that the agent does not work on".into(),
        );
    }
}

fn everything(host: &Host) -> BTreeSet<&str> {
    let ruled = host.ruled.iter().flatten();
    let labelled = host.containers.keys().chain(host.networks.keys()).chain(host.volumes.keys());
    let files = host.folders.iter().chain(&host.records);
    labelled.chain(ruled).chain(files).map(String::as_str).collect()
}

fn containers(all: &BTreeMap<String, bool>) -> String {
    let told =
        |(name, runs): (&String, &bool)| if *runs { name.clone() } else { format!("{name} (not running)") };
    listed(&all.iter().map(told).collect())
}

fn listed(names: &BTreeSet<String>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().cloned().collect::<Vec<_>>().join(" ") }
}

#[cfg(test)]
mod tests {
    use supalove_proto::node::v1::{ApplyStackRequest, RunState, ServiceSpec, StackSpec};

    use super::*;

    const UP: &str = "abcdefghijklmnopqrst";
    const DOWN: &str = "bcdefghijklmnopqrstu";
    const GONE: &str = "cdefghijklmnopqrstuv";

    fn record(project: &str, run_state: RunState) -> Record {
        let services = ["postgres", "gateway"]
            .map(|name| ServiceSpec { name: name.into(), ..ServiceSpec::default() })
            .to_vec();
        Record::applied(ApplyStackRequest {
            project_ref: project.into(),
            generation: 3,
            run_state: run_state.into(),
            spec: Some(StackSpec { services, ..StackSpec::default() }),
            ..ApplyStackRequest::default()
        })
    }

    fn state(project: &str, phase: StackPhase) -> ObservedStack {
        ObservedStack {
            project_ref: project.into(),
            generation: 3,
            phase: phase.into(),
            ..ObservedStack::default()
        }
    }

    fn volume(project: &str) -> String {
        labels::volume_name(project, "db_data")
    }

    /// A host with a project that runs and a stopped one, as it should be.
    fn whole() -> Host {
        let container = |name| (labels::container_name(UP, name), true);
        let volumes = [UP, DOWN].map(|project| (project.to_owned(), BTreeSet::from([volume(project)])));
        Host {
            containers: [(UP.to_owned(), BTreeMap::from(["postgres", "gateway"].map(container)))].into(),
            networks: [(UP.to_owned(), [labels::network_name(UP)].into())].into(),
            volumes: volumes.into(),
            ruled: Ok([UP.to_owned()].into()),
            rules_intact: true,
            folders: [UP, DOWN].map(str::to_owned).into(),
            records: [UP, DOWN].map(str::to_owned).into(),
        }
    }

    /// What is found after a change of the host, as "check project".
    fn found(phase: StackPhase, change: impl FnOnce(&mut Host)) -> Vec<String> {
        let records = [record(UP, RunState::Running), record(DOWN, RunState::Stopped)];
        let states = [state(UP, phase), state(DOWN, StackPhase::Stopped)];
        let known = [UP, DOWN].map(|project| (project.to_owned(), BTreeSet::from([volume(project)])));
        let believed = Believed {
            records: records.iter().collect(),
            states: states.iter().collect(),
            volumes: known.into(),
        };
        let mut host = whole();
        change(&mut host);
        let told = |one: HostDifference| {
            assert_ne!(one.expected, one.found);
            format!("{} {}", one.check, one.project_ref)
        };
        differences(&believed, &host).into_iter().map(told).collect()
    }

    type Change = fn(&mut Host);

    #[test]
    fn each_change_behind_the_agents_back_is_found_and_nothing_else() {
        assert_eq!(found(StackPhase::Healthy, |_| {}), [""; 0]);
        let stray = |host: &mut Host, project: &str| {
            host.networks.entry(project.into()).or_default().insert("stray".into());
        };
        let changes: [(&str, Change); 11] = [
            ("containers abcdefghijklmnopqrst", |host| {
                host.containers.get_mut(UP).unwrap().pop_first();
            }),
            ("containers abcdefghijklmnopqrst", |host| {
                *host.containers.get_mut(UP).unwrap().first_entry().unwrap().get_mut() = false;
            }),
            ("containers bcdefghijklmnopqrstu", |host| {
                host.containers.insert(DOWN.into(), [("x".into(), true)].into());
            }),
            ("networks abcdefghijklmnopqrst", |host| drop(host.networks.remove(UP))),
            ("packet_rules abcdefghijklmnopqrst", |host| host.ruled = Ok(BTreeSet::new())),
            ("packet_rules bcdefghijklmnopqrstu", |host| {
                host.ruled = Ok([UP, DOWN].map(str::to_owned).into());
            }),
            ("packet_rules ", |host| host.rules_intact = false),
            ("packet_rules ", |host| host.ruled = Err("nft failed".into())),
            ("volumes bcdefghijklmnopqrstu", |host| drop(host.volumes.remove(DOWN))),
            ("volumes cdefghijklmnopqrstuv", |host| {
                host.volumes.insert(GONE.into(), [volume(GONE)].into());
            }),
            ("files abcdefghijklmnopqrst", |host| {
                host.records.remove(UP);
            }),
        ];
        for (wanted, change) in changes {
            assert_eq!(found(StackPhase::Healthy, change), [wanted]);
        }
        for project in [UP, DOWN, GONE] {
            assert_eq!(
                found(StackPhase::Healthy, |host| stray(host, project)),
                [format!("networks {project}")]
            );
        }
        for change in [
            |host: &mut Host| {
                host.folders.insert(GONE.into());
            },
            |host| {
                host.records.insert(GONE.into());
            },
        ] as [Change; 2]
        {
            assert_eq!(found(StackPhase::Healthy, change), [format!("files {GONE}")]);
        }
    }

    #[test]
    fn a_project_that_the_agent_repairs_is_not_compared() {
        for phase in [StackPhase::Unhealthy, StackPhase::Converging, StackPhase::Failed] {
            assert_eq!(found(phase, |host| host.containers.clear()), [""; 0]);
        }
    }
}
