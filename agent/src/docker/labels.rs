//! Labels on every object that the agent creates, and the names it gives. Only objects with the fleet's label are ours.

use std::collections::HashMap;

/// Identity of the fleet.
pub const FLEET: &str = "supalove.fleet";
pub const PROJECT: &str = "supalove.project";
pub const SERVICE: &str = "supalove.service";
/// Generation that the object was created for. A container that a later generation does not change keeps its label.
pub const GENERATION: &str = "supalove.generation";
/// The node whose agent created a volume.
pub const NODE: &str = "supalove.node";
/// Hash over everything a container was created from.
pub const SPEC_HASH: &str = "supalove.spec-hash";

/// Labels that networks, volumes and containers share.
pub fn project(fleet: &str, project_ref: &str) -> HashMap<String, String> {
    HashMap::from([(FLEET.to_owned(), fleet.to_owned()), (PROJECT.to_owned(), project_ref.to_owned())])
}

/// Name of a service's container.
pub fn container_name(project_ref: &str, service: &str) -> String {
    format!("supalove_{project_ref}_{service}")
}

/// Name of a volume.
pub fn volume_name(project_ref: &str, volume: &str) -> String {
    format!("supalove_{project_ref}_{volume}")
}

/// The project that a volume of this name belongs to.
pub fn project_of_volume(name: &str) -> Option<&str> {
    let (project_ref, _) = name.strip_prefix("supalove_")?.split_once('_')?;
    supalove_spec::names::is_project_ref(project_ref).then_some(project_ref)
}

/// Name of the project's network.
pub fn network_name(project_ref: &str) -> String {
    format!("project_{project_ref}_net")
}

/// Name of the network's bridge on the host: Linux allows 15 characters.
pub fn bridge_name(project_ref: &str) -> String {
    let start = project_ref.get(..13).unwrap_or(project_ref);
    format!("{BRIDGE_PREFIX}{start}")
}

/// First letters of every project bridge, of any agent.
pub const BRIDGE_PREFIX: &str = "sl";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_names_its_project() {
        let name = volume_name("abcdefghijklmnopqrst", "db_data");
        assert_eq!(project_of_volume(&name), Some("abcdefghijklmnopqrst"));
        assert_eq!(project_of_volume("supalove_x_db_data"), None);
        assert_eq!(project_of_volume("lost+found"), None);
    }

    #[test]
    fn a_bridge_name_fits_an_interface_name() {
        assert_eq!(bridge_name("abcdefghijklmnopqrst"), "slabcdefghijklm");
        assert!(bridge_name("abcdefghijklmnopqrst").len() <= 15);
    }
}
