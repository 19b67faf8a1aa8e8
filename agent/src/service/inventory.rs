//! Lists everything of this fleet on the host, by project, with or without a record.

use std::collections::BTreeMap;

use supalove_proto::node::v1::{InventoryResponse, ProjectInventory};
use tonic::Status;

use crate::docker::{EngineError, labels};
use crate::network;
use crate::node::Node;
use crate::stack;

/// An unreachable or slow engine is reported as UNAVAILABLE before the caller's deadline.
pub(super) async fn take(node: &Node) -> Result<InventoryResponse, Status> {
    let limit = node.times.protocol.inventory_answer;
    match tokio::time::timeout(limit, look(node)).await {
        Ok(found) => Ok(found?),
        Err(_) => Err(EngineError::Timeout(limit).into()),
    }
}

async fn look(node: &Node) -> Result<InventoryResponse, EngineError> {
    let engine = node.engine();
    let mut projects: BTreeMap<String, ProjectInventory> = BTreeMap::new();
    for record in node.supervisor.records().await {
        let found = entry(&mut projects, &record.project_ref);
        found.generation = record.generation();
        found.slot = record.slot();
    }
    for container in engine.containers().await? {
        entry(&mut projects, &container.project_ref).containers.push(container.name);
    }
    for network in engine.networks().await? {
        entry(&mut projects, &network.project_ref).networks.push(network.name);
    }
    for volume in engine.volumes().await? {
        entry(&mut projects, &volume.project_ref).volumes.push(volume.name);
    }
    for (project_ref, name) in folders(node).await {
        let found = entry(&mut projects, &project_ref);
        if !found.volumes.contains(&name) {
            found.volumes.push(name);
        }
    }
    let taken = node.taken().await?;
    Ok(InventoryResponse {
        projects: projects.into_values().collect(),
        blocked_slots: network::blocked(&node.host, &taken),
    })
}

/// Project and name of each folder of a volume: the engine's entry may be pruned.
async fn folders(node: &Node) -> Vec<(String, String)> {
    let base = node.host.volumes_dir.clone();
    let listed = tokio::task::spawn_blocking(move || stack::list_folders(&base)).await;
    let names = match listed {
        Ok(Ok(names)) => names,
        failed => {
            tracing::warn!(?failed, "cannot list the folders of volumes");
            Vec::new()
        }
    };
    names.into_iter().filter_map(|name| Some((labels::project_of_volume(&name)?.to_owned(), name))).collect()
}

fn entry<'a>(
    projects: &'a mut BTreeMap<String, ProjectInventory>,
    project_ref: &str,
) -> &'a mut ProjectInventory {
    projects.entry(project_ref.to_owned()).or_insert_with(|| ProjectInventory {
        project_ref: project_ref.to_owned(),
        ..ProjectInventory::default()
    })
}
