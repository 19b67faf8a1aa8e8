//! Checks that must hold after an act, whichever process died in the middle of it.

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
    place_of(&format!("supalove_{project}_{}", release.volumes.last().unwrap()))
}

/// Where a volume's content lies.
fn place_of(volume: &str) -> PathBuf {
    docker(None, &["volume", "inspect", "--format", "{{or .Options.device .Mountpoint}}", volume]).into()
}

/// Makes a stopped project's volumes as agents before this one did: in the engine's folders, and unknown.
pub fn make_volumes_old(project: &str, release: &Release, state: &Path) {
    for name in release.volumes {
        let volume = format!("supalove_{project}_{name}");
        let content = place_of(&volume);
        let format = "{{range $name, $value := .Labels}}{{$name}}={{$value}} {{end}}";
        let labels = docker(None, &["volume", "inspect", "--format", format, &volume]);
        docker(None, &["volume", "rm", &volume]);
        let labels = labels.split_whitespace().flat_map(|label| ["--label", label]);
        docker(None, &[&["volume", "create"][..], &labels.collect::<Vec<_>>(), &[&volume]].concat());
        let place = place_of(&volume);
        // Perhaps from one file system to another.
        let copied = Command::new("cp").arg("-a").arg(content.join(".")).arg(&place).status().unwrap();
        assert!(copied.success());
        fs::remove_dir_all(state.join("volumes").join(&volume)).unwrap();
    }
    fs::remove_file(state.join(format!("records/{project}.volumes"))).unwrap();
}

/// Takes away the folder of a volume that holds no data.
pub fn lose_first_volume(project: &str, release: &Release) {
    let content = place_of(&format!("supalove_{project}_{}", release.volumes[0]));
    fs::remove_dir_all(content.parent().unwrap().parent().unwrap()).unwrap();
}

/// Returns everything that is wrong. The slow checks come last.
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

/// Where the project is, and what it holds.
async fn outcome(pair: &Pair, expected: &Expected<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let found = pair.rows.standing(expected.project).await;
    let act = expected.act;
    let is_there = i64::from(act != Act::Remove);
    let runs = i64::from(act.runs());
    if found.projects != expected.projects {
        wrong.push(format!("there are {} projects", found.projects));
    }
    if (found.state.as_str(), found.operation.as_str()) != (act.state(), expected.operation) {
        wrong.push(format!("the project is {}, its operation {}", found.state, found.operation));
    }
    if (found.placements, found.with_compute, i64::from(found.kept > 0)) != (is_there, runs, is_there) {
        wrong.push(format!(
            "{} placements, {} with compute, {} secrets, specs and endpoints",
            found.placements, found.with_compute, found.kept
        ));
    }
    wrong
}

async fn conditions(pair: &Pair, expected: &Expected<'_>) -> Vec<String> {
    let broken = pair.rows.broken(expected.project, expected.acts).await;
    broken.into_iter().map(|what| format!("it does not hold that {what}")).collect()
}

fn on_the_engine(expected: &Expected<'_>) -> Vec<String> {
    let project = expected.project;
    let act = expected.act;
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
    let project = expected.project;
    let act = expected.act;
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

/// Lists everything below a directory; skips files that vanish meanwhile.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.flat_map(|path| [files(&path), vec![path]].concat()).collect()
}
