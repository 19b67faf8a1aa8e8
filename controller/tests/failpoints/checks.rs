//! What must be so after an act, whoever died in the middle of it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use supalove_system_tests::{docker, labelled};

use super::{
    acts::{Act, Release},
    pair::{Pair, containers},
};

/// A file in the project's volume.
const MARK: &str = "mark";

/// What an act leads to.
pub struct Expected<'a> {
    /// Ref.
    pub project: &'a str,
    /// What it consists of.
    pub release: &'a Release,
    /// The last act.
    pub act: Act,
    /// How its operation ended.
    pub operation: &'a str,
    /// Acts on the project, this one included.
    pub acts: i64,
    /// Projects ever made, the neighbour included.
    pub projects: i64,
}

/// Puts something into the project's volume that must stay there.
pub fn leave_mark(project: &str, release: &Release) {
    fs::write(marked_volume(project, release).join(MARK), project).unwrap();
}

fn marked_volume(project: &str, release: &Release) -> PathBuf {
    let volume = format!("supalove_{project}_{}", release.volumes.last().unwrap());
    docker(None, &["volume", "inspect", "--format", "{{.Mountpoint}}", &volume]).into()
}

/// All that is not as it should be; nothing is what one wants. What is slow to look at comes last.
pub async fn wrong(pair: &Pair, expected: &Expected<'_>) -> Vec<String> {
    let mut wrong = outcome(pair, expected).await;
    if wrong.is_empty() {
        wrong = conditions(pair, expected).await;
    }
    if wrong.is_empty() {
        wrong.extend(on_the_engine(expected));
        wrong.extend(at_the_agent(pair, expected));
    }
    wrong
}

/// What must hold of the project's rows; each query answers whether it does, given ref and number of acts.
const OF_THE_PROJECT: &[(&str, &str)] = &[
    (
        "each act is one operation, and none is open",
        "SELECT count(*) = $2 AND count(*) FILTER (WHERE ended_at IS NULL) = 0 FROM operations WHERE project_ref = $1",
    ),
    ("each act is one audit row", "SELECT count(*) = $2 FROM audit_log WHERE target = $1 AND outcome = 'OK'"),
    ("each act is remembered under its key", "SELECT count(*) = $2 FROM requests WHERE resource = $1"),
    (
        "each operation begins and ends with one event",
        "SELECT count(*) FILTER (WHERE type IN ('project.created', 'operation.started')) = $2
             AND count(*) FILTER (WHERE type IN ('operation.succeeded', 'operation.failed')) = $2
             AND count(DISTINCT operation_id) = $2
         FROM project_events WHERE project_ref = $1",
    ),
    (
        "events are numbered without gaps",
        "SELECT count(*) > $2 AND count(*) = max(e.seq) AND min(e.seq) = 1
             AND max(e.seq) = (SELECT event_seq FROM projects WHERE ref = $1)
         FROM project_events e WHERE project_ref = $1",
    ),
];

/// What must hold of all rows.
const OF_ALL: &[(&str, &str)] = &[
    (
        "quotas are the sum of projects",
        "SELECT bool_and(o.projects_used = (SELECT count(*) FROM projects p WHERE p.organization_id = o.id
             AND p.state <> 'REMOVED')) FROM organizations o",
    ),
    (
        "nodes are the sum of placements",
        "SELECT bool_and(
             (n.cpu_used, n.memory_used, n.disk_used, n.taken_slots) = (
                 SELECT coalesce(sum(p.cpu_millis) FILTER (WHERE l.holds_compute), 0),
                     coalesce(sum(p.memory_mib) FILTER (WHERE l.holds_compute), 0), coalesce(sum(p.disk_mib), 0),
                     coalesce(range_agg(int4range(l.slot, l.slot + 1)), '{}')
                 FROM placements l JOIN projects p ON p.ref = l.project_ref WHERE l.node_id = n.id)
             AND n.unexplained = '{}')
         FROM nodes n",
    ),
    (
        "agents have the newest generations",
        "SELECT bool_and(l.applied_generation = p.generation) IS NOT FALSE
         FROM placements l JOIN projects p ON p.ref = l.project_ref",
    ),
    (
        "the audit chain has no gap",
        "SELECT count(seq) = coalesce(max(seq), 0) AND count(DISTINCT seq) = count(seq) FROM audit_log",
    ),
];

