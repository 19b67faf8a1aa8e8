//! `supalove.v1.ClusterService`.

use std::time::Duration;

use supalove_certs::JoinToken;
use supalove_proto::v1::{
    self as pb, CordonNodeRequest, CordonNodeResponse, CreateClusterRequest, CreateClusterResponse,
    CreateJoinTokenRequest, CreateJoinTokenResponse, DeleteClusterRequest, DeleteClusterResponse,
    DrainNodeRequest, DrainNodeResponse, ForgetNodeRequest, ForgetNodeResponse, GetClusterRequest,
    GetClusterResponse, GetNodeRequest, GetNodeResponse, ListAlarmsRequest, ListAlarmsResponse,
    ListClustersRequest, ListClustersResponse, ListJoinTokensRequest, ListJoinTokensResponse,
    ListNodesRequest, ListNodesResponse, NodeResources, RemoveNodeRequest, RemoveNodeResponse,
    RevokeJoinTokenRequest, RevokeJoinTokenResponse, RevokeNodeRequest, RevokeNodeResponse, StandingProject,
    UncordonNodeRequest, UncordonNodeResponse, UpdateClusterRequest, UpdateClusterResponse,
    UpdateNodeRequest, UpdateNodeResponse, cluster_service_server::ClusterService,
};
use tonic::{Request, Response, Status};

use super::{
    Condition, Node, NodeAmounts, NodeState,
    access::{ClusterKey, JoinTokenKey, NodeKey, allow, sees_fleet},
    alarms, changes, quotas, store,
    store::{Viewer, Wanted, clusters::WantedClusters, join_tokens},
};
use crate::sessions::Fleet;
use supalove_core::{
    Core,
    access::Call,
    error::{Error, Result},
    hints::Hint,
    ids::{ClusterId, JoinTokenId, OrganizationId},
    wire::{duration, page, page_size, parse_page_id, parse_page_token, timestamp},
};
use supalove_organizations::OrganizationKey;

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

/// Where a page of clusters begins: after a name and an id. The name is behind the id, which has no space.
fn parse_after(token: Option<&str>) -> Result<Option<(&str, uuid::Uuid)>> {
    let Some(token) = token else { return Ok(None) };
    let wrong = || Error::field("page_token", "is not from this list");
    let (id, name) = token.split_once(' ').ok_or_else(wrong)?;
    let id: ClusterId = id.parse().map_err(|_| wrong())?;
    Ok(Some((name, id.0)))
}

#[tonic::async_trait]
impl ClusterService for ClusterApi {
    async fn create_cluster(
        &self,
        request: Request<CreateClusterRequest>,
    ) -> Result<Response<CreateClusterResponse>, Status> {
        let call = Call::from_request(&request)?;
        let cluster = changes::create(&self.core, &call, request.get_ref()).await?;
        let cluster = cluster.into_wire(sees_fleet(&call)?);
        Ok(Response::new(CreateClusterResponse { cluster: Some(cluster) }))
    }

    async fn get_cluster(
        &self,
        request: Request<GetClusterRequest>,
    ) -> Result<Response<GetClusterResponse>, Status> {
        let call = Call::from_request(&request)?;
        let key = self.core.access.allow::<ClusterKey>(&call, &request.get_ref().cluster).await?;
        let cluster = changes::shown(&self.core, &call, key.id).await?.into_wire(sees_fleet(&call)?);
        Ok(Response::new(GetClusterResponse { cluster: Some(cluster) }))
    }

