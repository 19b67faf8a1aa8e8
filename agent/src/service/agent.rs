//! `NodeAgentService`: the calls of the control session.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use supalove_failpoints::failpoint;
use supalove_proto::NODE_PROTOCOL;
use supalove_proto::node::v1::node_agent_service_server::NodeAgentService;
use supalove_proto::node::v1::{
    ApplyStackRequest, ApplyStackResponse, GoodbyeRequest, GoodbyeResponse, HelloRequest, HelloResponse,
    InventoryRequest, InventoryResponse, OpenBulkRequest, OpenBulkResponse, RemoveStackRequest,
    RemoveStackResponse, SetTrustRequest, SetTrustResponse, StoredProject, WatchImagesRequest,
    WatchStateRequest, WatchStateResponse,
};
use supalove_spec::{Liveness, names};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::error::{check_epoch, failed_precondition, invalid, invalid_field, stale_epoch};
use super::{images, inventory, watch};
use crate::admission::validate;
use crate::bulk::Bulk;
use crate::goodbye::Goodbye;
use crate::host;
use crate::network::{self, Taken};
use crate::node::Node;
use crate::state::Record;
use crate::status::SessionStatus;

/// Capabilities of this agent beyond the protocol version.
const CAPABILITIES: [&str; 4] = ["images", "read_logs", "set_trust", "tunnel"];

/// The service on one session.
#[derive(Debug)]
pub struct NodeAgent {
    node: Arc<Node>,
    bulk: Arc<Bulk>,
    /// Our address on the session's connection.
    local: IpAddr,
}

impl NodeAgent {
    pub fn new(node: Arc<Node>, bulk: Arc<Bulk>, local: IpAddr) -> Self {
        Self { node, bulk, local }
    }

    fn check_caller(&self, hello: &HelloRequest) -> Result<(), Status> {
        if hello.fleet_id != self.node.identity.get().fleet_id {
            return Err(failed_precondition("FOREIGN_FLEET", "this node belongs to another fleet"));
        }
        if !(hello.protocol_min..=hello.protocol_max).contains(&NODE_PROTOCOL) {
            return Err(failed_precondition(
                "PROTOCOL_MISMATCH",
                format!("this agent speaks protocol {NODE_PROTOCOL}; update the older of the two"),
            ));
        }
        Ok(())
    }

    /// The address that was set; else the one that ports bind to; else our own on the first session's connection.
    fn advertise_address(&self) -> String {
        let host = &self.node.host;
        let found = || {
            let bound = host.publish_address;
            if bound.is_unspecified() { *self.node.found_address.get_or_init(|| self.local) } else { bound }
                .to_string()
        };
        host.advertise_address.clone().unwrap_or_else(found)
    }
}

fn stored(record: &Record) -> StoredProject {
    StoredProject {
        project_ref: record.project_ref.clone(),
        generation: record.generation(),
        slot: record.slot(),
        removing: record.removal.is_some(),
    }
}

