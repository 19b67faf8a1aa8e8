//! How much of the fleet the private clusters of one organization may be: its nodes hold connections and rows of the controllers
//! that all organizations share, whoever runs the hosts. Shared clusters are the operator's, who may have any number.

use supalove_core::{
    Write,
    error::{Error, Result},
    ids::{ClusterId, OrganizationId},
};
use supalove_proto::v1::ErrorReason;

/// Nodes that are not revoked, in all private clusters of an organization together.
const NODES: i64 = 200;
/// Private clusters of an organization.
const CLUSTERS: i64 = 20;
/// Join tokens of a private cluster that still work.
const JOIN_TOKENS: i64 = 100;

/// Returns an error if the owner of the cluster has all nodes that it may have. Hosts that join at the same moment may exceed the
/// limit by as many.
pub async fn take_node(write: &mut impl Write, cluster: ClusterId) -> Result<()> {
    let nodes = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM nodes n JOIN clusters c ON c.id = n.cluster_id
         JOIN clusters here ON here.organization_id = c.organization_id WHERE here.id = $1 AND n.revoked_at IS NULL",
        cluster.0,
    )
    .fetch_one(write.connection().await?)
    .await?;
    if nodes < NODES {
        return Ok(());
    }
    // Not RESOURCE_EXHAUSTED: an agent takes that for a busy controller, and comes again.
    Err(Error::FailedPrecondition {
        reason: ErrorReason::QuotaExceeded,
        message: format!(
            "the private clusters of the organization have {NODES} nodes, and may have no more; remove one with `supalove nodes remove`"
        ),
    })
}

/// Returns an error if the organization has all private clusters that it may have. The caller has locked the organization.
pub async fn take_cluster(write: &mut impl Write, owner: OrganizationId) -> Result<()> {
    let clusters = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM clusters WHERE organization_id = $1 AND deleted_at IS NULL",
        owner.0,
    )
    .fetch_one(write.connection().await?)
    .await?;
    within(clusters, CLUSTERS, "organization:private_clusters", || {
        format!(
            "the organization has {CLUSTERS} private clusters, and may have no more; delete one that is empty"
        )
    })
}

/// Returns an error if the cluster is private and has all join tokens that it may have. Calls at the same moment may exceed the
/// limit by as many.
pub async fn take_join_token(write: &mut impl Write, cluster: ClusterId) -> Result<()> {
    let tokens = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM join_tokens t JOIN clusters c ON c.id = t.cluster_id
         WHERE c.id = $1 AND c.organization_id IS NOT NULL AND t.revoked_at IS NULL AND t.expires_at > now() AND t.uses < t.max_uses",
        cluster.0,
    )
    .fetch_one(write.connection().await?)
    .await?;
    within(tokens, JOIN_TOKENS, "cluster:join_tokens", || {
        format!(
            "the cluster has {JOIN_TOKENS} join tokens that work, and may have no more; revoke one with `supalove join-token revoke`"
        )
    })
}

fn within(used: i64, limit: i64, subject: &str, message: impl FnOnce() -> String) -> Result<()> {
    if used < limit {
        return Ok(());
    }
    Err(Error::Quota { subject: subject.to_owned(), message: message() })
}
