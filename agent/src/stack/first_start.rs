//! The first start of a database, and the one exception to "data goes only by tombstone" (architecture §4).
//!
//! In: marks in the database's own volume, and the labels that its volumes got when they were created. Out: whether the
//! first start is unfinished, and whether its volumes may be replaced by new, empty ones. That is allowed only if this node
//! created every one of them, for this very generation, and no server was ever ready on them.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use supalove_failpoints::failpoint;

use super::context::{Project, blocking};
use super::failure::StepFailure;
use super::plan::ServicePlan;
use super::prepare;
use super::volumes;
use supalove_proto::node::v1::VolumeSpec;

use super::volumes::Wanted;
use crate::docker::{MountPlan, VolumeFound, VolumeMaker, labels};
use crate::fsio;

/// Where the volume with the marks is mounted in a database's container: it is no part of the data, which has to be
/// empty before a first start.
const MARKED: &str = "/etc/postgresql-custom";
/// Path of the data in a database's container.
const DATA: &str = "/var/lib/postgresql/data";
/// Written by the image before it makes the cluster, and removed when the first start is done, before a server can be
/// reached (`deploy/images/postgres/first-start.sh`).
const UNFINISHED: &str = "first-start-unfinished";
/// The official image writes no such mark, and would serve half-made data at its second start. A release that
/// mounts this file promises that it is the last SQL of a first start and writes [`DONE`].
const LAST_SQL: &str = "/docker-entrypoint-initdb.d/migrations/99-zz-first-start-done.sql";
/// Written by [`LAST_SQL`], before a server can be reached.
const DONE: &str = "supalove-first-start-done";
/// Written by the agent when the database first answers its probe; never removed.
const WAS_READY: &str = "supalove-was-ready";

/// A first start that did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// Nobody can have stored anything in its volumes.
    Disposable,
    /// No server was ever ready on its volumes, but they must be kept, for this reason. They must not be served.
    NotOurs(&'static str),
    /// A server was ready on its volumes: the image decides whether they can be served.
    WasReady,
}

/// What is known of a database's volumes.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "five facts, each of which holds or not")]
struct Facts {
    /// The image says that the first start is not done.
    marked: bool,
    /// There is data, but the mark that the release promises at the end of a first start is missing.
    undone: bool,
    was_ready: bool,
    made_here: bool,
    made_for_this_generation: bool,
}

fn decide(facts: Facts) -> Option<Unfinished> {
    if facts.was_ready {
        facts.marked.then_some(Unfinished::WasReady)
    } else if !facts.marked && !facts.undone {
        None
    } else if !facts.made_here {
        Some(Unfinished::NotOurs("this node did not create it"))
    } else if !facts.made_for_this_generation {
        Some(Unfinished::NotOurs("it was created for an earlier generation of the project"))
    } else {
        Some(Unfinished::Disposable)
    }
}

/// Inspects the volumes of a database whose server does not run. None if no first start is unfinished.
pub async fn inspect(project: &Project, plan: &ServicePlan) -> Result<Option<Unfinished>, StepFailure> {
    let Some(marked) = marked_volume(plan) else { return Ok(None) };
    let mut found = Vec::new();
    for name in volumes::mounted(plan) {
        let Some(volume) = project.engine().volume(&project.project_ref, name).await? else {
            return Ok(None);
        };
        found.push((name, volume));
    }
    let Some(dir) = found.iter().find(|(name, _)| *name == marked).map(|(_, volume)| volume.dir.clone())
    else {
        return Ok(None);
    };
    let data = if promises_mark(plan) { data_volume(plan, &found) } else { None };
    let (marked, undone, was_ready) = blocking(move || {
        let undone = match data {
            // Without access to the data there is no evidence.
            Some(data) => exists(&data)? && !fsio::is_empty_dir(&data)? && !exists(&dir.join(DONE))?,
            None => false,
        };
        Ok((exists(&dir.join(UNFINISHED))?, undone, exists(&dir.join(WAS_READY))?))
    })
    .await?;
    let maker = maker(project, plan);
    let all = |holds: fn(&VolumeFound, &VolumeMaker) -> bool| found.iter().all(|(_, v)| holds(v, &maker));
    Ok(decide(Facts {
        marked,
        undone,
        was_ready,
        made_here: all(|volume, maker| volume.node == maker.node),
        made_for_this_generation: all(|volume, maker| volume.generation == Some(maker.generation)),
    }))
}

