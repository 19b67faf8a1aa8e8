//! Named volumes. Only an explicit removal of the project with its volumes removes them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};

use super::error::gone_is_fine;
use super::{Engine, EngineError, labels};

/// The option of the engine's local driver that names the directory.
const DEVICE: &str = "device";

/// A volume of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectVolume {
    pub name: String,
    pub project_ref: String,
}

/// Who creates a volume, and for which generation. Written on it as labels, which never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMaker {
    /// Short form of the node's id.
    pub node: String,
    /// Generation of the project.
    pub generation: u64,
}

/// A volume as the engine describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFound {
    /// Where it lies on the host.
    pub dir: PathBuf,
    /// The node that created it; empty if the label is missing.
    pub node: String,
    /// The generation that it was made for.
    pub generation: Option<u64>,
    /// It is bound to that directory. Otherwise the directory is the engine's own, and goes with the volume.
    pub bound: bool,
    /// It has this project's labels.
    pub ours: bool,
    /// It has no label at all: an engine that runs out of disk leaves such volumes behind.
    pub bare: bool,
}

impl Engine {
    /// All volumes of the fleet.
    pub async fn volumes(&self) -> Result<Vec<ProjectVolume>, EngineError> {
        self.volumes_with(vec![self.fleet_label()]).await
    }

    /// All volumes of one project.
    pub async fn project_volumes(&self, project_ref: &str) -> Result<Vec<ProjectVolume>, EngineError> {
        let project = format!("{}={project_ref}", labels::PROJECT);
        self.volumes_with(vec![self.fleet_label(), project]).await
    }

    async fn volumes_with(&self, wanted: Vec<String>) -> Result<Vec<ProjectVolume>, EngineError> {
        let filters = HashMap::from([("label", wanted)]);
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let found = self.ask(self.docker.list_volumes(Some(options))).await?;
        Ok(found
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(|volume| ProjectVolume {
                project_ref: volume.labels.get(labels::PROJECT).cloned().unwrap_or_default(),
                name: volume.name,
            })
            .collect())
    }

    /// Describes one volume of a project; none if it does not exist.
    pub async fn volume(&self, project_ref: &str, name: &str) -> Result<Option<VolumeFound>, EngineError> {
        match self.ask(self.docker.inspect_volume(name)).await {
            Ok(mut found) => {
                let device = found.options.remove(DEVICE);
                Ok(Some(VolumeFound {
                    bound: device.is_some(),
                    bare: found.labels.is_empty(),
                    ours: labels::project(&self.fleet, project_ref)
                        .iter()
                        .all(|(name, value)| found.labels.get(name) == Some(value)),
                    dir: device.unwrap_or(found.mountpoint).into(),
                    node: found.labels.remove(labels::NODE).unwrap_or_default(),
                    generation: found.labels.get(labels::GENERATION).and_then(|text| text.parse().ok()),
                }))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a volume of this full name that is bound to a directory: whoever removes it removes no data. If a volume of
    /// that name exists, the engine leaves it unchanged; look at it afterwards.
    pub async fn bind_volume(
        &self,
        project_ref: &str,
        name: &str,
        dir: &Path,
        maker: VolumeMaker,
    ) -> Result<(), EngineError> {
        let mut marks = labels::project(&self.fleet, project_ref);
        marks.insert(labels::NODE.to_owned(), maker.node);
        marks.insert(labels::GENERATION.to_owned(), maker.generation.to_string());
        let options = [("type", "none"), ("o", "bind"), (DEVICE, &dir.to_string_lossy())];
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".to_owned()),
            driver_opts: Some(options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            labels: Some(marks),
            ..VolumeCreateRequest::default()
        };
        self.change(self.docker.create_volume(request)).await.map(drop)
    }

    /// Removes a volume, and its data unless it is bound to a directory.
    pub async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        gone_is_fine(self.change(self.docker.remove_volume(name, None::<RemoveVolumeOptions>)).await)
    }
}
