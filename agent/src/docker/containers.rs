//! Containers of the fleet: list, inspect, create, start, stop, remove.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use bollard::models::{
    ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum, ContainerUpdateBody,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions, StopContainerOptions,
};

use super::create::{self, ContainerPlan};
use super::error::gone_is_fine;
use super::{Engine, EngineError, labels};

/// A container in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Engine's id.
    pub id: String,
    /// Name without the slash.
    pub name: String,
    pub project_ref: String,
    pub service: String,
    /// Hash over what it was created from.
    pub hash: String,
    pub running: bool,
    /// Ports it holds on the host.
    pub host_ports: Vec<u16>,
}

/// A container as the engine describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    pub running: bool,
    /// When it was started last, in the engine's words.
    pub started_at: String,
    /// Exit code of the last run.
    pub exit_code: i64,
    /// The kernel killed it because it used more memory than its limit.
    pub oom_killed: bool,
    /// The engine's message about a failed start.
    pub error: String,
    /// Address on the project's network.
    pub address: Option<Ipv4Addr>,
    /// The host's address on that network.
    pub gateway: Option<Ipv4Addr>,
    /// What it may use.
    pub limits: HeldLimits,
}

/// What a container may use and whether the engine restarts it: everything that `docker update` can change of what the
/// agent sets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeldLimits {
    /// Bytes.
    pub memory: i64,
    /// Bytes of memory and swap together.
    pub memory_swap: i64,
    /// Billionths of a core.
    pub nano_cpus: i64,
    /// Processes and threads.
    pub pids: i64,
    /// True if the engine does not restart it by itself.
    pub left_to_agent: bool,
}

impl Engine {
    /// All containers of the fleet, running or not.
    pub async fn containers(&self) -> Result<Vec<Container>, EngineError> {
        self.list(vec![self.fleet_label()]).await
    }

    /// Errs if the engine does not answer in this time. It lists containers, because a ping needs none of its locks.
    pub async fn answers(&self, limit: Duration) -> Result<(), EngineError> {
        let filters = HashMap::from([("label", vec![self.fleet_label()])]);
        let options = ListContainersOptionsBuilder::default().filters(&filters).build();
        super::limited(limit, self.docker.list_containers(Some(options))).await.map(drop)
    }

    /// All containers of one project.
    pub async fn project_containers(&self, project_ref: &str) -> Result<Vec<Container>, EngineError> {
        let project = format!("{}={project_ref}", labels::PROJECT);
        self.list(vec![self.fleet_label(), project]).await
    }

