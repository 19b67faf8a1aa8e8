//! What a project's volumes hold, for its usage: measured whether or not its containers run. Nothing here is async.

use supalove_proto::node::v1::VolumeBytes;

use super::context::Shared;
use super::folder::Folder;
use super::measure;

/// The volumes that lie in folders of the agent's. One that is being moved there, or cannot be measured, is left out.
pub fn volume_bytes(shared: &Shared, project_ref: &str) -> Vec<VolumeBytes> {
    let known = match shared.store.volumes(project_ref) {
        Ok(known) => known.volumes,
        Err(error) => {
            tracing::warn!(%error, project = project_ref, "cannot read which volumes a project has");
            return Vec::new();
        }
    };
    let prefix = crate::docker::labels::volume_name(project_ref, "");
    let measured = known.into_iter().filter(|volume| !volume.moving).filter_map(|volume| {
        let folder = volume.folder()?;
        let name = volume.name.strip_prefix(&prefix)?.to_owned();
        match measure::used_bytes(&Folder::new(folder).data()) {
            Ok(bytes) => Some(VolumeBytes { name, bytes }),
            Err(error) => {
                tracing::warn!(%error, project = project_ref, volume = name, "cannot measure a volume");
                None
            }
        }
    });
    measured.collect()
}
