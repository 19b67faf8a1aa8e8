//! Credentials for registries, one set for each registry and cluster. In: what a cluster's managers set. Out: [`for_node`], the
//! credentials for one pull of a node that lacks an image; nobody else gets a password.
//!
//! They are no part of a specification: an agent stores that, and hashes it into containers. They go beside it, when an agent says
//! that it lacks an image, and again when it says so again.

mod api;
mod store;

use supalove_core::{
    Core,
    error::{Error, Result},
    ids::{ClusterId, NodeId},
    vault::{Scope, columns::SealedColumn},
};
use supalove_proto::node::v1::RegistryCredentials;
use supalove_spec::{names::is_local_image, registry::Registry};

pub use api::RegistryApi;
pub(crate) use store::delete_of_cluster;

/// Sealed passwords.
pub const SEALED: SealedColumn = SealedColumn {
    table: "registry_credentials",
    column: "sealed",
    kind: "registry",
    id: "'clu_' || replace(cluster_id::text, '-', '')",
    name: "registry",
    version: "1",
};

fn scope<'a>(cluster: &'a str, registry: &'a Registry) -> Scope<'a> {
    Scope { kind: SEALED.kind, id: cluster, name: registry.as_str(), version: 1 }
}

fn seal(core: &Core, cluster: ClusterId, registry: &Registry, password: &str) -> Result<Vec<u8>> {
    let cluster = cluster.to_string();
    core.vault.seal(scope(&cluster, registry), password.as_bytes()).map_err(Error::internal)
}

/// The credentials with which a node may pull an image: those of its cluster for the image's registry, if there are any.
pub async fn for_node(core: &Core, node: NodeId, image: &str) -> Result<Option<RegistryCredentials>> {
    // What is never pulled needs none.
    if is_local_image(image) {
        return Ok(None);
    }
    let Some(registry) = Registry::of_image(image) else { return Ok(None) };
    let Some(found) = store::of_node(&core.db, node, &registry).await? else { return Ok(None) };
    let cluster = found.cluster.to_string();
    let opened = core.vault.open(scope(&cluster, &registry), &found.sealed).map_err(Error::internal)?;
    let password = std::str::from_utf8(&opened).map_err(Error::internal)?.to_owned();
    Ok(Some(RegistryCredentials { registry: registry.to_string(), username: found.username, password }))
}
