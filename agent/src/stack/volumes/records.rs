//! What is known of a project's volumes, kept sealed outside them.

use crate::stack::context::{Project, blocking};
use crate::stack::failure::StepFailure;
use crate::state::KnownVolume;

pub async fn known(project: &Project, name: &str) -> Result<Option<KnownVolume>, StepFailure> {
    let shared = project.shared.clone();
    let project_ref = project.project_ref.clone();
    let all = blocking(move || shared.store.volumes(&project_ref).map_err(std::io::Error::other)).await?;
    Ok(all.get(name).cloned())
}

pub async fn remember(project: &Project, volume: KnownVolume) -> Result<(), StepFailure> {
    let shared = project.shared.clone();
    let project_ref = project.project_ref.clone();
    let put = move || {
        let changed = shared.store.change_volumes(&project_ref, |all| {
            all.project_ref = project_ref.to_string();
            all.put(volume);
        });
        changed.map_err(std::io::Error::other)
    };
    project.in_flight.run_to_completion(blocking(put)).await
}

/// Changes what is known of one volume.
pub async fn update(
    project: &Project,
    name: &str,
    change: impl FnOnce(&mut KnownVolume) + Send + 'static,
) -> Result<(), StepFailure> {
    let shared = project.shared.clone();
    let project_ref = project.project_ref.clone();
    let name = name.to_owned();
    let put = move || {
        let changed = shared.store.change_volumes(&project_ref, |all| {
            if let Some(volume) = all.volumes.iter_mut().find(|volume| volume.name == name) {
                change(volume);
            }
        });
        changed.map_err(std::io::Error::other)
    };
    // Not as an operation in flight, for which a teardown waits before it comes here. A blocking task ends in any case.
    Ok(blocking(put).await?)
}