#[tonic::async_trait]
impl NodeAgentService for NodeAgent {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        let hello = request.into_inner();
        self.check_caller(&hello)?;
        let node = &self.node;
        // An engine that is away does not keep the node from its session.
        let taken = node.taken().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot list the ports and networks in use on this host");
            Taken::default()
        });
        if !node.epochs.raise(hello.epoch) {
            return Err(stale_epoch(hello.epoch, node.epochs.newest()));
        }
        failpoint!("agent.session.greeted");
        if let Some(told) = Liveness::from_hello(hello.heartbeat_ms, hello.silent_after_ms) {
            node.liveness.send_replace(told);
        }
        let every = Duration::from_millis(hello.repeat_digests_ms.into());
        node.repeat_digests.send_replace((!every.is_zero()).then_some(every));
        let spread = Duration::from_millis(hello.reconnect_spread_ms.into());
        node.reconnect_spread.send_replace(spread.min(node.times.protocol.reconnect_cap * 2));
        let epoch = hello.epoch;
        tracing::info!(epoch, controller = hello.controller_version, "session began");
        let trusted_ca_sha256 = node.certificate.learn_roots(&hello.trust.unwrap_or_default()).await;
        node.status.set(SessionStatus::Connected { since: Utc::now(), epoch });
        Ok(Response::new(HelloResponse {
            protocol_min: NODE_PROTOCOL,
            protocol_max: NODE_PROTOCOL,
            capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            engine_version: node.engine_version.clone(),
            capacity: Some(node.capacity),
            boot_id: node.boot_id.clone(),
            agent_run_id: node.run_id.clone(),
            advertise_address: self.advertise_address(),
            port_base: node.host.slots.port_base().into(),
            slots: node.host.slots.slots(),
            network_range: node.host.slots.network_range().to_string(),
            blocked_slots: network::blocked(&node.host, &taken),
            hostname: host::hostname(),
            trusted_ca_sha256,
            stored: node.supervisor.records().await.iter().map(|record| stored(record)).collect(),
        }))
    }

    async fn apply_stack(
        &self,
        request: Request<ApplyStackRequest>,
    ) -> Result<Response<ApplyStackResponse>, Status> {
        check_epoch(&self.node.epochs, &request)?;
        let desired = request.into_inner();
        validate(&desired, &self.node.host).map_err(invalid)?;
        let project = desired.project_ref.clone();
        let generation = desired.generation;
        let changed = self.node.supervisor.apply(desired).await?;
        tracing::info!(project, generation, changed, "desired state stored");
        Ok(Response::new(ApplyStackResponse { changed }))
    }

    async fn remove_stack(
        &self,
        request: Request<RemoveStackRequest>,
    ) -> Result<Response<RemoveStackResponse>, Status> {
        check_epoch(&self.node.epochs, &request)?;
        let removal = request.into_inner();
        if !names::is_project_ref(&removal.project_ref) {
            return Err(invalid_field("project_ref", "must be 20 lowercase letters"));
        }
        let RemoveStackRequest { project_ref: project, generation, delete_volumes } = removal.clone();
        self.node.supervisor.remove(removal).await?;
        tracing::info!(project, generation, delete_volumes, "removal stored");
        Ok(Response::new(RemoveStackResponse {}))
    }

    async fn inventory(
        &self,
        request: Request<InventoryRequest>,
    ) -> Result<Response<InventoryResponse>, Status> {
        check_epoch(&self.node.epochs, &request)?;
        let found = inventory::take(&self.node, request.into_inner()).await?;
        failpoint!("agent.session.inventory");
        Ok(Response::new(found))
    }

    type WatchStateStream = ReceiverStream<Result<WatchStateResponse, Status>>;

    async fn watch_state(
        &self,
        request: Request<WatchStateRequest>,
    ) -> Result<Response<Self::WatchStateStream>, Status> {
        let epoch = check_epoch(&self.node.epochs, &request)?;
        Ok(Response::new(watch::start(self.node.clone(), epoch, *self.node.repeat_digests.borrow())))
    }

    type WatchImagesStream = images::NeedStream;

    async fn watch_images(
        &self,
        request: Request<WatchImagesRequest>,
    ) -> Result<Response<Self::WatchImagesStream>, Status> {
        check_epoch(&self.node.epochs, &request)?;
        Ok(Response::new(images::watch(&self.node.tasks, self.node.images().needs())))
    }

    async fn open_bulk(
        &self,
        request: Request<OpenBulkRequest>,
    ) -> Result<Response<OpenBulkResponse>, Status> {
        check_epoch(&self.node.epochs, &request)?;
        self.bulk.open();
        Ok(Response::new(OpenBulkResponse {}))
    }

    async fn set_trust(
        &self,
        request: Request<SetTrustRequest>,
    ) -> Result<Response<SetTrustResponse>, Status> {
        check_epoch(&self.node.epochs, &request)?;
        let trust = request.into_inner().trust.unwrap_or_default();
        let trusted_ca_sha256 = self.node.certificate.learn_roots(&trust).await;
        Ok(Response::new(SetTrustResponse { trusted_ca_sha256 }))
    }

    /// No epoch is required: an agent that is sent away may never have had one.
    async fn goodbye(&self, request: Request<GoodbyeRequest>) -> Result<Response<GoodbyeResponse>, Status> {
        let goodbye = request.into_inner();
        tracing::warn!(reason = ?goodbye.reason(), message = goodbye.message, "session ends: the controller says goodbye");
        if let Some(goodbye) = Goodbye::from_call(&goodbye) {
            self.node.last_goodbye.set(goodbye);
        }
        Ok(Response::new(GoodbyeResponse {}))
    }
}
