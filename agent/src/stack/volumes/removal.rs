//! Deletes volumes and finds every folder of a project, for its end.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::records::{known, update};
use super::{folder_of, own_folder};
use crate::docker::labels;
use crate::stack::context::{Project, blocking};
use crate::stack::failure::{StepFailure, of_volume};
use crate::stack::folder::Folder;
use crate::state::KnownVolume;

/// Removes a volume with its data: for a first start that is started over, and for the end of a project.
pub async fn delete(project: &Project, name: &str) -> Result<(), StepFailure> {
    let folder = known(project, name)
        .await?
        .map_or_else(|| own_folder(project, name), |known| folder_of(project, &known));
    update(project, name, |known| {
        (known.was_ready, known.was_filled, known.moving) = (false, false, false);
    })
    .await?;
    project.engine().remove_volume(name).await?;
    blocking(move || folder.delete()).await.map_err(of_volume(name))
}

/// Full names of the volumes that have a folder of the agent's, whether or not the engine knows them.
pub async fn folders(project: &Project) -> Result<Vec<String>, StepFailure> {
    let bases = bases(project).await?;
    let prefix = labels::volume_name(&project.project_ref, "");
    Ok(blocking(move || names_in(&bases, &prefix)).await?)
}

/// Deletes every folder of this name, for the end of a project: also the one of before a change of the setting.
pub async fn delete_everywhere(project: &Project, name: &str) -> Result<(), StepFailure> {
    delete(project, name).await?;
    for base in bases(project).await? {
        let folder = Folder::new(base.join(name));
        blocking(move || folder.delete()).await.map_err(of_volume(name))?;
    }
    Ok(())
}

/// Where folders of the project may lie: where the setting says, and where those are that were made before it changed.
async fn bases(project: &Project) -> Result<BTreeSet<PathBuf>, StepFailure> {
    let shared = project.shared.clone();
    let project_ref = project.project_ref.clone();
    let all = blocking(move || shared.store.volumes(&project_ref).map_err(std::io::Error::other)).await?;
    let mut bases = bases_of(&all.volumes);
    bases.insert(project.shared.host.volumes_dir.clone());
    Ok(bases)
}

fn bases_of(volumes: &[KnownVolume]) -> BTreeSet<PathBuf> {
    volumes
        .iter()
        .filter_map(KnownVolume::folder)
        .filter_map(|folder| Some(folder.parent()?.to_owned()))
        .collect()
}

fn names_in(bases: &BTreeSet<PathBuf>, prefix: &str) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for base in bases {
        names.extend(list_folders(base)?.into_iter().filter(|name| name.starts_with(prefix)));
    }
    Ok(names)
}

/// Names of all folders.
pub fn list_folders(base: &Path) -> std::io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(base) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_found_where_they_were_made() {
        let (before, now) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (dir, name) in
            [(&before, "supalove_p_db_data"), (&now, "supalove_p_storage"), (&now, "supalove_q_x")]
        {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let folder = before.path().join("supalove_p_db_data").to_string_lossy().into_owned();
        let known = KnownVolume { name: "supalove_p_db_data".into(), folder, ..KnownVolume::default() };
        let engines = KnownVolume { name: "supalove_p_old".into(), ..KnownVolume::default() };
        let mut bases = bases_of(&[known, engines]);
        assert_eq!(bases, BTreeSet::from([before.path().to_owned()]));
        bases.insert(now.path().to_owned());
        let mut names = names_in(&bases, "supalove_p_").unwrap();
        names.sort_unstable();
        assert_eq!(names, ["supalove_p_db_data", "supalove_p_storage"]);
    }
}
