//! A project's volumes: each is a folder of the agent's, to which a volume of the engine is bound, so that nobody who
//! removes the engine's volume removes data. In: what the spec wants, what the agent knows (sealed, outside the volume),
//! and what lies there. Out: the project's own volumes, or the failure VOLUME_LOST: data is never replaced by emptiness.

mod moving;
mod records;
mod removal;

use std::path::{Path, PathBuf};

use supalove_failpoints::failpoint;
use supalove_proto::node::v1::{VolumeKind, VolumeSpec};
use supalove_spec::names::is_database_volume;

use super::context::{Project, blocking};
use super::disk;
use super::failure::{StepFailure, of_volume};
use super::first_start;
use super::folder::{self, Folder, Held};
use super::measure;
use super::plan::ServicePlan;
use crate::admission::is_database;
use crate::config::VolumeQuota;
use crate::docker::{MountPlan, VolumeFound, VolumeMaker, labels};
use crate::fsio;
use crate::state::KnownVolume;

use moving::{adopt_engines, go_on_moving, move_over};
pub(super) use records::{known, remember, update};
pub use removal::{delete, delete_everywhere, folders, list_folders};

/// The mark of a volume in a folder of the engine's, beside its data: it goes when the engine removes the volume.
const ENGINES_MARK: &str = "supalove-id";

/// A volume as the desired state wants it.
#[derive(Debug)]
pub struct Wanted<'a> {
    pub spec: &'a VolumeSpec,
    pub generation: u64,
    /// If it is lost, an empty one may take its place.
    pub may_be_new: bool,
    /// No container has it mounted.
    pub free: bool,
}

/// What [`ensure`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It was there.
    Kept,
    /// It is there for the first time, empty: a container that was made before does not fit it.
    New,
}

/// Whether the volumes of a service are there, right before it starts.
#[derive(Debug)]
pub enum Checked {
    Fine,
    /// One that never held anything is missing: the project must be prepared again.
    PrepareAgain,
    Lost(StepFailure),
}

/// Whether it holds a tenant's data.
pub fn is_data(spec: &VolumeSpec) -> bool {
    match spec.kind() {
        VolumeKind::Data => true,
        VolumeKind::Cache => false,
        VolumeKind::Unspecified => is_database_volume(&spec.name) || spec.name == "storage",
    }
}

/// Makes sure that the project's own volume of this name is there.
pub async fn ensure(
    project: &Project,
    wanted: &Wanted<'_>,
    plans: &[ServicePlan],
) -> Result<Ensured, StepFailure> {
    let name = labels::volume_name(&project.project_ref, &wanted.spec.name);
    let found = project.engine().volume(&project.project_ref, &name).await?;
    let ensured = match known(project, &name).await? {
        None => first_seen(project, wanted, name, found).await?,
        // A release decides anew what is data.
        Some(known) if known.is_data != is_data(wanted.spec) => {
            remember(project, KnownVolume { is_data: is_data(wanted.spec), ..known }).await?;
            return Box::pin(ensure(project, wanted, plans)).await;
        }
        Some(known) if known.moving => go_on_moving(project, wanted, plans, known).await?,
        Some(known) => known_one(project, wanted, plans, known, found).await?,
    };
    failpoint!("agent.volume.created", &project.project_ref);
    Ok(ensured)
}

/// What lies in the place of a volume of which nothing is known.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The engine has a volume that is bound to it.
    bound: bool,
    marked: bool,
    has_data: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It was never made, or not to its end.
    Never,
    Whole,
    /// It was made, and its data is gone.
    Lost,
}

impl Place {
    /// The mark is written after the data's folder, and the engine's volume is bound after the mark.
    fn seen(self) -> Seen {
        match self {
            Self { marked: true, has_data: true, .. } => Seen::Whole,
            Self { marked: true, has_data: false, .. } | Self { bound: true, .. } => Seen::Lost,
            _ => Seen::Never,
        }
    }
}