    async fn list_clusters(
        &self,
        request: Request<ListClustersRequest>,
    ) -> Result<Response<ListClustersResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let token = parse_page_token(&body.page_token)?;
        let after = parse_after(token.as_deref())?;
        let mut organization: Option<OrganizationId> = None;
        if !body.organization.is_empty() {
            organization =
                Some(self.core.access.allow::<OrganizationKey>(&call, &body.organization).await?.id);
        }
        let viewer = Some(call.principal()?.user);
        let wanted = WantedClusters { id: None, viewer, organization, after };
        let found = store::clusters::clusters(&self.core.db, wanted, size + 1, &self.core.times).await?;
        let (found, next) = page(found, size, |one| format!("{} {}", one.id, one.settings.name));
        let sees_fleet = sees_fleet(&call)?;
        let clusters = found.into_iter().map(|one| one.into_wire(sees_fleet)).collect();
        Ok(Response::new(ListClustersResponse { clusters, next_page_token: next }))
    }

    async fn update_cluster(
        &self,
        request: Request<UpdateClusterRequest>,
    ) -> Result<Response<UpdateClusterResponse>, Status> {
        let call = Call::from_request(&request)?;
        let (cluster, overfull_nodes) = changes::update(&self.fleet, &call, request.get_ref()).await?;
        let cluster = Some(cluster.into_wire(sees_fleet(&call)?));
        Ok(Response::new(UpdateClusterResponse { cluster, overfull_nodes }))
    }

    async fn delete_cluster(
        &self,
        request: Request<DeleteClusterRequest>,
    ) -> Result<Response<DeleteClusterResponse>, Status> {
        let call = Call::from_request(&request)?;
        changes::delete(&self.core, &call, &request.get_ref().cluster).await?;
        Ok(Response::new(DeleteClusterResponse {}))
    }

    async fn list_nodes(
        &self,
        request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let after = parse_page_token(&body.page_token)?;
        let cluster: ClusterKey = allow(&self.core, &call, &body.cluster).await?;
        let wanted = Wanted {
            cluster: Some(cluster.id),
            after: after.as_deref().map(|name| (name, uuid::Uuid::max())),
            ..Wanted::default()
        };
        let found = store::nodes(&self.core.db, wanted, size + 1, &self.core.times).await?;
        let (found, next) = page(found, size, |n| n.name.clone());
        let nodes = found.into_iter().map(pb::Node::from).collect();
        Ok(Response::new(ListNodesResponse { nodes, next_page_token: next }))
    }

    async fn get_node(&self, request: Request<GetNodeRequest>) -> Result<Response<GetNodeResponse>, Status> {
        let call = Call::from_request(&request)?;
        let key: NodeKey = allow(&self.core, &call, &request.get_ref().node_id).await?;
        let node = store::node(&self.core.db, key.node, &self.core.times).await?;
        let projects = standing(store::standing_on(&self.core.db, key.node).await?);
        Ok(Response::new(GetNodeResponse { node: Some(node.into()), projects }))
    }

    async fn revoke_node(
        &self,
        request: Request<RevokeNodeRequest>,
    ) -> Result<Response<RevokeNodeResponse>, Status> {
        let call = Call::from_request(&request)?;
        let key: NodeKey = allow(&self.core, &call, &request.get_ref().node_id).await?;
        let mut mutation = self.core.mutation(&call);
        let node = store::revoke(&mut mutation, key.node, &self.core.times).await?;
        mutation.commit(&key.node.to_string(), [Hint::Sessions, Hint::Node(key.node)]).await?;
        Ok(Response::new(RevokeNodeResponse { node: Some(node.into()) }))
    }

    async fn cordon_node(
        &self,
        request: Request<CordonNodeRequest>,
    ) -> Result<Response<CordonNodeResponse>, Status> {
        let call = Call::from_request(&request)?;
        let node = changes::set_schedulable(&self.core, &call, &request.get_ref().node_id, false).await?;
        Ok(Response::new(CordonNodeResponse { node: Some(node.into()) }))
    }

    async fn uncordon_node(
        &self,
        request: Request<UncordonNodeRequest>,
    ) -> Result<Response<UncordonNodeResponse>, Status> {
        let call = Call::from_request(&request)?;
        let node = changes::set_schedulable(&self.core, &call, &request.get_ref().node_id, true).await?;
        Ok(Response::new(UncordonNodeResponse { node: Some(node.into()) }))
    }

    async fn drain_node(
        &self,
        request: Request<DrainNodeRequest>,
    ) -> Result<Response<DrainNodeResponse>, Status> {
        let call = Call::from_request(&request)?;
        let (node, found) = changes::drain(&self.core, &call, &request.get_ref().node_id).await?;
        Ok(Response::new(DrainNodeResponse { node: Some(node.into()), projects: standing(found) }))
    }

    async fn update_node(
        &self,
        request: Request<UpdateNodeRequest>,
    ) -> Result<Response<UpdateNodeResponse>, Status> {
        let call = Call::from_request(&request)?;
        let node = changes::update_node(&self.core, &call, request.get_ref()).await?;
        Ok(Response::new(UpdateNodeResponse { node: Some(node.into()) }))
    }

    async fn remove_node(
        &self,
        request: Request<RemoveNodeRequest>,
    ) -> Result<Response<RemoveNodeResponse>, Status> {
        let call = Call::from_request(&request)?;
        let node = changes::remove_node(&self.core, &call, request.get_ref()).await?;
        Ok(Response::new(RemoveNodeResponse { node: Some(node.into()) }))
    }

    async fn forget_node(
        &self,
        request: Request<ForgetNodeRequest>,
    ) -> Result<Response<ForgetNodeResponse>, Status> {
        let call = Call::from_request(&request)?;
        let node = changes::forget_node(&self.core, &call, request.get_ref()).await?;
        Ok(Response::new(ForgetNodeResponse { node: Some(node.into()) }))
    }

    async fn list_alarms(
        &self,
        request: Request<ListAlarmsRequest>,
    ) -> Result<Response<ListAlarmsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let token = parse_page_token(&body.page_token)?;
        let after = alarms::parse_after(token.as_deref())?;
        let mut cluster = None;
        if !body.cluster.is_empty() {
            cluster = Some(allow::<ClusterKey>(&self.core, &call, &body.cluster).await?.id);
        }
        let viewer = Viewer { user: call.principal()?.user, sees_fleet: sees_fleet(&call)? };
        let wanted = Wanted { cluster, after, node: None, visible_to: Some(viewer) };
        let found = alarms::troubled(&self.core, wanted, size + 1).await?;
        let (found, next) = page(found, size, |node| format!("{} {}", node.id, node.name));
        let alarms = found.iter().flat_map(alarms::all_of).collect();
        Ok(Response::new(ListAlarmsResponse { alarms, next_page_token: next }))
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
        let cluster: ClusterKey = allow(&self.core, &call, &body.cluster).await?;
        let id = JoinTokenId::generate();
        let token = JoinToken::generate(self.fleet.pki().roots().signing().fingerprint(), id.0)
            .map_err(Error::internal)?;
        let new = join_tokens::New {
            id,
            cluster: cluster.id,
            secret_hash: &token.secret_hash(),
            max_uses: i32::try_from(max_uses).unwrap_or(1),
            ttl,
        };
        let mut mutation = self.core.mutation(&call);
        quotas::take_join_token(&mut mutation, cluster.id).await?;
        let expires_at = join_tokens::insert(&mut mutation, &new).await?;
        mutation.commit(&id.to_string(), []).await?;
        let downloads = self.fleet.downloads();
        Ok(Response::new(CreateJoinTokenResponse {
            join_token: token.to_string(),
            id: id.to_string(),
            expire_time: Some(timestamp(expires_at)),
            max_uses,
            join_command: downloads.command().with(&token),
            agent_join_command: downloads.command().by_hand(&token),
            architectures: downloads.architectures().into_iter().map(|one| one.name().to_owned()).collect(),
        }))
    }

    async fn list_join_tokens(
        &self,
        request: Request<ListJoinTokensRequest>,
    ) -> Result<Response<ListJoinTokensResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let before = parse_page_id(&body.page_token)?;
        let cluster: ClusterKey = allow(&self.core, &call, &body.cluster).await?;
        let wanted =
            join_tokens::Wanted { cluster: Some(cluster.id), before, ended: body.show_ended, id: None };
        let found = join_tokens::list(&self.core.db, wanted, size + 1).await?;
        let (found, next) = page(found, size, |token| token.id.0.to_string());
        let join_tokens = found.into_iter().map(Into::into).collect();
        Ok(Response::new(ListJoinTokensResponse { join_tokens, next_page_token: next }))
    }

    async fn revoke_join_token(
        &self,
        request: Request<RevokeJoinTokenRequest>,
    ) -> Result<Response<RevokeJoinTokenResponse>, Status> {
        let call = Call::from_request(&request)?;
        let id = allow::<JoinTokenKey>(&self.core, &call, &request.get_ref().join_token_id).await?.token;
        let mut mutation = self.core.mutation(&call);
        let token = join_tokens::revoke(&mut mutation, id).await?;
        mutation.commit(&id.to_string(), []).await?;
        Ok(Response::new(RevokeJoinTokenResponse { join_token: Some(token.into()) }))
    }
}

