//! `supalove.v1.ClusterService`. The call layer admits only the operator.

use std::time::Duration;

use supalove_certs::JoinToken;
use supalove_proto::v1::{
    self as pb, CreateJoinTokenRequest, CreateJoinTokenResponse, GetClusterRequest, GetClusterResponse,
    GetNodeRequest, GetNodeResponse, ListJoinTokensRequest, ListJoinTokensResponse, ListNodesRequest,
    ListNodesResponse, NodeAlarm, NodeResources, RevokeJoinTokenRequest, RevokeJoinTokenResponse,
    RevokeNodeRequest, RevokeNodeResponse, cluster_service_server::ClusterService,
};
use tonic::{Request, Response, Status};

use super::{
    Cluster, ClusterKind, Condition, Node, NodeAmounts, NodeState, store,
    store::{Wanted, WantedTokens},
};
use crate::sessions::Fleet;
use supalove_core::{
    Core,
    access::Call,
    error::{Error, Result},
    hints::Hint,
    ids::{JoinTokenId, NodeId},
    wire::{duration, page, page_size, parse_page_id, parse_page_token, timestamp},
};

const DEFAULT_TTL: Duration = Duration::from_hours(1);
const MAX_TTL: Duration = Duration::from_hours(7 * 24);
const MAX_USES: u32 = 1000;

#[derive(Clone)]
pub struct ClusterApi {
    core: Core,
    fleet: Fleet,
}

impl ClusterApi {
    pub fn new(fleet: Fleet) -> Self {
        Self { core: fleet.core().for_calls(), fleet }
    }
}

fn parse_node(id: &str) -> Result<NodeId> {
    id.parse().map_err(|e: supalove_core::ids::InvalidId| Error::field("node_id", e.to_string()))
}

#[tonic::async_trait]
impl ClusterService for ClusterApi {
    async fn get_cluster(
        &self,
        request: Request<GetClusterRequest>,
    ) -> Result<Response<GetClusterResponse>, Status> {
        let cluster = store::find(&self.core.db, &request.get_ref().cluster, &self.core.times).await?;
        Ok(Response::new(GetClusterResponse { cluster: Some(cluster.into()) }))
    }

    async fn list_nodes(
        &self,
        request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let after = parse_page_token(&body.page_token)?;
        let cluster = store::find(&self.core.db, &body.cluster, &self.core.times).await?;
        let wanted = Wanted { cluster: Some(cluster.id), after: after.as_deref(), node: None };
        let found = store::nodes(&self.core.db, wanted, size + 1, &self.core.times).await?;
        let (found, next) = page(found, size, |n| n.name.clone());
        let nodes = found.into_iter().map(pb::Node::from).collect();
        Ok(Response::new(ListNodesResponse { nodes, next_page_token: next }))
    }

    async fn get_node(&self, request: Request<GetNodeRequest>) -> Result<Response<GetNodeResponse>, Status> {
        let node =
            store::node(&self.core.db, parse_node(&request.get_ref().node_id)?, &self.core.times).await?;
        Ok(Response::new(GetNodeResponse { node: Some(node.into()) }))
    }

    async fn revoke_node(
        &self,
        request: Request<RevokeNodeRequest>,
    ) -> Result<Response<RevokeNodeResponse>, Status> {
        let call = Call::from_request(&request)?;
        let id = parse_node(&request.get_ref().node_id)?;
        call.names(&id.to_string());
        let mut mutation = self.core.mutation(&call);
        let node = store::revoke(&mut mutation, id, &self.core.times).await?;
        mutation.commit(&id.to_string(), [Hint::Sessions, Hint::Node(id)]).await?;
        Ok(Response::new(RevokeNodeResponse { node: Some(node.into()) }))
    }

    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<CreateJoinTokenResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let ttl = duration("ttl", body.ttl, DEFAULT_TTL, MAX_TTL)?;
        if ttl.is_zero() {
            return Err(Error::field("ttl", "must be more than 0").into());
        }
        let max_uses = match body.max_uses {
            0 => 1,
            uses if uses > MAX_USES => {
                return Err(Error::field("max_uses", "must be at most 1000").into());
            }
            uses => uses,
        };
        let cluster = store::find(&self.core.db, &body.cluster, &self.core.times).await?;
        let id = JoinTokenId::generate();
        let token = JoinToken::generate(self.fleet.pki().roots().signing().fingerprint(), id.0)
            .map_err(Error::internal)?;
        let new = store::NewJoinToken {
            id,
            cluster: cluster.id,
            secret_hash: &token.secret_hash(),
            max_uses: i32::try_from(max_uses).unwrap_or(1),
            ttl,
        };
        let mut mutation = self.core.mutation(&call);
        let expires_at = store::insert_join_token(&mut mutation, &new).await?;
        mutation.commit(&id.to_string(), []).await?;
        Ok(Response::new(CreateJoinTokenResponse {
            join_token: token.to_string(),
            id: id.to_string(),
            expire_time: Some(timestamp(expires_at)),
            max_uses,
            join_command: format!(
                "SUPALOVE_JOIN_TOKEN={token} supalove-agent join --controller {}",
                self.core.node_address
            ),
        }))
    }

    async fn list_join_tokens(
        &self,
        request: Request<ListJoinTokensRequest>,
    ) -> Result<Response<ListJoinTokensResponse>, Status> {
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let before = parse_page_id(&body.page_token)?;
        let cluster = store::find(&self.core.db, &body.cluster, &self.core.times).await?;
        let wanted = WantedTokens { cluster: Some(cluster.id), before, ended: body.show_ended, id: None };
        let found = store::join_tokens(&self.core.db, wanted, size + 1).await?;
        let (found, next) = page(found, size, |token| token.id.0.to_string());
        let join_tokens = found.into_iter().map(Into::into).collect();
        Ok(Response::new(ListJoinTokensResponse { join_tokens, next_page_token: next }))
    }

    async fn revoke_join_token(
        &self,
        request: Request<RevokeJoinTokenRequest>,
    ) -> Result<Response<RevokeJoinTokenResponse>, Status> {
        let call = Call::from_request(&request)?;
        let id = request.get_ref().join_token_id.parse::<JoinTokenId>();
        let id = id.map_err(|e| Error::field("join_token_id", e.to_string()))?;
        call.names(&id.to_string());
        let mut mutation = self.core.mutation(&call);
        let token = store::revoke_join_token(&mut mutation, id).await?;
        mutation.commit(&id.to_string(), []).await?;
        Ok(Response::new(RevokeJoinTokenResponse { join_token: Some(token.into()) }))
    }
}

