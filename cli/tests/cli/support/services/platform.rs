//! The fake's clusters, nodes, join tokens, authorities and the platform itself.

use supalove_proto::v1::{
    authority_service_server::AuthorityService, cluster_service_server::ClusterService,
    platform_service_server::PlatformService, *,
};
use tonic::{Request, Response, Status};

use super::{super::fake::Fake, Answer};

#[tonic::async_trait]
impl ClusterService for Fake {
    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Answer<CreateJoinTokenResponse> {
        let ttl = request.get_ref().ttl.map_or(-1, |d| d.seconds);
        self.enter(&request, "CreateJoinToken", &ttl.to_string()).await?;
        Ok(Response::new(CreateJoinTokenResponse {
            join_token: "slj1.a.b.c".into(),
            id: "jtk_1".into(),
            join_command:
                "script=$(curl … https://c:8001/join) && SUPALOVE_JOIN_TOKEN=slj1.a.b.c sh -c \"$script\" join".into(),
            agent_join_command: "SUPALOVE_JOIN_TOKEN=slj1.a.b.c supalove-agent join --controller c:8001"
                .into(),
            architectures: vec!["x86_64".into()],
            max_uses: request.get_ref().max_uses,
            ..Default::default()
        }))
    }

    async fn list_join_tokens(
        &self,
        request: Request<ListJoinTokensRequest>,
    ) -> Answer<ListJoinTokensResponse> {
        self.enter(&request, "ListJoinTokens", &request.get_ref().show_ended.to_string()).await?;
        let mut join_tokens =
            vec![join_token('a', JoinTokenState::Usable), join_token('b', JoinTokenState::Revoked)];
        join_tokens.truncate(if request.get_ref().show_ended { 2 } else { 1 });
        Ok(Response::new(ListJoinTokensResponse { join_tokens, ..Default::default() }))
    }

    async fn revoke_join_token(
        &self,
        request: Request<RevokeJoinTokenRequest>,
    ) -> Answer<RevokeJoinTokenResponse> {
        self.enter(&request, "RevokeJoinToken", &request.get_ref().join_token_id).await?;
        let join_token = Some(join_token('a', JoinTokenState::Revoked));
        Ok(Response::new(RevokeJoinTokenResponse { join_token }))
    }

    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Answer<ListNodesResponse> {
        self.enter(&request, "ListNodes", "").await?;
        if request.get_ref().cluster == "clu_2" {
            return Err(Status::permission_denied("only the operator sees its nodes"));
        }
        let gone = Node {
            id: "nod_2".into(),
            name: "host-gone".into(),
            state: NodeState::Revoked.into(),
            revoke_time: Some(prost_types::Timestamp::default()),
            ..node()
        };
        Ok(Response::new(ListNodesResponse { nodes: vec![node(), gone], ..Default::default() }))
    }

    async fn get_node(&self, request: Request<GetNodeRequest>) -> Answer<GetNodeResponse> {
        self.enter(&request, "GetNode", &request.get_ref().node_id).await?;
        Ok(Response::new(GetNodeResponse { node: Some(node()), projects: standing() }))
    }

    async fn revoke_node(&self, request: Request<RevokeNodeRequest>) -> Answer<RevokeNodeResponse> {
        self.enter(&request, "RevokeNode", &request.get_ref().node_id).await?;
        let node = Node { state: NodeState::Revoked.into(), ..node() };
        Ok(Response::new(RevokeNodeResponse { node: Some(node) }))
    }

    async fn create_cluster(&self, request: Request<CreateClusterRequest>) -> Answer<CreateClusterResponse> {
        let CreateClusterRequest { name, organization, policy, overcommit, reserve, .. } = request.get_ref();
        let memory = (overcommit.unwrap_or_default().memory, reserve.unwrap_or_default().memory_mib);
        let asked = format!("{name} {organization} {policy} {} {}", memory.0, memory.1);
        self.enter(&request, "CreateCluster", &asked).await?;
        Ok(Response::new(CreateClusterResponse { cluster: Some(cluster(name)) }))
    }