/// Where the project is, and what it holds.
async fn outcome(pair: &Pair, expected: &Expected<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let (projects, state, operation, placed, holds, kept): (i64, String, String, i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM projects), p.state, (SELECT o.state FROM operations o WHERE o.project_ref = p.ref ORDER BY created_at DESC LIMIT 1),
             (SELECT count(*) FROM placements l WHERE l.project_ref = p.ref),
             (SELECT count(*) FROM placements l WHERE l.project_ref = p.ref AND l.holds_compute),
             (SELECT count(*) FROM project_secrets s WHERE s.project_ref = p.ref)
                 + (SELECT count(*) FROM project_specs s WHERE s.project_ref = p.ref)
                 + (SELECT count(*) FROM project_endpoints e WHERE e.project_ref = p.ref)
         FROM projects p WHERE p.ref = $1",
    )
    .bind(expected.project)
    .fetch_one(&pair.db)
    .await
    .unwrap();
    let act = expected.act;
    let (is_there, runs) = (i64::from(act != Act::Remove), i64::from(act.runs()));
    if projects != expected.projects {
        wrong.push(format!("there are {projects} projects"));
    }
    if (state.as_str(), operation.as_str()) != (act.state(), expected.operation) {
        wrong.push(format!("the project is {state}, its operation {operation}"));
    }
    if (placed, holds, i64::from(kept > 0)) != (is_there, runs, is_there) {
        wrong.push(format!("{placed} placements, {holds} with compute, {kept} secrets, specs and endpoints"));
    }
    wrong
}

async fn conditions(pair: &Pair, expected: &Expected<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut note = |what: &str, holds: Option<bool>| {
        if holds != Some(true) {
            wrong.push(format!("it does not hold that {what}"));
        }
    };
    for (what, query) in OF_THE_PROJECT {
        let query = sqlx::query_scalar(*query).bind(expected.project).bind(expected.acts);
        note(what, query.fetch_one(&pair.db).await.unwrap());
    }
    for (what, query) in OF_ALL {
        note(what, sqlx::query_scalar(*query).fetch_one(&pair.db).await.unwrap());
    }
    wrong
}

fn on_the_engine(expected: &Expected<'_>) -> Vec<String> {
    let (project, act) = (expected.project, expected.act);
    let named =
        |names: &[&str]| names.iter().map(|name| format!("supalove_{project}_{name}")).collect::<Vec<_>>();
    let mut wanted = BTreeSet::new();
    if act.runs() {
        wanted.extend(named(expected.release.services));
        wanted.insert(format!("project_{project}_net"));
    }
    if act != Act::Remove {
        wanted.extend(named(expected.release.volumes));
    }
    let mut wrong = Vec::new();
    let found = labelled(None, &format!("supalove.project={project}"));
    if found.len() != wanted.len() || found.iter().cloned().collect::<BTreeSet<_>>() != wanted {
        wrong.push(format!("on the engine are {found:?}"));
    }
    let filter = format!("label=supalove.project={project}");
    let running = docker(None, &["ps", "--quiet", "--filter", &filter]).lines().count();
    if running != containers(project).len() {
        wrong.push(format!("{running} containers run"));
    }
    let is_marked = act != Act::Create && act != Act::Remove;
    if is_marked {
        let mark = fs::read_to_string(marked_volume(project, expected.release).join(MARK));
        if mark.ok().as_deref() != Some(project) {
            wrong.push("the volume was emptied".to_owned());
        }
    }
    wrong
}

/// Its records, its files and its rules.
fn at_the_agent(pair: &Pair, expected: &Expected<'_>) -> Vec<String> {
    let (project, act) = (expected.project, expected.act);
    let mut wrong = Vec::new();
    let files = files(pair.fleet.agent.state.path());
    let of_project = files.iter().filter(|path| path.to_string_lossy().contains(project)).count();
    if (of_project > 0) != (act != Act::Remove) {
        wrong.push(format!("the agent has {of_project} files of it"));
    }
    let unfinished = files.iter().filter(|path| path.extension().is_some_and(|end| end == "tmp"));
    wrong.extend(unfinished.map(|path| format!("{} was left", path.display())));
    let output = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
    let ruled = String::from_utf8(output.stdout).unwrap().contains(project);
    if ruled != act.runs() {
        wrong.push(format!("in the packet rules: {ruled}"));
    }
    wrong
}

/// Everything below a directory. What goes while this looks is not there.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.flat_map(|path| [files(&path), vec![path]].concat()).collect()
}