impl From<store::JoinToken> for pb::JoinToken {
    fn from(t: store::JoinToken) -> Self {
        let state = match t {
            store::JoinToken { revoked_at: Some(_), .. } => pb::JoinTokenState::Revoked,
            store::JoinToken { uses, max_uses, .. } if uses >= max_uses => pb::JoinTokenState::Used,
            store::JoinToken { expired: true, .. } => pb::JoinTokenState::Expired,
            _ => pb::JoinTokenState::Usable,
        };
        Self {
            id: t.id.to_string(),
            cluster_id: t.cluster.to_string(),
            state: state.into(),
            uses: t.uses.unsigned_abs(),
            max_uses: t.max_uses.unsigned_abs(),
            create_time: Some(timestamp(t.created_at)),
            expire_time: Some(timestamp(t.expires_at)),
            revoke_time: t.revoked_at.map(timestamp),
        }
    }
}

impl From<Cluster> for pb::Cluster {
    fn from(c: Cluster) -> Self {
        let count = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
        let kind = match c.kind {
            ClusterKind::Shared => pb::ClusterKind::Shared,
            ClusterKind::Private => pb::ClusterKind::Private,
        };
        Self {
            id: c.id.to_string(),
            name: c.name,
            kind: kind.into(),
            nodes: count(c.nodes),
            nodes_connected: count(c.nodes_connected),
            projects: count(c.projects),
            create_time: Some(timestamp(c.created_at)),
        }
    }
}

impl From<Node> for pb::Node {
    fn from(n: Node) -> Self {
        let state = match n.state {
            NodeState::Enrolled => pb::NodeState::Enrolled,
            NodeState::Ready => pb::NodeState::Ready,
            NodeState::Unhealthy => pb::NodeState::Unhealthy,
            NodeState::Lost => pb::NodeState::Lost,
            NodeState::Revoked => pb::NodeState::Revoked,
        };
        Self {
            id: n.id.to_string(),
            cluster_id: n.cluster.to_string(),
            name: n.name,
            state: state.into(),
            capacity: Some(n.capacity.into()),
            used: Some(n.used.into()),
            projects: u32::try_from(n.projects).unwrap_or(u32::MAX),
            agent_version: n.agent_version,
            engine_version: n.engine_version,
            advertise_address: n.advertise_address,
            last_seen_time: n.seen_at.map(timestamp),
            blocked_slots: n.blocked,
            unexplained_projects: n.unexplained,
            create_time: Some(timestamp(n.created_at)),
            revoke_time: n.revoked_at.map(timestamp),
            certificate_expire_time: n.certificate_ends.map(timestamp),
            certificate_ca_sha256: n.certificate_ca,
            alarms: n.duplicate.map(duplicate).into_iter().collect(),
            conditions: n.conditions.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Condition> for pb::NodeCondition {
    fn from(one: Condition) -> Self {
        Self {
            reason: one.reason,
            message: one.message,
            since: one.since.map(timestamp),
            blocking: one.blocking,
        }
    }
}

impl From<NodeAmounts> for NodeResources {
    fn from(amounts: NodeAmounts) -> Self {
        Self {
            cpu_millis: amounts.cpu_millis.unsigned_abs(),
            memory_mib: amounts.memory_mib.unsigned_abs(),
            disk_mib: amounts.disk_mib.unsigned_abs(),
            slots: amounts.slots.unsigned_abs(),
        }
    }
}

fn duplicate((at, message): (chrono::DateTime<chrono::Utc>, String)) -> NodeAlarm {
    NodeAlarm { reason: pb::NodeAlarmReason::DuplicateIdentity.into(), message, time: Some(timestamp(at)) }
}
