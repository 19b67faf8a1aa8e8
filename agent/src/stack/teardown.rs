//! Stops a project's containers in order, and removes everything that a project has on the host. Repeating is always safe.

use futures::future::{try_join, try_join_all};
use supalove_failpoints::failpoint;
use supalove_proto::node::v1::ProgressStep;
use supalove_spec::order;

use super::context::{Project, blocking};
use super::diff::Existing;
use super::failure::StepFailure;
use super::plan::{self, ServicePlan};
use super::volumes;
use crate::fsio;

/// Longest grace that a spec may ask for, in seconds; for containers whose plan is not known any more.
const LONGEST_GRACE: u64 = 300;

/// Stops containers, dependants first, and removes them.
pub async fn stop_and_remove(
    project: &Project,
    plans: &[ServicePlan],
    containers: &[Existing],
) -> Result<(), StepFailure> {
    let edges: Vec<_> =
        plans.iter().map(|plan| (plan.spec.name.as_str(), plan.spec.depends_on.as_slice())).collect();
    let mut services: Vec<&str> = containers.iter().map(|container| container.service.as_str()).collect();
    services.sort_unstable();
    services.dedup();
    for wave in order::stop_waves(&edges, &services) {
        let leaving = containers.iter().filter(|container| wave.contains(&container.service.as_str()));
        try_join_all(leaving.map(|container| stop_one(project, plans, container))).await?;
    }
    Ok(())
}

async fn stop_one(project: &Project, plans: &[ServicePlan], container: &Existing) -> Result<(), StepFailure> {
    let service = &container.service;
    let named = |error| StepFailure::from(error).for_service(service);
    if container.running {
        project.view.progress(service, ProgressStep::Stopping, 0, "");
        let planned = plans.iter().find(|plan| plan.spec.name == *service);
        let grace = planned.map_or(LONGEST_GRACE, |found| plan::grace(&found.spec).into());
        project.engine().stop(&container.id, grace).await.map_err(named)?;
        failpoint!("agent.service.stopped", &project.project_ref);
    }
    project.engine().remove(&container.id).await.map_err(named)?;
    failpoint!("agent.container.removed", &project.project_ref);
    project.view.progress(service, ProgressStep::Removed, 0, "");
    Ok(())
}

/// Removes containers, network and packet rules; volumes and files stay.
pub async fn stop(project: &Project, plans: &[ServicePlan]) -> Result<(), StepFailure> {
    let _drained = project.in_flight.drained().await;
    remove_containers(project, plans).await?;
    remove_networks(project).await?;
    // Last: while a container may run, its bridge stays isolated.
    project.shared.rules.drop_project(&project.project_ref).await?;
    failpoint!("agent.stop.unruled", &project.project_ref);
    Ok(())
}

async fn remove_containers(project: &Project, plans: &[ServicePlan]) -> Result<(), StepFailure> {
    let containers = project.engine().project_containers(&project.project_ref).await?;
    failpoint!("agent.teardown.begun", &project.project_ref);
    let containers: Vec<Existing> = containers.into_iter().map(Existing::from).collect();
    stop_and_remove(project, plans, &containers).await
}

async fn remove_networks(project: &Project) -> Result<(), StepFailure> {
    for network in project.engine().project_networks(&project.project_ref).await? {
        project.engine().remove_network(&network.id).await?;
        failpoint!("agent.network.removed", &project.project_ref);
    }
    Ok(())
}

/// Removes everything, and the volumes if that was requested.
pub async fn remove(
    project: &Project,
    plans: &[ServicePlan],
    delete_volumes: bool,
) -> Result<(), StepFailure> {
    let _drained = project.in_flight.drained().await;
    loop {
        remove_containers(project, plans).await?;
        // At once: the engine takes a tenth of a second for a network, and the agent as long to delete the volumes' folders.
        try_join(remove_networks(project), async {
            if delete_volumes { remove_volumes(project).await } else { Ok(()) }
        })
        .await?;
        // The engine may meanwhile have carried out calls of an agent that was killed.
        if is_gone(project, delete_volumes).await? {
            break;
        }
    }
    project.shared.rules.drop_project(&project.project_ref).await?;
    failpoint!("agent.removal.unruled", &project.project_ref);
    let dir = project.dir();
    blocking(move || fsio::remove_tree(&dir)).await?;
    failpoint!("agent.removal.files_gone", &project.project_ref);
    Ok(())
}

async fn remove_volumes(project: &Project) -> Result<(), StepFailure> {
    let listed = project.engine().project_volumes(&project.project_ref).await?;
    // A prune may have removed the engine's entry of a volume whose folder is there.
    let mut names = volumes::folders(project).await?;
    names.extend(listed.into_iter().map(|volume| volume.name));
    names.sort_unstable();
    names.dedup();
    try_join_all(names.iter().map(|name| remove_volume(project, name))).await?;
    Ok(())
}

async fn remove_volume(project: &Project, volume: &str) -> Result<(), StepFailure> {
    volumes::delete_everywhere(project, volume).await?;
    failpoint!("agent.volume.removed", &project.project_ref);
    Ok(())
}

async fn is_gone(project: &Project, volumes_too: bool) -> Result<bool, StepFailure> {
    let engine = project.engine();
    let project_ref = &project.project_ref;
    Ok(engine.project_containers(project_ref).await?.is_empty()
        && engine.project_networks(project_ref).await?.is_empty()
        && (!volumes_too
            || engine.project_volumes(project_ref).await?.is_empty()
                && volumes::folders(project).await?.is_empty()))
}