    async fn get_cluster(&self, request: Request<GetClusterRequest>) -> Answer<GetClusterResponse> {
        self.enter(&request, "GetCluster", &request.get_ref().cluster).await?;
        Ok(Response::new(GetClusterResponse { cluster: Some(cluster("default")) }))
    }

    async fn list_clusters(&self, request: Request<ListClustersRequest>) -> Answer<ListClustersResponse> {
        self.enter(&request, "ListClusters", &request.get_ref().organization).await?;
        // Of this one the caller sees only that it exists.
        let hidden = Cluster {
            id: "clu_2".into(),
            name: "us-west".into(),
            kind: ClusterKind::Shared.into(),
            ..Default::default()
        };
        Ok(Response::new(ListClustersResponse {
            clusters: vec![cluster("default"), hidden],
            ..Default::default()
        }))
    }

    async fn update_cluster(&self, request: Request<UpdateClusterRequest>) -> Answer<UpdateClusterResponse> {
        let body = request.get_ref();
        let paths = body.update_mask.clone().unwrap_or_default().paths.join(",");
        self.enter(&request, "UpdateCluster", &format!("{} {paths} {}", body.cluster, body.etag)).await?;
        let overfull_nodes = vec!["host-7".to_owned()];
        Ok(Response::new(UpdateClusterResponse { cluster: Some(cluster("default")), overfull_nodes }))
    }

    async fn delete_cluster(&self, request: Request<DeleteClusterRequest>) -> Answer<DeleteClusterResponse> {
        self.enter(&request, "DeleteCluster", &request.get_ref().cluster).await?;
        Ok(Response::new(DeleteClusterResponse {}))
    }

    async fn cordon_node(&self, request: Request<CordonNodeRequest>) -> Answer<CordonNodeResponse> {
        self.enter(&request, "CordonNode", &request.get_ref().node_id).await?;
        let node = Node { availability: NodeAvailability::Cordoned.into(), ..node() };
        Ok(Response::new(CordonNodeResponse { node: Some(node) }))
    }

    async fn uncordon_node(&self, request: Request<UncordonNodeRequest>) -> Answer<UncordonNodeResponse> {
        self.enter(&request, "UncordonNode", &request.get_ref().node_id).await?;
        Ok(Response::new(UncordonNodeResponse { node: Some(node()) }))
    }

    async fn drain_node(&self, request: Request<DrainNodeRequest>) -> Answer<DrainNodeResponse> {
        self.enter(&request, "DrainNode", &request.get_ref().node_id).await?;
        let node = Node { availability: NodeAvailability::Draining.into(), ..node() };
        Ok(Response::new(DrainNodeResponse { node: Some(node), projects: standing() }))
    }

    async fn forget_node(&self, request: Request<ForgetNodeRequest>) -> Answer<ForgetNodeResponse> {
        let ForgetNodeRequest { node_id, lost_projects } = request.get_ref();
        self.enter(&request, "ForgetNode", &format!("{node_id} {}", lost_projects.join(","))).await?;
        let node = Node { state: NodeState::Revoked.into(), ..node() };
        Ok(Response::new(ForgetNodeResponse { node: Some(node) }))
    }

    async fn list_alarms(&self, request: Request<ListAlarmsRequest>) -> Answer<ListAlarmsResponse> {
        let ListAlarmsRequest { cluster, page_token, .. } = request.get_ref();
        self.enter(&request, "ListAlarms", &format!("{cluster} {page_token}")).await?;
        let alarm = |reason: &str, blocking| Alarm {
            node_name: "host-7".into(),
            reason: reason.into(),
            message: "look at it".into(),
            blocking,
            ..Default::default()
        };
        let answer = match page_token.as_str() {
            "" => ListAlarmsResponse { alarms: vec![alarm("LOST", true)], next_page_token: "2".into() },
            _ => {
                ListAlarmsResponse { alarms: vec![alarm("LEFTOVERS", false)], next_page_token: String::new() }
            }
        };
        Ok(Response::new(answer))
    }