/// Nothing is known of it: it is new, or the agent's state is, or an older agent made it.
async fn first_seen(
    project: &Project,
    wanted: &Wanted<'_>,
    name: String,
    found: Option<VolumeFound>,
) -> Result<Ensured, StepFailure> {
    let folder = own_folder(project, &name);
    let bound = found.as_ref().is_some_and(|found| found.ours && found.bound);
    match found {
        Some(found) if found.ours && !found.bound => {
            let known = adopt_engines(project, wanted, &name, &found).await?;
            return move_over(project, wanted, known).await.map(|()| Ensured::Kept);
        }
        Some(found) if found.ours && found.dir != folder.data() => return Err(foreign(&name)),
        Some(found) if !found.ours => make_way(project, &name, &found).await?,
        _ => {}
    }
    let looked = folder.clone();
    let (mark, there, holds_something) = blocking(move || {
        let there = looked.has_data()?;
        Ok((looked.found_mark()?, there, there && !fsio::is_empty_dir(&looked.data())?))
    })
    .await?;
    let place = Place { bound, marked: mark.is_some(), has_data: there };
    let ensured = match place.seen() {
        Seen::Lost if is_data(wanted.spec) && !wanted.may_be_new => {
            // Somebody lost the agent's state, and the volume too.
            let folder = folder.path().to_string_lossy().into_owned();
            let id = mark.unwrap_or_else(new_id);
            return Err(lost(&KnownVolume { name, id, folder, ..KnownVolume::default() }, "is missing"));
        }
        Seen::Lost | Seen::Never => Ensured::New,
        Seen::Whole => Ensured::Kept,
    };
    let known = KnownVolume {
        name,
        id: mark.unwrap_or_else(new_id),
        folder: folder.path().to_string_lossy().into_owned(),
        generation: wanted.generation,
        node: project.shared.node.to_string(),
        is_data: is_data(wanted.spec),
        was_ready: holds_something,
        ..KnownVolume::default()
    };
    remember(project, known.clone()).await?;
    failpoint!("agent.volume.known", &project.project_ref);
    make(project, wanted, &known).await?;
    bind(project, &known).await?;
    Ok(ensured)
}

async fn known_one(
    project: &Project,
    wanted: &Wanted<'_>,
    plans: &[ServicePlan],
    known: KnownVolume,
    found: Option<VolumeFound>,
) -> Result<Ensured, StepFailure> {
    if let Held::Other(why) = look(&known, found.as_ref()).await? {
        return remake(project, wanted, plans, known, &why).await;
    }
    let Some(folder) = known.folder() else {
        return move_over(project, wanted, known).await.map(|()| Ensured::Kept);
    };
    let folder = Folder::new(folder);
    let limit = disk::image_mib(disk::hard_limit(wanted.spec.size_mib.into()));
    let data = folder.data();
    blocking(move || folder.grow(limit)).await.map_err(of_volume(&known.name))?;
    match found {
        Some(found) if found.ours && found.bound && found.dir == data => {}
        // Somebody made it by hand, or the engine did, after a prune.
        Some(found) => {
            make_way(project, &known.name, &found).await?;
            bind(project, &known).await?;
        }
        None => bind(project, &known).await?,
    }
    Ok(Ensured::Kept)
}

/// Looks before a service starts.
pub async fn check(project: &Project, plan: &ServicePlan) -> Result<Checked, StepFailure> {
    for name in mounted(plan) {
        let Some(known) = known(project, name).await? else { continue };
        let found = project.engine().volume(&project.project_ref, name).await?;
        if let Held::Other(why) = look(&known, found.as_ref()).await? {
            let kept = known.was_ready && known.is_data;
            return Ok(if kept { Checked::Lost(lost(&known, &why)) } else { Checked::PrepareAgain });
        }
    }
    Ok(Checked::Fine)
}

/// Remembers that a service was ready on its volumes: from now on they are its own, or none.
pub async fn mark_ready(project: &Project, plan: &ServicePlan) -> Result<(), StepFailure> {
    let names: Vec<String> = mounted(plan).map(str::to_owned).collect();
    let mut filled = None;
    if is_database(&plan.spec)
        && let Some(name) = first_start::data_name(plan)
        && let Some(found) = project.engine().volume(&project.project_ref, name).await?
        && blocking(move || Ok(!fsio::is_empty_dir(&found.dir)?)).await?
    {
        filled = Some(name.to_owned());
    }
    let shared = project.shared.clone();
    let project_ref = project.project_ref.clone();
    let change = move || {
        let marked = shared.store.change_volumes(&project_ref, |all| {
            for volume in all.volumes.iter_mut().filter(|volume| names.contains(&volume.name)) {
                volume.was_ready = true;
                volume.was_filled |= filled.as_ref() == Some(&volume.name);
            }
        });
        marked.map_err(std::io::Error::other)
    };
    Ok(blocking(change).await?)
}

/// Full names of what a service mounts.
pub fn mounted(plan: &ServicePlan) -> impl Iterator<Item = &str> {
    plan.container.mounts.iter().filter_map(|mount| match mount {
        MountPlan::Volume { name, .. } => Some(name.as_str()),
        MountPlan::Config { .. } => None,
    })
}

