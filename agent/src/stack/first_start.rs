//! The first start of a database, and the one exception to "data goes only by tombstone" (architecture §4).
//!
//! In: marks in the database's own volume, and the labels that its volumes got when they were made. Out: whether the
//! first start is unfinished, and whether its remains may be thrown away; and new, empty volumes in their place. They
//! may go only if this node made every one of them, for this very generation, and no server was ever ready on them.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use supalove_failpoints::failpoint;

use super::context::{Project, blocking};
use super::failure::Failure;
use super::plan::ServicePlan;
use super::prepare;
use crate::docker::{MountPlan, VolumeFound, VolumeMaker};
use crate::fsio;

/// Where the volume with the marks is mounted in a database's container: it is no part of the data, which has to be
/// empty before a first start.
const MARKED: &str = "/etc/postgresql-custom";
/// Written by the image before it makes the cluster, and removed when the first start is done, before a server can be
/// reached (`deploy/images/postgres/first-start.sh`). An image without it never has its volumes thrown away.
const UNFINISHED: &str = "first-start-unfinished";
/// Written by the agent when the database first answers its probe; stays for ever.
const WAS_READY: &str = "supalove-was-ready";

/// A first start that did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// Nobody can have put anything into its volumes.
    Disposable,
    /// The volumes stay, and why.
    Kept(&'static str),
}

/// What is known of a database's volumes.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "four facts, each of which holds or not")]
struct Facts {
    unfinished: bool,
    was_ready: bool,
    made_here: bool,
    made_for_this_generation: bool,
}

fn decide(facts: Facts) -> Option<Unfinished> {
    if !facts.unfinished {
        None
    } else if facts.was_ready {
        Some(Unfinished::Kept("a server was ready on it before"))
    } else if !facts.made_here {
        Some(Unfinished::Kept("it was not made by this node"))
    } else if !facts.made_for_this_generation {
        Some(Unfinished::Kept("it was made for an earlier generation of the project"))
    } else {
        Some(Unfinished::Disposable)
    }
}

/// Looks at a database whose server does not run. None if no first start is unfinished.
pub async fn look(project: &Project, plan: &ServicePlan) -> Result<Option<Unfinished>, Failure> {
    let Some(marked) = marked_volume(plan) else { return Ok(None) };
    let mut found = Vec::new();
    for name in volumes(plan) {
        let Some(volume) = project.engine().volume(name).await? else { return Ok(None) };
        found.push((name, volume));
    }
    let Some(dir) = found.iter().find(|(name, _)| *name == marked).map(|(_, volume)| volume.dir.clone())
    else {
        return Ok(None);
    };
    let (unfinished, was_ready) =
        blocking(move || Ok((exists(&dir.join(UNFINISHED))?, exists(&dir.join(WAS_READY))?))).await?;
    let maker = maker(project, plan);
    let all = |holds: fn(&VolumeFound, &VolumeMaker) -> bool| found.iter().all(|(_, v)| holds(v, &maker));
    Ok(decide(Facts {
        unfinished,
        was_ready,
        made_here: all(|volume, maker| volume.node == maker.node),
        made_for_this_generation: all(|volume, maker| volume.generation == Some(maker.generation)),
    }))
}

/// Puts new, empty volumes and a new container in the place of those of an unfinished first start; answers the
/// container. Ask [`look`] before. Cut off at any point, it leaves what can be started over again, or is prepared anew.
pub async fn start_over(project: &Project, plan: &ServicePlan, container: &str) -> Result<String, Failure> {
    let (engine, id) = (project.engine().clone(), container.to_owned());
    // The mark goes last: data that is half made must never be found without it.
    let mut names: Vec<String> = volumes(plan).map(str::to_owned).collect();
    names.sort_by_key(|name| marked_volume(plan) == Some(name));
    let remove = async move {
        engine.remove(&id).await?;
        for name in names {
            engine.remove_volume(&name).await?;
        }
        Ok::<(), Failure>(())
    };
    project.making.uncut(remove).await?;
    failpoint!("agent.first_start.removed", &project.project_ref);
    for name in volumes(plan) {
        prepare::ensure_volume(project, name, plan.container.generation).await?;
    }
    failpoint!("agent.first_start.remade", &project.project_ref);
    Ok(prepare::create(project, plan).await?.id)
}

/// Writes down that a server was ready here: from now on nothing but a tombstone ends these volumes.
pub async fn mark_ready(project: &Project, plan: &ServicePlan) -> Result<(), Failure> {
    let Some(marked) = marked_volume(plan) else { return Ok(()) };
    let Some(volume) = project.engine().volume(marked).await? else { return Ok(()) };
    blocking(move || write_mark(&volume.dir.join(WAS_READY))).await?;
    failpoint!("agent.first_start.marked", &project.project_ref);
    Ok(())
}

fn maker(project: &Project, plan: &ServicePlan) -> VolumeMaker {
    VolumeMaker { node: project.shared.node.to_string(), generation: plan.container.generation }
}

fn volumes(plan: &ServicePlan) -> impl Iterator<Item = &str> {
    plan.container.mounts.iter().filter_map(|mount| match mount {
        MountPlan::Volume { name, .. } => Some(name.as_str()),
        MountPlan::Config { .. } => None,
    })
}

fn marked_volume(plan: &ServicePlan) -> Option<&str> {
    plan.container.mounts.iter().find_map(|mount| match mount {
        MountPlan::Volume { name, target, .. } if target == MARKED => Some(name.as_str()),
        _ => None,
    })
}

/// A link counts as what it is: what lies in a volume is the tenant's and is not followed.
fn exists(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// `create_new` follows no link.
fn write_mark(path: &PathBuf) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => file.sync_all().and_then(|()| fsio::sync_parent(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Facts =
        Facts { unfinished: true, was_ready: false, made_here: true, made_for_this_generation: true };

    #[test]
    fn only_an_unfinished_start_on_our_own_new_volumes_is_thrown_away() {
        assert_eq!(decide(OURS), Some(Unfinished::Disposable));
        assert_eq!(decide(Facts { unfinished: false, ..OURS }), None);
        for kept in [
            Facts { was_ready: true, ..OURS },
            Facts { made_here: false, ..OURS },
            Facts { made_for_this_generation: false, ..OURS },
        ] {
            assert!(matches!(decide(kept), Some(Unfinished::Kept(_))), "{kept:?}");
        }
    }

    #[test]
    fn a_mark_is_written_once_and_never_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (mark, outside) = (dir.path().join(WAS_READY), dir.path().join("outside"));
        std::os::unix::fs::symlink(&outside, &mark).unwrap();
        write_mark(&mark).unwrap();
        assert!(exists(&mark).unwrap() && !exists(&outside).unwrap());
        fs::remove_file(&mark).unwrap();
        write_mark(&mark).unwrap();
        write_mark(&mark).unwrap();
        assert!(fs::symlink_metadata(&mark).unwrap().is_file());
    }
}