    async fn list(&self, wanted: Vec<String>) -> Result<Vec<Container>, EngineError> {
        let filters = HashMap::from([("label", wanted)]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = self.ask(self.docker.list_containers(Some(options))).await?;
        Ok(found.into_iter().map(container).collect())
    }

    /// Describes one container; none if it does not exist.
    pub async fn inspect(&self, id: &str) -> Result<Option<Inspected>, EngineError> {
        let call = self.docker.inspect_container(id, None::<InspectContainerOptions>);
        match self.ask(call).await {
            Ok(found) => Ok(Some(inspected(found))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Id on the host of a container's first process; none if it does not run.
    pub async fn process(&self, id: &str) -> Result<Option<u32>, EngineError> {
        let call = self.docker.inspect_container(id, None::<InspectContainerOptions>);
        match self.ask(call).await {
            Ok(found) => {
                let process = found.state.and_then(|state| state.pid);
                Ok(process.and_then(|process| u32::try_from(process).ok()).filter(|process| *process > 0))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a container on the network of this name; returns its id. If a container of that name exists, it is returned if
    /// its hash is the same, and replaced if not.
    pub async fn create(&self, network: &str, plan: ContainerPlan) -> Result<String, EngineError> {
        match self.try_create(network, plan.clone()).await {
            Err(error) if error.is_conflict() => {
                let holders = self.project_containers(&plan.project_ref).await?;
                let holder = holders.into_iter().find(|holder| holder.service == plan.service);
                match holder {
                    Some(holder) if holder.hash == plan.hash => Ok(holder.id),
                    Some(holder) => {
                        self.remove(&holder.id).await?;
                        self.try_create(network, plan).await
                    }
                    None => Err(error),
                }
            }
            other => other,
        }
    }

    async fn try_create(&self, network: &str, plan: ContainerPlan) -> Result<String, EngineError> {
        let name = labels::container_name(&plan.project_ref, &plan.service);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let body = create::body(&self.fleet, network, plan);
        let created = self.change(self.docker.create_container(Some(options), body)).await?;
        Ok(created.id)
    }

    /// Starts a container. A running container is no error.
    pub async fn start(&self, id: &str) -> Result<(), EngineError> {
        self.change(self.docker.start_container(id, None::<StartContainerOptions>)).await
    }

    /// Stops a container with its own signal and grace. A container that is stopped or missing is no error.
    pub async fn stop(&self, id: &str, grace_seconds: u64) -> Result<(), EngineError> {
        let grace = Duration::from_secs(grace_seconds);
        let limit = grace + self.times.engine_stop_margin;
        let docker = self.with_timeout(limit);
        let call = docker.stop_container(id, None::<StopContainerOptions>);
        gone_is_fine(self.watched(limit, grace, Box::pin(call)).await)
    }

    /// Sets a running container's limits, without a restart.
    pub async fn set_limits(&self, id: &str, limits: &HeldLimits) -> Result<(), EngineError> {
        let body = ContainerUpdateBody {
            memory: Some(limits.memory),
            memory_swap: Some(limits.memory_swap),
            nano_cpus: Some(limits.nano_cpus),
            pids_limit: Some(limits.pids),
            restart_policy: Some(create::left_to_agent()),
            ..ContainerUpdateBody::default()
        };
        self.change(self.docker.update_container(id, body)).await
    }

    /// Removes a container, killing it if it runs, with its anonymous volumes.
    pub async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        gone_is_fine(self.change(self.docker.remove_container(id, Some(options))).await)
    }
}

fn container(summary: ContainerSummary) -> Container {
    let marks = summary.labels.unwrap_or_default();
    let mark = |name: &str| marks.get(name).cloned().unwrap_or_default();
    let name = summary.names.unwrap_or_default().into_iter().next().unwrap_or_default();
    let host_ports = summary.ports.unwrap_or_default().into_iter().filter_map(|port| port.public_port);
    Container {
        id: summary.id.unwrap_or_default(),
        name: name.trim_start_matches('/').to_owned(),
        project_ref: mark(labels::PROJECT),
        service: mark(labels::SERVICE),
        hash: mark(labels::SPEC_HASH),
        running: summary.state == Some(ContainerSummaryStateEnum::RUNNING),
        host_ports: host_ports.collect(),
    }
}

fn inspected(found: ContainerInspectResponse) -> Inspected {
    let state = found.state.unwrap_or_default();
    let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    // A project's container has exactly one network.
    let endpoint = networks.into_values().next().unwrap_or_default();
    let held = found.host_config.unwrap_or_default();
    Inspected {
        limits: HeldLimits {
            memory: held.memory.unwrap_or_default(),
            memory_swap: held.memory_swap.unwrap_or_default(),
            nano_cpus: held.nano_cpus.unwrap_or_default(),
            pids: held.pids_limit.unwrap_or_default(),
            left_to_agent: held.restart_policy.is_none_or(|policy| create::is_left_to_agent(&policy)),
        },
        running: state.running.unwrap_or_default(),
        started_at: state.started_at.unwrap_or_default(),
        exit_code: state.exit_code.unwrap_or_default(),
        oom_killed: state.oom_killed.unwrap_or_default(),
        error: state.error.unwrap_or_default(),
        address: endpoint.ip_address.and_then(|address| address.parse().ok()),
        gateway: endpoint.gateway.and_then(|address| address.parse().ok()),
    }
}