async fn look(known: &KnownVolume, found: Option<&VolumeFound>) -> Result<Held, StepFailure> {
    let id = known.id.clone();
    let filled = known.was_filled;
    if let Some(folder) = known.folder().map(Folder::new) {
        return blocking(move || {
            if folder.path().is_dir() {
                folder.holds(&id, filled)
            } else {
                Ok(Held::Other("is missing".to_owned()))
            }
        })
        .await
        .map_err(of_volume(&known.name));
    }
    match found {
        None => Ok(Held::Other("is missing".to_owned())),
        Some(found) if !found.ours || found.bound => Ok(Held::Other("is another volume".to_owned())),
        Some(found) => {
            let data = found.dir.clone();
            Ok(blocking(move || folder::held(&engines_mark(&data), &data, &id, filled)).await?)
        }
    }
}

/// An empty volume takes the place of one that is not there, if nothing can be lost by that or the loss is accepted.
async fn remake(
    project: &Project,
    wanted: &Wanted<'_>,
    plans: &[ServicePlan],
    known: KnownVolume,
    why: &str,
) -> Result<Ensured, StepFailure> {
    let kept = known.was_ready && known.is_data;
    // Once: a volume that is lost again within the same generation is a new loss.
    let accepted = wanted.may_be_new && known.remade_for != wanted.generation;
    if kept && !accepted {
        return Err(lost(&known, why));
    }
    if kept {
        tracing::warn!(
            project = &*project.project_ref,
            volume = known.name,
            why,
            "replacing a lost volume with an empty one"
        );
        first_start::forget(project, plans, &known.name).await?;
    }
    let folder = own_folder(project, &known.name);
    if !kept && known.folder().as_deref() == Some(folder.path()) {
        let unmarked = folder.clone();
        // The agent ended while it made it.
        if blocking(move || Ok(unmarked.path().is_dir() && unmarked.found_mark()?.is_none())).await? {
            make(project, wanted, &known).await?;
            bind(project, &known).await?;
            return Ok(Ensured::New);
        }
    }
    let old = known.id.chars().take(8).collect::<String>();
    let wrong = folder_of(project, &known);
    let new = KnownVolume {
        id: new_id(),
        folder: folder.path().to_string_lossy().into_owned(),
        generation: wanted.generation,
        node: project.shared.node.to_string(),
        remade_for: if kept { wanted.generation } else { known.remade_for },
        was_ready: false,
        was_filled: false,
        read_only: false,
        usage: None,
        moving: false,
        is_data: known.is_data,
        name: known.name,
    };
    remember(project, new.clone()).await?;
    failpoint!("agent.volume.forgotten", &project.project_ref);
    // What lies there is not this volume, and may be somebody's data.
    blocking(move || wrong.set_aside(&old)).await?;
    if let Some(found) = project.engine().volume(&project.project_ref, &new.name).await?
        && !(found.bound && found.ours)
    {
        make_way(project, &new.name, &found).await?;
    }
    make(project, wanted, &new).await?;
    bind(project, &new).await?;
    Ok(Ensured::New)
}

/// Removes a volume of the engine's that keeps the name from its owner, if that removes nothing.
async fn make_way(project: &Project, name: &str, found: &VolumeFound) -> Result<(), StepFailure> {
    let dir = found.dir.clone();
    let empty = found.bound || blocking(move || Ok(!dir.exists() || fsio::is_empty_dir(&dir)?)).await?;
    if !(found.bare || found.ours) || !empty {
        return Err(foreign(name));
    }
    Ok(project.engine().remove_volume(name).await?)
}

async fn make(project: &Project, wanted: &Wanted<'_>, known: &KnownVolume) -> Result<(), StepFailure> {
    let folder = folder_of(project, known);
    let id = known.id.clone();
    let limit = limit(project, wanted);
    let name = known.name.clone();
    let making = async move { blocking(move || folder.make(&id, limit)).await.map_err(of_volume(&name)) };
    project.in_flight.run_to_completion(making).await?;
    failpoint!("agent.volume.folder", &project.project_ref);
    Ok(())
}

async fn bind(project: &Project, known: &KnownVolume) -> Result<(), StepFailure> {
    let engine = project.engine().clone();
    let project_ref = project.project_ref.clone();
    let dir = folder_of(project, known).data();
    let name = known.name.clone();
    let maker = VolumeMaker { node: known.node.clone(), generation: known.generation };
    let binding = async move {
        engine.bind_volume(&project_ref, &name, &dir, maker).await?;
        let found = engine.volume(&project_ref, &name).await?;
        match found {
            Some(found) if found.ours && found.bound && found.dir == dir => Ok(()),
            _ => Err(foreign(&name)),
        }
    };
    project.in_flight.run_to_completion(binding).await
}

