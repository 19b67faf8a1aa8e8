//! From a plan to existing containers: rules, images, network, volumes, files, containers. Every step checks first and
//! does only what is missing, so that it can be cancelled and repeated at any point.

use std::collections::HashMap;

use futures::future::{join_all, try_join_all};
use futures::try_join;
use ipnet::Ipv4Net;
use supalove_failpoints::failpoint;
use supalove_proto::node::v1::{ApplyStackRequest, ProgressStep, ServiceState};
use tokio::time::Instant;

use super::context::{Project, blocking};
use super::diff::{Existing, diff};
use super::failure::{self, StepFailure};
use super::files;
use super::plan::ServicePlan;
use super::teardown;
use super::volumes::{self, Ensured, Wanted};
use crate::docker::{NetworkPlan, labels};
use crate::fsio;
use crate::images::Unfetched;

/// Creates everything that the plans need; returns the container of each service. A container that runs and stays is not
/// reported: it has not changed.
pub async fn prepare(
    project: &Project,
    plans: &[ServicePlan],
    apply: &ApplyStackRequest,
    subnet: Ipv4Net,
) -> Result<HashMap<String, Existing>, StepFailure> {
    project.shared.rules.close(&project.project_ref).await?;
    failpoint!("agent.prepare.closed_in", &project.project_ref);
    images(project, plans).await?;
    failpoint!("agent.prepare.images", &project.project_ref);
    project.view.progress("", ProgressStep::Preparing, 0, "network, volumes and files");
    let network = NetworkPlan { project_ref: project.project_ref.to_string(), subnet };
    let mut containers = remove_outdated(project, plans, &network).await?;
    failpoint!("agent.prepare.outdated_gone", &project.project_ref);
    // These three do not depend on each other.
    let ((), unfit, ()) = try_join!(
        ensure_network(project, &network),
        ensure_volumes(project, plans, apply, &containers),
        write_files(project, plans),
    )?;
    // The engine gives a volume the image's owner when it makes the container.
    let unfit: Vec<Existing> = unfit.iter().filter_map(|service| containers.remove(service)).collect();
    teardown::stop_and_remove(project, plans, &unfit).await?;
    let missing = plans.iter().filter(|plan| !containers.contains_key(&plan.spec.name));
    let created = try_join_all(missing.map(|plan| create(project, plan))).await?;
    failpoint!("agent.prepare.created", &project.project_ref);
    containers.extend(created.into_iter().map(by_service));
    for container in containers.values().filter(|container| !container.running) {
        project.view.set(&container.service, ServiceState::Created, "");
    }
    sweep_files(project, plans).await?;
    failpoint!("agent.prepare.done", &project.project_ref);
    Ok(containers)
}

async fn images(project: &Project, plans: &[ServicePlan]) -> Result<(), StepFailure> {
    let ensured = join_all(plans.iter().map(|plan| image(project, plan))).await;
    ensured.into_iter().collect()
}

async fn image(project: &Project, plan: &ServicePlan) -> Result<(), StepFailure> {
    let name = &plan.spec.name;
    let image = &plan.spec.image;
    if project.engine().has_image(image).await? {
        return Ok(());
    }
    let view = &project.view;
    view.set(name, ServiceState::Pulling, "");
    view.progress(name, ProgressStep::Pulling, 0, image);
    let every = project.shared.times.progress_every;
    let mut last = (Instant::now(), 0);
    let mut progress = |percent| {
        if percent != last.1 && last.0.elapsed() >= every {
            last = (Instant::now(), percent);
            view.progress(name, ProgressStep::Pulling, percent, image);
        }
    };
    if let Err(unfetched) = project.shared.images.fetch(image, &mut progress).await {
        let Unfetched { why, credentials } = unfetched;
        let for_registry = credentials.is_some();
        tracing::info!(image, reason = %why, credentials = for_registry, "image does not come from the controller");
        let pulled = project.engine().pull(image, credentials.as_deref(), &mut progress).await;
        pulled.map_err(|error| failure::of_image(image, &why, error).for_service(name))?;
    }
    view.progress(name, ProgressStep::Pulling, 100, image);
    view.set(name, ServiceState::Pending, "");
    Ok(())
}

