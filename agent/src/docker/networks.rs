//! Project networks: found by label and deleted by id, since names are not unique. Also lists every network of the host,
//! to find those that block a slot.

use std::collections::HashMap;

use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use ipnet::Ipv4Net;

use super::error::gone_is_fine;
use super::{Engine, EngineError, labels};

const BRIDGE_OPTION: &str = "com.docker.network.bridge.name";

/// A project's network as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPlan {
    pub project_ref: String,
    /// Its /27.
    pub subnet: Ipv4Net,
}

/// An existing network of this fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectNetwork {
    /// Engine's id.
    pub id: String,
    pub name: String,
    pub project_ref: String,
    /// Bridge on the host.
    pub bridge: String,
    pub subnet: Option<Ipv4Net>,
}

/// Any network of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNetwork {
    pub name: String,
    pub subnets: Vec<Ipv4Net>,
    /// Carries the fleet's label.
    pub ours: bool,
}

impl NetworkPlan {
    /// True if an existing network fits this plan.
    pub fn fits(&self, network: &ProjectNetwork) -> bool {
        network.name == labels::network_name(&self.project_ref)
            && network.bridge == labels::bridge_name(&self.project_ref)
            && network.subnet == Some(self.subnet)
    }
}

impl Engine {
    /// All networks of the fleet.
    pub async fn networks(&self) -> Result<Vec<ProjectNetwork>, EngineError> {
        self.networks_with(vec![self.fleet_label()]).await
    }

    /// All networks of one project.
    pub async fn project_networks(&self, project_ref: &str) -> Result<Vec<ProjectNetwork>, EngineError> {
        let project = format!("{}={project_ref}", labels::PROJECT);
        self.networks_with(vec![self.fleet_label(), project]).await
    }

    async fn networks_with(&self, wanted: Vec<String>) -> Result<Vec<ProjectNetwork>, EngineError> {
        let filters = HashMap::from([("label", wanted)]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let found = self.ask(self.docker.list_networks(Some(options))).await?;
        Ok(found.into_iter().map(project_network).collect())
    }

    /// Every network of the engine with its subnets.
    pub async fn host_networks(&self) -> Result<Vec<HostNetwork>, EngineError> {
        let options = ListNetworksOptionsBuilder::default().build();
        let found = self.ask(self.docker.list_networks(Some(options))).await?;
        Ok(found
            .into_iter()
            .map(|network| HostNetwork {
                subnets: subnets(&network),
                ours: network.labels.as_ref().and_then(|marks| marks.get(labels::FLEET)).map(String::as_str)
                    == Some(&*self.fleet),
                name: network.name.unwrap_or_default(),
            })
            .collect())
    }

    /// Creates a project's network: a bridge of its own, IPv4 only.
    pub async fn create_network(&self, plan: &NetworkPlan) -> Result<(), EngineError> {
        let options = HashMap::from([
            (BRIDGE_OPTION.to_owned(), labels::bridge_name(&plan.project_ref)),
            ("com.docker.network.bridge.enable_icc".to_owned(), "true".to_owned()),
        ]);
        let ipam = Ipam {
            config: Some(vec![IpamConfig { subnet: Some(plan.subnet.to_string()), ..IpamConfig::default() }]),
            ..Ipam::default()
        };
        let request = NetworkCreateRequest {
            name: labels::network_name(&plan.project_ref),
            driver: Some("bridge".into()),
            attachable: Some(false),
            enable_ipv6: Some(false),
            ipam: Some(ipam),
            options: Some(options),
            labels: Some(labels::project(&self.fleet, &plan.project_ref)),
            ..NetworkCreateRequest::default()
        };
        self.change(self.docker.create_network(request)).await.map(drop).map_err(with_remedy)
    }

    /// Removes a network by its id.
    pub async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        gone_is_fine(self.change(self.docker.remove_network(id)).await)
    }
}

/// The engine does not list a network that it failed to write down (a full disk, for example), but keeps its bridge's name
/// until it is restarted. The caller has removed the project's networks that are listed.
fn with_remedy(error: EngineError) -> EngineError {
    match error {
        EngineError::Refused { status, message } if message.contains("networks have same bridge name") => {
            let remedy = "the engine holds a network that it could not write down; restart it (systemctl restart docker)";
            EngineError::Refused { status, message: format!("{remedy}: {message}") }
        }
        other => other,
    }
}

fn project_network(network: Network) -> ProjectNetwork {
    let subnet = subnets(&network).into_iter().next();
    let marks = network.labels.unwrap_or_default();
    let options = network.options.unwrap_or_default();
    ProjectNetwork {
        id: network.id.unwrap_or_default(),
        name: network.name.unwrap_or_default(),
        project_ref: marks.get(labels::PROJECT).cloned().unwrap_or_default(),
        bridge: options.get(BRIDGE_OPTION).cloned().unwrap_or_default(),
        subnet,
    }
}

fn subnets(network: &Network) -> Vec<Ipv4Net> {
    let configs = network.ipam.as_ref().and_then(|ipam| ipam.config.as_deref()).unwrap_or_default();
    configs.iter().filter_map(|config| config.subnet.as_ref()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_the_engine_holds_unseen_is_told_with_the_remedy() {
        let refused =
            |message: &str| with_remedy(EngineError::Refused { status: 403, message: message.to_owned() });
        let held =
            "cannot create network a1 (sl1): conflicts with network b2 (sl1): networks have same bridge name";
        assert!(
            refused(held)
                .to_string()
                .contains("restart it (systemctl restart docker): cannot create network")
        );
        assert_eq!(refused("no space left").to_string(), "no space left");
    }
}
