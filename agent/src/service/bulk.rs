//! `NodeBulkService`: logs and tunnels. Both reach only services that a record of this node names.

use std::sync::Arc;

use supalove_proto::node::v1::node_bulk_service_server::NodeBulkService;
use supalove_proto::node::v1::tunnel_request::Part;
use supalove_proto::node::v1::{TailLogsRequest, TunnelOpen, TunnelRequest, TunnelResponse};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::error::{failed_precondition, invalid_field, not_found};
use crate::logs::{self, LogStream};
use crate::node::Node;
use crate::tunnel;

/// The service on one bulk connection.
#[derive(Debug)]
pub struct NodeBulk {
    node: Arc<Node>,
}

impl NodeBulk {
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// The container of a service that this node's records name.
    async fn container(&self, project_ref: &str, service: &str) -> Result<String, Status> {
        let record = self.node.supervisor.record(project_ref).await;
        let named = record
            .as_ref()
            .and_then(|record| record.spec())
            .is_some_and(|spec| spec.services.iter().any(|known| known.name == service));
        if !named {
            return Err(not_found("this node has no such service"));
        }
        let containers = self.node.engine().project_containers(project_ref).await?;
        let found = containers.into_iter().find(|container| container.service == service);
        found
            .map(|container| container.id)
            .ok_or_else(|| not_found("the service has no container at the moment"))
    }

    async fn open(&self, open: &TunnelOpen) -> Result<tokio::net::TcpStream, Status> {
        let port = u16::try_from(open.port).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| invalid_field("open.port", "must be a port"))?;
        let container = self.container(&open.project_ref, &open.service).await?;
        let inspected = self.node.engine().inspect(&container).await?;
        let address = inspected.filter(|found| found.running).and_then(|found| found.address);
        let address = address
            .ok_or_else(|| failed_precondition("SERVICE_NOT_RUNNING", "the service is not running"))?;
        tunnel::dial(address, port, self.node.times.tunnel_dial).await
    }
}

#[tonic::async_trait]
impl NodeBulkService for NodeBulk {
    type TailLogsStream = LogStream;

    async fn tail_logs(
        &self,
        request: Request<TailLogsRequest>,
    ) -> Result<Response<Self::TailLogsStream>, Status> {
        let wanted = request.into_inner();
        if wanted.lines > logs::MOST_LINES {
            return Err(invalid_field("lines", "must be at most 10000"));
        }
        let container = self.container(&wanted.project_ref, &wanted.service).await?;
        Ok(Response::new(logs::tail(self.node.engine(), &container, wanted.lines, wanted.follow)))
    }

    type TunnelStream = ReceiverStream<Result<TunnelResponse, Status>>;

    async fn tunnel(
        &self,
        request: Request<Streaming<TunnelRequest>>,
    ) -> Result<Response<Self::TunnelStream>, Status> {
        let mut incoming = request.into_inner();
        let first = incoming.message().await?.and_then(|message| message.part);
        let Some(Part::Open(open)) = first else {
            return Err(invalid_field("open", "must be the first message"));
        };
        let stream = self.open(&open).await?;
        Ok(Response::new(tunnel::start(&self.node.tasks, stream, incoming)))
    }
}
