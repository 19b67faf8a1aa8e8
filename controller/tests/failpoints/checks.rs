//! What must be so after an act, whoever died in the middle of it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    acts::{Act, Release},
    pair::{Pair, containers},
    support::{docker, labelled},
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

/// All that is not as it should be; nothing is what one wants.
pub async fn wrong(pair: &Pair, expected: &Expected<'_>) -> Vec<String> {
    let mut wrong = rows(pair, expected).await;
    // The rest is slow to look at, and comes after.
    if wrong.is_empty() {
        wrong.extend(on_the_engine(expected));
        wrong.extend(at_the_agent(pair, expected));
    }
    wrong
}

/// Conditions on the control database; each is a query that answers whether it holds, given ref and number.
const CONDITIONS: &[(&str, &str)] = &[
    ("projects are made once", "SELECT (SELECT count(*) FROM projects) = $2 AND $1 <> ''"),
    (
        "each act is one operation, and none is open",
        "SELECT count(*) = $2 AND count(*) FILTER (WHERE ended_at IS NULL) = 0 FROM operations WHERE project_ref = $1",
    ),
    (
        "each act is one audit row",
        "SELECT count(*) = $2 FROM audit_log WHERE target = $1 AND outcome = 'OK'",
    ),
    (
        "each act is remembered under its key",
        "SELECT count(*) = $2 FROM requests WHERE resource = $1",
    ),
    (
        "each operation begins and ends with one event",
        "SELECT count(*) FILTER (WHERE type IN ('project.created', 'operation.started')) = $2
             AND count(*) FILTER (WHERE type IN ('operation.succeeded', 'operation.failed')) = $2
             AND count(DISTINCT operation_id) = $2
         FROM project_events WHERE project_ref = $1",
    ),
    (
        "events are numbered without gaps",
        "SELECT count(*) = max(e.seq) AND min(e.seq) = 1 AND max(e.seq) = (SELECT event_seq FROM projects WHERE ref = $1)
             AND $2 > 0 FROM project_events e WHERE project_ref = $1",
    ),
    (
        "the audit chain has no gap",
        "SELECT count(seq) = coalesce(max(seq), 0) AND count(DISTINCT seq) = count(seq) AND $1 <> '' AND $2 > 0 FROM audit_log",
    ),
    (
        "the agent has the newest generation",
        "SELECT bool_and(l.applied_generation = p.generation) IS NOT FALSE AND $2 > 0
         FROM placements l JOIN projects p ON p.ref = l.project_ref WHERE $1 <> ''",
    ),
    (
        "quotas are the sum of projects",
        "SELECT bool_and(o.projects_used = (SELECT count(*) FROM projects p WHERE p.organization_id = o.id
             AND p.state <> 'REMOVED')) AND $1 <> '' AND $2 > 0 FROM organizations o",
    ),
    (
        "nodes are the sum of placements",
        "SELECT bool_and(
             (n.cpu_used, n.memory_used, n.disk_used, n.taken_slots) = (
                 SELECT coalesce(sum(p.cpu_millis) FILTER (WHERE l.holds_compute), 0),
                     coalesce(sum(p.memory_mib) FILTER (WHERE l.holds_compute), 0), coalesce(sum(p.disk_mib), 0),
                     coalesce(range_agg(int4range(l.slot, l.slot + 1)), '{}')
                 FROM placements l JOIN projects p ON p.ref = l.project_ref WHERE l.node_id = n.id)
             AND n.unexplained = '{}') AND $1 <> '' AND $2 > 0
         FROM nodes n",
    ),
];

async fn rows(pair: &Pair, expected: &Expected<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let (state, operation, placed, holds, kept): (String, String, i64, i64, i64) = sqlx::query_as(
        "SELECT p.state, (SELECT o.state FROM operations o WHERE o.project_ref = p.ref ORDER BY created_at DESC LIMIT 1),
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
    if (state.as_str(), operation.as_str()) != (act.state(), expected.operation) {
        wrong.push(format!("the project is {state}, its operation {operation}"));
    }
    if (placed, holds, i64::from(kept > 0)) != (is_there, runs, is_there) {
        wrong.push(format!("{placed} placements, {holds} with compute, {kept} secrets, specs and endpoints"));
    }
    for (what, query) in CONDITIONS {
        let number = if what.starts_with("projects") { expected.projects } else { expected.acts };
        let query = sqlx::query_scalar::<_, Option<bool>>(*query).bind(expected.project).bind(number);
        if query.fetch_one(&pair.db).await.unwrap() != Some(true) {
            wrong.push(format!("it does not hold that {what}"));
        }
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
