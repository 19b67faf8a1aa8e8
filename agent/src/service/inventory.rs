//! Lists everything of this fleet on the host, by project, with or without a record; and compares it with what the agent
//! believes, if the controller asks for that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use supalove_proto::node::v1::{InventoryRequest, InventoryResponse, ProjectInventory};
use tonic::Status;

use super::compare::{self, Believed, Host};
use crate::docker::{Container, EngineError, labels};
use crate::network;
use crate::node::Node;
use crate::stack;
use crate::state::Record;

/// An unreachable or slow engine is reported as UNAVAILABLE before the caller's deadline.
pub(super) async fn take(node: &Node, request: InventoryRequest) -> Result<InventoryResponse, Status> {
    let limit = node.times.protocol.inventory_answer;
    match tokio::time::timeout(limit, look(node, request.compare)).await {
        Ok(found) => Ok(found?),
        Err(_) => Err(EngineError::Timeout(limit).into()),
    }
}

async fn look(node: &Node, compare: bool) -> Result<InventoryResponse, EngineError> {
    let engine = node.engine();
    let mut projects: BTreeMap<String, ProjectInventory> = BTreeMap::new();
    let records = node.supervisor.records().await;
    for record in &records {
        let found = entry(&mut projects, &record.project_ref);
        found.generation = record.generation();
        found.slot = record.slot();
    }
    let containers = engine.containers().await?;
    for container in &containers {
        entry(&mut projects, &container.project_ref).containers.push(container.name.clone());
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
    let mut found = InventoryResponse {
        projects: projects.into_values().collect(),
        blocked_slots: network::blocked(&node.host, &taken),
        ..InventoryResponse::default()
    };
    if compare {
        add_comparison(node, &records, containers, &mut found).await;
    }
    Ok(found)
}

async fn add_comparison(
    node: &Node,
    records: &[Arc<Record>],
    containers: Vec<Container>,
    found: &mut InventoryResponse,
) {
    let (ruled, rules_intact) = match node.supervisor.shared().rules.look().await {
        Ok(looked) => (Ok(looked.projects), looked.intact),
        Err(error) => (Err(error.to_string()), false),
    };
    let mut host = Host {
        containers: BTreeMap::new(),
        networks: BTreeMap::new(),
        volumes: BTreeMap::new(),
        ruled,
        rules_intact,
        folders: BTreeSet::new(),
        records: BTreeSet::new(),
    };
    for container in containers {
        host.containers.entry(container.project_ref).or_default().insert(container.name, container.running);
    }
    for project in &found.projects {
        let named = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        if !project.networks.is_empty() {
            host.networks.insert(project.project_ref.clone(), named(&project.networks));
        }
        if !project.volumes.is_empty() {
            host.volumes.insert(project.project_ref.clone(), named(&project.volumes));
        }
    }
    let shared = node.supervisor.shared();
    let mut names: BTreeSet<String> = host.volumes.keys().cloned().collect();
    names.extend(records.iter().map(|record| record.project_ref.clone()));
    let read = {
        let shared = shared.clone();
        tokio::task::spawn_blocking(move || stack::on_disk(&shared, &names)).await
    };
    let mut believed =
        Believed { records: records.iter().map(|record| &**record).collect(), ..Believed::default() };
    match read {
        Ok(Ok(disk)) => {
            host.folders = disk.folders;
            host.records = disk.records;
            believed.volumes = disk.volumes;
        }
        failed => {
            let why = match failed {
                Ok(Err(error)) => error.to_string(),
                _ => "the agent is stopping".to_owned(),
            };
            tracing::warn!(error = why, "cannot read the state directory to compare it");
            return;
        }
    }
    found.states = node.reports.all();
    believed.states = found.states.iter().collect();
    found.differences = compare::differences(&believed, &host);
    found.compared = true;
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