/// The size of its file system, where such are made.
fn limit(project: &Project, wanted: &Wanted<'_>) -> Option<u64> {
    let has_one = project.shared.host.volume_quota == VolumeQuota::Loop && wanted.spec.size_mib > 0;
    has_one.then(|| disk::image_mib(disk::hard_limit(wanted.spec.size_mib.into())))
}

/// How many MiB lie on a volume.
pub async fn used_mib(project: &Project, name: &str) -> Result<u64, StepFailure> {
    // Without the engine, so that a limit holds while that does not answer.
    let own = known(project, name).await?.filter(|known| !known.moving).and_then(|known| known.folder());
    let dir = match own {
        Some(folder) => Folder::new(folder).data(),
        None => match project.engine().volume(&project.project_ref, name).await? {
            Some(found) => found.dir,
            None => return Ok(0),
        },
    };
    blocking(move || measure::used_mib(&dir)).await.map_err(of_volume(name))
}

/// Lets a volume hold so many MiB, if it is a file system of its own.
pub async fn grow(project: &Project, name: &str, limit_mib: u64) -> Result<(), StepFailure> {
    let Some(known) = known(project, name).await? else { return Ok(()) };
    let folder = folder_of(project, &known);
    blocking(move || folder.grow(disk::image_mib(limit_mib))).await.map_err(of_volume(name))
}

/// Empties a cache.
pub async fn clear(project: &Project, name: &str) -> Result<(), StepFailure> {
    let Some(found) = project.engine().volume(&project.project_ref, name).await? else { return Ok(()) };
    blocking(move || fsio::clear_dir(&found.dir)).await.map_err(of_volume(name))
}

fn own_folder(project: &Project, name: &str) -> Folder {
    Folder::new(project.shared.host.volumes_dir.join(name))
}

/// Where a volume lies, or will: the setting may have changed since it was made.
fn folder_of(project: &Project, known: &KnownVolume) -> Folder {
    known.folder().map_or_else(|| own_folder(project, &known.name), Folder::new)
}

fn engines_mark(data: &Path) -> PathBuf {
    data.with_file_name(ENGINES_MARK)
}

fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn foreign(name: &str) -> StepFailure {
    StepFailure::new("VOLUME_FOREIGN", format!("a volume named {name} exists that is not this project's"))
}

fn lost(known: &KnownVolume, why: &str) -> StepFailure {
    let KnownVolume { name, id, folder, .. } = known;
    let place = if folder.is_empty() {
        format!("the engine's volume {name} with its files and the file {ENGINES_MARK} beside them")
    } else {
        format!("{folder}/fs/data with its files and {folder}/fs/id with the line {id}")
    };
    StepFailure::new(
        "VOLUME_LOST",
        format!(
            "volume {name} {why}. It held data of a running service, so the agent starts nothing. Either restore {place}, or \
             give the data up: start the project with this volume among its new_volumes"
        ),
    )
    .permanent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_specs_say_by_name_what_is_data() {
        let spec = |name: &str, kind: VolumeKind| VolumeSpec {
            name: name.into(),
            kind: kind.into(),
            ..VolumeSpec::default()
        };
        for data in ["db_data", "db_config", "storage"] {
            assert!(is_data(&spec(data, VolumeKind::Unspecified)), "{data}");
        }
        assert!(!is_data(&spec("functions_cache", VolumeKind::Unspecified)));
        assert!(!is_data(&spec("db_data", VolumeKind::Cache)) && is_data(&spec("x", VolumeKind::Data)));
    }

    #[test]
    fn data_that_is_gone_is_seen_also_without_the_agents_state() {
        let seen = |bound, marked, has_data| Place { bound, marked, has_data }.seen();
        assert_eq!(seen(false, true, false), Seen::Lost, "the mark tells that there was data");
        assert_eq!(seen(true, true, false), Seen::Lost);
        assert_eq!(seen(true, false, true), Seen::Lost);
        assert_eq!(seen(true, false, false), Seen::Lost);
        assert_eq!(seen(false, false, true), Seen::Never, "the agent ended while it made it");
        assert_eq!(seen(false, false, false), Seen::Never);
        assert_eq!(seen(false, true, true), Seen::Whole);
    }

    #[test]
    fn a_loss_names_the_volume_and_the_ways_on() {
        let known = KnownVolume {
            name: "supalove_p_db_data".into(),
            id: "abc".into(),
            folder: "/v/supalove_p_db_data".into(),
            ..KnownVolume::default()
        };
        let failure = lost(&known, "is missing").0;
        assert!(failure.permanent && failure.reason == "VOLUME_LOST");
        for told in ["supalove_p_db_data is missing", "/fs/id with the line abc", "new_volumes"] {
            assert!(failure.message.contains(told), "{}", failure.message);
        }
    }
}
