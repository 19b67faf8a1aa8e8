//! Named volumes. They are removed by nothing but an explicit removal of the project with its volumes.

use std::collections::HashMap;

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};

use super::error::gone_is_fine;
use super::{Engine, EngineError, labels};

/// A volume of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectVolume {
    /// Full name.
    pub name: String,
    /// Its project.
    pub project_ref: String,
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

    /// Makes sure that a volume exists. False if one of that name exists that is not this project's.
    pub async fn ensure_volume(&self, project_ref: &str, volume: &str) -> Result<bool, EngineError> {
        let wanted = labels::project(&self.fleet, project_ref);
        let request = VolumeCreateRequest {
            name: Some(labels::volume_name(project_ref, volume)),
            labels: Some(wanted.clone()),
            ..VolumeCreateRequest::default()
        };
        // The engine returns an existing volume of that name as it is.
        let found = self.change(self.docker.create_volume(request)).await?;
        Ok(wanted.iter().all(|(name, value)| found.labels.get(name) == Some(value)))
    }

    /// Removes a volume for ever.
    pub async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        gone_is_fine(self.change(self.docker.remove_volume(name, None::<RemoveVolumeOptions>)).await)
    }
}
