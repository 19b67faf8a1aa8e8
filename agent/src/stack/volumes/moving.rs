//! Volumes that older agents made lie in the engine's folders. Their data moves into the agent's when no container uses
//! them: every step is written down before it is done, and is carried on after a crash.

use supalove_failpoints::failpoint;

use super::records::remember;
use super::{Ensured, Wanted, bind, engines_mark, folder_of, is_data, limit, new_id, own_folder, remake};
use crate::docker::VolumeFound;
use crate::fsio;
use crate::stack::context::{Project, blocking};
use crate::stack::failure::StepFailure;
use crate::stack::plan::ServicePlan;
use crate::stack::{folder, measure};
use crate::state::KnownVolume;

/// Records a volume that an older agent made in a folder of the engine's.
pub(super) async fn adopt_engines(
    project: &Project,
    wanted: &Wanted<'_>,
    name: &str,
    found: &VolumeFound,
) -> Result<KnownVolume, StepFailure> {
    let mark = engines_mark(&found.dir);
    let data = found.dir.clone();
    // Nobody knows any more whether a service was ready on it.
    let holds_something = blocking(move || Ok(!fsio::is_empty_dir(&data)?)).await?;
    let id = blocking(move || match std::fs::read_to_string(&mark) {
        Ok(id) => Ok(id),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = new_id();
            fsio::write_atomic(&mark, id.as_bytes(), 0o600)?;
            Ok(id)
        }
        Err(error) => Err(error),
    })
    .await?;
    let known = KnownVolume {
        name: name.to_owned(),
        id,
        generation: found.generation.unwrap_or_default(),
        node: found.node.clone(),
        is_data: is_data(wanted.spec),
        was_ready: holds_something,
        ..KnownVolume::default()
    };
    remember(project, known.clone()).await?;
    Ok(known)
}

/// Begins to move a volume's data into a folder of the agent's, if no container uses it. If that cannot be done now, the
/// volume stays where it is.
pub(super) async fn move_over(
    project: &Project,
    wanted: &Wanted<'_>,
    known: KnownVolume,
) -> Result<(), StepFailure> {
    if !wanted.free {
        return Ok(());
    }
    let folder = own_folder(project, &known.name);
    let moving =
        KnownVolume { moving: true, folder: folder.path().to_string_lossy().into_owned(), ..known.clone() };
    remember(project, moving.clone()).await?;
    failpoint!("agent.volume.move_begun", &project.project_ref);
    if let Err(failure) = carry(project, wanted, &moving).await {
        let (name, reason) = (known.name.clone(), &failure.0.message);
        let arrived = folder.clone();
        if blocking(move || arrived.has_data()).await? {
            return Err(failure);
        }
        tracing::warn!(
            project = &*project.project_ref,
            volume = name,
            reason,
            "cannot move a volume; it stays in the engine's folder"
        );
        remember(project, known).await?;
    }
    Ok(())
}

pub(super) async fn go_on_moving(
    project: &Project,
    wanted: &Wanted<'_>,
    plans: &[ServicePlan],
    known: KnownVolume,
) -> Result<Ensured, StepFailure> {
    let folder = folder_of(project, &known);
    let arrived = blocking(move || folder.has_data()).await?;
    let found = project.engine().volume(&project.project_ref, &known.name).await?;
    let left = match &found {
        Some(found) => {
            let dir = found.dir.clone();
            found.ours && !found.bound && blocking(move || Ok(dir.is_dir())).await?
        }
        None => false,
    };
    if arrived {
        carry(project, wanted, &known).await?;
        return Ok(Ensured::Kept);
    }
    if left {
        let still = KnownVolume { moving: false, folder: String::new(), ..known };
        return move_over(project, wanted, still).await.map(|()| Ensured::Kept);
    }
    remake(project, wanted, plans, known, "is missing").await
}

/// Data first, then its mark, then the engine's volume: at each moment one of the two places has all of it.
async fn carry(project: &Project, wanted: &Wanted<'_>, known: &KnownVolume) -> Result<(), StepFailure> {
    let folder = folder_of(project, known);
    let found = project.engine().volume(&project.project_ref, &known.name).await?;
    let from = found.as_ref().filter(|found| !found.bound).map(|found| found.dir.clone());
    let limit = limit(project, wanted);
    let id = known.id.clone();
    let to = folder.clone();
    let carried = blocking(move || {
        let has_data = to.has_data()?;
        if let Some(from) = from.filter(|_| !has_data) {
            let room = match limit {
                Some(limit) => Some(folder::room_for(measure::used_mib(&from)?, limit)),
                None => None,
            };
            to.make_room(room)?;
            to.take_over(&from)?;
        }
        to.make_room(None)?;
        to.set_mark(&id)
    });
    project.in_flight.run_to_completion(carried).await?;
    failpoint!("agent.volume.moved", &project.project_ref);
    if found.is_some_and(|found| !found.bound) {
        project.engine().remove_volume(&known.name).await?;
    }
    failpoint!("agent.volume.unbound", &project.project_ref);
    bind(project, known).await?;
    remember(project, KnownVolume { moving: false, ..known.clone() }).await
}