/// Replaces the volumes and the container of an unfinished first start by new, empty ones; returns the new container.
/// Call [`inspect`] before. After a crash at any point the agent starts over again, or prepares the project again.
pub async fn start_over(
    project: &Project,
    plan: &ServicePlan,
    specs: &[VolumeSpec],
    container: &str,
) -> Result<String, StepFailure> {
    let this = project.clone();
    let id = container.to_owned();
    // The volume with the mark goes last: half-made data must never be found without the mark.
    let mut names: Vec<String> = volumes::mounted(plan).map(str::to_owned).collect();
    names.sort_by_key(|name| marked_volume(plan) == Some(name));
    let remove = async move {
        this.engine().remove(&id).await?;
        for name in names {
            volumes::delete(&this, &name).await?;
        }
        Ok::<(), StepFailure>(())
    };
    project.in_flight.run_to_completion(remove).await?;
    failpoint!("agent.first_start.removed", &project.project_ref);
    for spec in specs {
        let name = labels::volume_name(&project.project_ref, &spec.name);
        if volumes::mounted(plan).any(|mounted| mounted == name) {
            let wanted =
                Wanted { spec, generation: plan.container.generation, may_be_new: false, free: true };
            volumes::ensure(project, &wanted, std::slice::from_ref(plan)).await?;
        }
    }
    failpoint!("agent.first_start.remade", &project.project_ref);
    Ok(prepare::create(project, plan).await?.id)
}

/// Records that a server was ready on these volumes: from now on only a tombstone deletes them.
pub async fn mark_ready(project: &Project, plan: &ServicePlan) -> Result<(), StepFailure> {
    let Some(marked) = marked_volume(plan) else { return Ok(()) };
    let Some(volume) = project.engine().volume(&project.project_ref, marked).await? else { return Ok(()) };
    blocking(move || write_mark(&volume.dir.join(WAS_READY))).await?;
    failpoint!("agent.first_start.marked", &project.project_ref);
    Ok(())
}

/// The data volume of this name is made anew: marks that tell of the lost one's start must not speak for it.
pub async fn forget(project: &Project, plans: &[ServicePlan], lost: &str) -> Result<(), StepFailure> {
    let is_its_data = |mount: &MountPlan| matches!(mount, MountPlan::Volume { name, target, .. } if target == DATA && name == lost);
    let Some(plan) = plans.iter().find(|plan| plan.container.mounts.iter().any(is_its_data)) else {
        return Ok(());
    };
    let Some(marked) = marked_volume(plan) else { return Ok(()) };
    let Some(volume) = project.engine().volume(&project.project_ref, marked).await? else { return Ok(()) };
    blocking(move || {
        [UNFINISHED, DONE, WAS_READY].iter().try_for_each(|mark| fsio::remove(&volume.dir.join(mark)))
    })
    .await
    .map_err(Into::into)
}

fn maker(project: &Project, plan: &ServicePlan) -> VolumeMaker {
    VolumeMaker { node: project.shared.node.to_string(), generation: plan.container.generation }
}

fn marked_volume(plan: &ServicePlan) -> Option<&str> {
    plan.container.mounts.iter().find_map(|mount| match mount {
        MountPlan::Volume { name, target, .. } if target == MARKED => Some(name.as_str()),
        _ => None,
    })
}

fn promises_mark(plan: &ServicePlan) -> bool {
    let is_promise =
        |mount: &MountPlan| matches!(mount, MountPlan::Config { target, .. } if target == LAST_SQL);
    plan.container.mounts.iter().any(is_promise)
}

fn data_volume(plan: &ServicePlan, found: &[(&str, VolumeFound)]) -> Option<PathBuf> {
    let name = data_name(plan)?;
    found.iter().find(|(found, _)| *found == name).map(|(_, volume)| volume.dir.clone())
}

/// Full name of the volume with a database's data.
pub fn data_name(plan: &ServicePlan) -> Option<&str> {
    plan.container.mounts.iter().find_map(|mount| match mount {
        MountPlan::Volume { name, target, .. } if target == DATA => Some(name.as_str()),
        _ => None,
    })
}

/// Does not follow links: a volume's content is the tenant's.
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

    const OURS: Facts = Facts {
        marked: true,
        undone: false,
        was_ready: false,
        made_here: true,
        made_for_this_generation: true,
    };

    #[test]
    fn only_an_unfinished_start_on_our_own_new_volumes_is_thrown_away() {
        let nothing = Facts { marked: false, ..OURS };
        assert_eq!(decide(nothing), None);
        for unfinished in [OURS, Facts { undone: true, ..nothing }, Facts { undone: true, ..OURS }] {
            assert_eq!(decide(unfinished), Some(Unfinished::Disposable));
            for kept in [
                Facts { made_here: false, ..unfinished },
                Facts { made_for_this_generation: false, ..unfinished },
            ] {
                assert!(matches!(decide(kept), Some(Unfinished::NotOurs(_))), "{kept:?}");
            }
        }
    }

    #[test]
    fn what_was_ready_is_never_thrown_away() {
        for undone in [true, false] {
            let ready = Facts { was_ready: true, undone, ..OURS };
            assert_eq!(decide(ready), Some(Unfinished::WasReady));
            assert_eq!(decide(Facts { marked: false, ..ready }), None);
        }
    }

    #[test]
    fn a_mark_is_written_once_and_never_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join(WAS_READY);
        let outside = dir.path().join("outside");
        std::os::unix::fs::symlink(&outside, &mark).unwrap();
        write_mark(&mark).unwrap();
        assert!(exists(&mark).unwrap() && !exists(&outside).unwrap());
        fs::remove_file(&mark).unwrap();
        write_mark(&mark).unwrap();
        write_mark(&mark).unwrap();
        assert!(fs::symlink_metadata(&mark).unwrap().is_file());
    }
}