fn standing(found: Vec<(String, bool)>) -> Vec<StandingProject> {
    found.into_iter().map(|(project_ref, running)| StandingProject { project_ref, running }).collect()
}

impl From<join_tokens::JoinToken> for pb::JoinToken {
    fn from(t: join_tokens::JoinToken) -> Self {
        let state = match t {
            join_tokens::JoinToken { revoked_at: Some(_), .. } => pb::JoinTokenState::Revoked,
            join_tokens::JoinToken { uses, max_uses, .. } if uses >= max_uses => pb::JoinTokenState::Used,
            join_tokens::JoinToken { expired: true, .. } => pb::JoinTokenState::Expired,
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

impl From<Node> for pb::Node {
    fn from(n: Node) -> Self {
        let state = match n.state {
            NodeState::Enrolled => pb::NodeState::Enrolled,
            NodeState::Ready => pb::NodeState::Ready,
            NodeState::Unhealthy => pb::NodeState::Unhealthy,
            NodeState::Lost => pb::NodeState::Lost,
            NodeState::Revoked => pb::NodeState::Revoked,
        };
        let availability = match n.draining_since {
            Some(_) => pb::NodeAvailability::Draining,
            None if n.schedulable => pb::NodeAvailability::Active,
            None => pb::NodeAvailability::Cordoned,
        };
        let alarms = alarms::of(&n).into_iter().map(Into::into).collect();
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
            alarms,
            conditions: n.conditions.into_iter().map(Into::into).collect(),
            availability: availability.into(),
            labels: n.labels,
            etag: n.revision.to_string(),
            drain_time: n.draining_since.map(timestamp),
            forget_time: n.forgotten_at.map(timestamp),
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