/// Stops and removes containers that no longer fit; returns those that stay. If the network must be created again, all
/// containers go, since they are attached to it.
async fn remove_outdated(
    project: &Project,
    plans: &[ServicePlan],
    network: &NetworkPlan,
) -> Result<HashMap<String, Existing>, StepFailure> {
    // Containers that an older desired state is still creating must be seen, too.
    let _drained = project.in_flight.drained().await;
    let present = project.engine().project_containers(&project.project_ref).await?;
    let networks = project.engine().project_networks(&project.project_ref).await?;
    let has_network = networks.iter().any(|found| network.fits(found));
    let wanted: Vec<(&str, &str)> = plans
        .iter()
        .filter(|_| has_network)
        .map(|plan| (plan.spec.name.as_str(), plan.container.hash.as_str()))
        .collect();
    let existing: Vec<Existing> = present.into_iter().map(Existing::from).collect();
    let diff = diff(&wanted, &existing);
    if !diff.remove.is_empty() || !diff.create.is_empty() {
        project.shared.can_start()?;
    }
    teardown::stop_and_remove(project, plans, &diff.remove).await?;
    Ok(diff.keep.into_iter().map(by_service).collect())
}

fn by_service(container: Existing) -> (String, Existing) {
    (container.service.clone(), container)
}

async fn ensure_network(project: &Project, wanted: &NetworkPlan) -> Result<(), StepFailure> {
    let found = project.engine().project_networks(&project.project_ref).await?;
    let kept = found.iter().find(|network| wanted.fits(network)).map(|network| network.id.clone());
    for other in found.iter().filter(|network| Some(&network.id) != kept.as_ref()) {
        project.engine().remove_network(&other.id).await?;
    }
    if kept.is_none() {
        let engine = project.engine().clone();
        let wanted = wanted.clone();
        project.in_flight.run_to_completion(async move { engine.create_network(&wanted).await }).await?;
        failpoint!("agent.network.created", &project.project_ref);
    }
    Ok(())
}

/// Returns the services whose containers do not fit any more, because a volume of theirs is new.
async fn ensure_volumes(
    project: &Project,
    plans: &[ServicePlan],
    apply: &ApplyStackRequest,
    containers: &HashMap<String, Existing>,
) -> Result<Vec<String>, StepFailure> {
    let specs = apply.spec.as_ref().map(|spec| spec.volumes.as_slice()).unwrap_or_default();
    let ensured = try_join_all(specs.iter().map(|spec| async move {
        let name = labels::volume_name(&project.project_ref, &spec.name);
        let users: Vec<&str> = plans
            .iter()
            .filter(|plan| volumes::mounted(plan).any(|mounted| mounted == name))
            .map(|plan| plan.spec.name.as_str())
            .collect();
        let wanted = Wanted {
            spec,
            generation: apply.generation,
            may_be_new: apply.new_volumes.contains(&spec.name),
            free: !users.iter().any(|user| containers.contains_key(*user)),
        };
        let ensured = volumes::ensure(project, &wanted, plans).await?;
        Ok::<_, StepFailure>((ensured, users))
    }))
    .await?;
    let new = ensured.into_iter().filter(|(ensured, _)| *ensured == Ensured::New);
    Ok(new.flat_map(|(_, users)| users.into_iter().map(str::to_owned)).collect())
}

async fn write_files(project: &Project, plans: &[ServicePlan]) -> Result<(), StepFailure> {
    let dirs: Vec<_> = plans.iter().flat_map(|plan| plan.dirs.clone()).collect();
    let base = project.dir();
    let written = blocking(move || {
        fsio::private_dir(&base)?;
        dirs.iter().try_for_each(files::write)
    });
    project.in_flight.run_to_completion(written).await
}

/// Runs after the containers are created: until then old ones may have old directories mounted.
async fn sweep_files(project: &Project, plans: &[ServicePlan]) -> Result<(), StepFailure> {
    let state_dir = &project.shared.host.state_dir;
    let used: Vec<_> = plans
        .iter()
        .map(|plan| {
            let service = files::service_dir(state_dir, &project.project_ref, &plan.spec.name);
            (service, plan.dirs.iter().map(|dir| dir.path.clone()).collect::<Vec<_>>())
        })
        .collect();
    let all = files::config_dir(state_dir, &project.project_ref);
    blocking(move || {
        let services: Vec<_> = used.iter().map(|(service, _)| service.clone()).collect();
        files::sweep(&all, &services)?;
        used.iter().try_for_each(|(service, dirs)| files::sweep(service, dirs))
    })
    .await
    .map_err(Into::into)
}

/// Creates a service's container; it does not run yet.
pub(super) async fn create(project: &Project, plan: &ServicePlan) -> Result<Existing, StepFailure> {
    let service = plan.spec.name.clone();
    let network = labels::network_name(&project.project_ref);
    let engine = project.engine().clone();
    let wanted = plan.container.clone();
    let id = project
        .in_flight
        .run_to_completion(Box::pin(async move { engine.create(&network, wanted).await }))
        .await
        .map_err(|failure| failure.for_service(&service))?;
    failpoint!("agent.container.created", &project.project_ref);
    project.view.progress(&service, ProgressStep::Created, 0, "");
    Ok(Existing { id, service, hash: plan.container.hash.clone(), running: false })
}