    async fn update_node(&self, request: Request<UpdateNodeRequest>) -> Answer<UpdateNodeResponse> {
        let UpdateNodeRequest { node_id, name, labels, update_mask, .. } = request.get_ref();
        let paths = update_mask.clone().unwrap_or_default().paths.join(",");
        self.enter(&request, "UpdateNode", &format!("{node_id} {paths} {name} {labels:?}")).await?;
        Ok(Response::new(UpdateNodeResponse { node: Some(node()) }))
    }

    async fn remove_node(&self, request: Request<RemoveNodeRequest>) -> Answer<RemoveNodeResponse> {
        let RemoveNodeRequest { node_id, abandon_projects } = request.get_ref();
        self.enter(&request, "RemoveNode", &format!("{node_id} {}", abandon_projects.join(","))).await?;
        let node = Node { state: NodeState::Revoked.into(), ..node() };
        Ok(Response::new(RemoveNodeResponse { node: Some(node) }))
    }
}

#[tonic::async_trait]
impl AuthorityService for Fake {
    async fn list_authorities(
        &self,
        request: Request<ListAuthoritiesRequest>,
    ) -> Answer<ListAuthoritiesResponse> {
        self.enter(&request, "ListAuthorities", "").await?;
        let signing = Authority { id: "aut_2".into(), ..authority(AuthorityState::Signing) };
        let authorities = vec![authority(AuthorityState::Next), signing];
        Ok(Response::new(ListAuthoritiesResponse { authorities }))
    }

    async fn create_authority(
        &self,
        request: Request<CreateAuthorityRequest>,
    ) -> Answer<CreateAuthorityResponse> {
        self.enter(&request, "CreateAuthority", "").await?;
        let authority = Some(authority(AuthorityState::Next));
        Ok(Response::new(CreateAuthorityResponse { authority }))
    }

    async fn activate_authority(
        &self,
        request: Request<ActivateAuthorityRequest>,
    ) -> Answer<ActivateAuthorityResponse> {
        self.enter(&request, "ActivateAuthority", &request.get_ref().authority_id).await?;
        let authority = Some(authority(AuthorityState::Signing));
        Ok(Response::new(ActivateAuthorityResponse { authority }))
    }

    async fn retire_authority(
        &self,
        request: Request<RetireAuthorityRequest>,
    ) -> Answer<RetireAuthorityResponse> {
        let RetireAuthorityRequest { authority_id, force } = request.get_ref();
        self.enter(&request, "RetireAuthority", &format!("{authority_id} {force}")).await?;
        let authority = Some(authority(AuthorityState::Retired));
        Ok(Response::new(RetireAuthorityResponse { authority }))
    }
}

#[tonic::async_trait]
impl PlatformService for Fake {
    async fn confirm_restore(
        &self,
        request: Request<ConfirmRestoreRequest>,
    ) -> Answer<ConfirmRestoreResponse> {
        let named = request.get_ref().restore_id.clone();
        self.enter(&request, "ConfirmRestore", &named).await?;
        Ok(Response::new(ConfirmRestoreResponse { detail: "node nod_1 has newer generations".into() }))
    }

    async fn get_vault_status(
        &self,
        request: Request<GetVaultStatusRequest>,
    ) -> Answer<GetVaultStatusResponse> {
        self.enter(&request, "GetVaultStatus", "").await?;
        let key = |id: &str, state: MasterKeyState, sealed_values| MasterKey {
            id: id.repeat(16),
            state: state.into(),
            sealed_values,
        };
        Ok(Response::new(GetVaultStatusResponse {
            keys: vec![key("b", MasterKeyState::Current, 40), key("a", MasterKeyState::Previous, 2)],
            waits_for: vec![LaggingReplica {
                controller_id: "ctl_1".into(),
                address: "10.0.0.1:8001".into(),
            }],
        }))
    }

    async fn check_consistency(
        &self,
        request: Request<CheckConsistencyRequest>,
    ) -> Answer<CheckConsistencyResponse> {
        self.enter(&request, "CheckConsistency", "").await?;
        let differences = self.state().differences.clone();
        let not_compared = vec!["node host-8 (nod_2): not connected".into()];
        Ok(Response::new(CheckConsistencyResponse { differences, not_compared, in_flight: 2, nodes: 1 }))
    }

