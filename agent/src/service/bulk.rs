//! `NodeBulkService`: logs, tunnels and images. Logs and tunnels reach only services that a record of this node names.

use std::sync::Arc;

use supalove_proto::node::v1::node_bulk_service_server::NodeBulkService;
use supalove_proto::node::v1::tunnel_request::Part;
use supalove_proto::node::v1::{
    ProvideImageRequest, ProvideImageResponse, ReadLogsRequest, TunnelOpen, TunnelRequest, TunnelResponse,
};
use supalove_spec::limits::LOG_READERS;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::error::{failed_precondition, invalid_field, not_found};
use super::images;
use crate::logs::{self, LogStream, Wanted};
use crate::node::Node;
use crate::tunnel;

/// The service on one bulk connection.
#[derive(Debug)]
pub struct NodeBulk {
    node: Arc<Node>,
    log_readers: Arc<Semaphore>,
}

impl NodeBulk {
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, log_readers: Arc::new(Semaphore::new(LOG_READERS)) }
    }

    /// Services of a project that this node's records name.
    async fn services(&self, project_ref: &str) -> Result<Vec<String>, Status> {
        let record = self.node.supervisor.record(project_ref).await;
        let spec = record.as_ref().filter(|record| record.removal.is_none()).and_then(|record| record.spec());
        let spec = spec.ok_or_else(|| not_found("this node has no such project"))?;
        Ok(spec.services.iter().map(|service| service.name.clone()).collect())
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
    type ReadLogsStream = LogStream;

    async fn read_logs(
        &self,
        request: Request<ReadLogsRequest>,
    ) -> Result<Response<Self::ReadLogsStream>, Status> {
        let request = request.into_inner();
        let known = self.services(&request.project_ref).await?;
        let wanted = Wanted::new(request, &known)?;
        let permit = self.log_readers.clone().try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!("this node has {LOG_READERS} readers of logs already"))
        })?;
        Ok(Response::new(logs::start(&self.node, wanted, permit)))
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

    type ProvideImageStream = ReceiverStream<Result<ProvideImageResponse, Status>>;

    async fn provide_image(
        &self,
        request: Request<Streaming<ProvideImageRequest>>,
    ) -> Result<Response<Self::ProvideImageStream>, Status> {
        let answered = images::provide(self.node.images().needs(), request.into_inner()).await?;
        Ok(Response::new(answered))
    }
}