    async fn send_test_mail(&self, request: Request<SendTestMailRequest>) -> Answer<SendTestMailResponse> {
        let to = request.get_ref().to.clone();
        self.enter(&request, "SendTestMail", &to).await?;
        Ok(Response::new(SendTestMailResponse {
            message_id: "mal_1@example.com".into(),
            server_answer: "250 queued\u{1b}[2J as 4X".into(),
        }))
    }

    async fn list_jobs(&self, request: Request<ListJobsRequest>) -> Answer<ListJobsResponse> {
        self.enter(&request, "ListJobs", "").await?;
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let period = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let pruning = Job {
            name: "core.prune".into(),
            controller_id: "ctl_1".into(),
            state: JobState::Failing.into(),
            rhythm: JobRhythm::Every.into(),
            period: period(60),
            replicas: JobReplicas::One.into(),
            overdue: true,
            last_success_time: time(0),
            last_failure_time: time(60),
            last_error: "no such\u{1b}[2J table".into(),
        };
        let placing = Job {
            name: "projects.place".into(),
            controller_id: "ctl_2".into(),
            state: JobState::NotYetRun.into(),
            rhythm: JobRhythm::Woken.into(),
            period: period(10),
            replicas: JobReplicas::Each.into(),
            ..Default::default()
        };
        let answering_replica = Some(AnsweringReplica {
            controller_id: "ctl_2".into(),
            connection_panics: 2,
            password_hashings: 7,
        });
        Ok(Response::new(ListJobsResponse { jobs: vec![pruning, placing], answering_replica }))
    }
}

fn authority(state: AuthorityState) -> Authority {
    Authority {
        id: "aut_1".into(),
        ca_sha256: "ab".repeat(32),
        state: state.into(),
        nodes_trusting: 3,
        needed_by: vec!["host-7".into()],
        ..Default::default()
    }
}

fn join_token(letter: char, state: JoinTokenState) -> JoinToken {
    let id = format!("jtk_{}", letter.to_string().repeat(32));
    JoinToken { id, state: state.into(), uses: 1, max_uses: 3, ..Default::default() }
}

fn cluster(name: &str) -> Cluster {
    Cluster {
        id: "clu_1".into(),
        name: name.into(),
        kind: ClusterKind::Private.into(),
        organization: "acme".into(),
        region: "hall\u{1b}[2J 3".into(),
        labels: [("tier".to_owned(), "gold".to_owned())].into(),
        nodes: 2,
        nodes_connected: 1,
        projects: 3,
        policy: PlacementPolicy::Spread.into(),
        overcommit: Some(ResourceFactors { cpu: 8.0, memory: 1.5, disk: 1.0 }),
        capacity: Some(NodeResources { memory_mib: 1000, ..Default::default() }),
        used: Some(NodeResources { memory_mib: 250, ..Default::default() }),
        free: Some(NodeResources { memory_mib: 700, ..Default::default() }),
        etag: "7".into(),
        ..Default::default()
    }
}

fn standing() -> Vec<StandingProject> {
    let one = |project_ref: &str, running| StandingProject { project_ref: project_ref.into(), running };
    vec![one("abc", true), one("def", false)]
}

fn node() -> Node {
    Node {
        cluster_id: "clu_1".into(),
        capacity: Some(NodeResources { cpu_millis: 8000, ..Default::default() }),
        used: Some(NodeResources { cpu_millis: 2000, ..Default::default() }),
        labels: [("rack".to_owned(), "7".to_owned())].into(),
        id: "nod_1".into(),
        name: "host-7".into(),
        state: NodeState::Ready.into(),
        alarms: vec![NodeAlarm {
            reason: NodeAlarmReason::DuplicateIdentity.into(),
            message: "two agents have this identity".into(),
            time: None,
        }],
        conditions: vec![NodeCondition {
            reason: "PORTS_GONE".into(),
            message: "published ports do not answer".into(),
            since: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            blocking: false,
        }],
        ..Default::default()
    }
}
