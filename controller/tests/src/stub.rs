//! A stub of the agent's end of a control connection: it records the controller's calls, and answers Hello
//! when the test tells it to.

use std::{sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use supalove_certs::tls::NodeChannel;
use supalove_proto::node::v1::{
    ApplyStackRequest, ApplyStackResponse, Capacity, GoodbyeReason, GoodbyeRequest, GoodbyeResponse,
    HelloRequest, HelloResponse, InventoryRequest, InventoryResponse, OpenBulkRequest, OpenBulkResponse,
    RemoveStackRequest, RemoveStackResponse, SetTrustRequest, SetTrustResponse, WatchStateRequest,
    WatchStateResponse,
    node_agent_service_server::{NodeAgentService, NodeAgentServiceServer},
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tonic::{Request, Response, Status, service::Routes};

use super::Holder;

/// What a controller says first, or then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It begins a session.
    Hello,
    /// It sends the agent away.
    Goodbye(GoodbyeReason),
}

/// A control connection.
pub struct Stub {
    heard: mpsc::UnboundedReceiver<Heard>,
    answers: Arc<Semaphore>,
    connection: JoinHandle<()>,
}

impl Stub {
    /// Dials with a node's identity.
    pub async fn dial(node: &Holder, address: &str) -> Self {
        let stream = node.dial(address, NodeChannel::Control).await;
        let (says, heard) = mpsc::unbounded_channel();
        let answers = Arc::new(Semaphore::new(0));
        let service = NodeAgentServiceServer::new(Service { says, answers: answers.clone() });
        let service = TowerToHyperService::new(Routes::new(service).prepare().into_axum_router());
        let connection = tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
            // How it ends is the controller's matter.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
        Self { heard, answers, connection }
    }

    /// What the controller says; at most 10 s.
    pub async fn hears(&mut self) -> Heard {
        let heard = tokio::time::timeout(Duration::from_secs(10), self.heard.recv()).await;
        heard.expect("the controller says nothing").expect("the connection has ended")
    }

    /// Lets Hello be answered.
    pub fn answer_hello(&self) {
        self.answers.add_permits(1);
    }

    /// Waits until the controller has closed the connection.
    pub async fn closed(self, limit: Duration) {
        tokio::time::timeout(limit, self.connection).await.expect("the connection is still open").unwrap();
    }
}

/// Run of the agent that the stub says it is.
pub const STUB_RUN: &str = "stub";

struct Service {
    says: mpsc::UnboundedSender<Heard>,
    answers: Arc<Semaphore>,
}

fn no<T>() -> Result<Response<T>, Status> {
    Err(Status::unavailable("a stub"))
}

#[tonic::async_trait]
impl NodeAgentService for Service {
    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        let _ = self.says.send(Heard::Hello);
        self.answers.acquire().await.map_err(|_| Status::unavailable("a stub"))?.forget();
        Ok(Response::new(HelloResponse {
            protocol_min: 1,
            protocol_max: 1,
            capacity: Some(Capacity { cpu_millis: 1000, memory_mib: 1000, disk_mib: 1000 }),
            agent_run_id: STUB_RUN.into(),
            advertise_address: "127.0.0.1".into(),
            port_base: 5500,
            slots: 1,
            network_range: "10.213.0.0/16".into(),
            ..HelloResponse::default()
        }))
    }

    async fn goodbye(&self, request: Request<GoodbyeRequest>) -> Result<Response<GoodbyeResponse>, Status> {
        let _ = self.says.send(Heard::Goodbye(request.get_ref().reason()));
        Ok(Response::new(GoodbyeResponse {}))
    }

    async fn apply_stack(
        &self,
        _: Request<ApplyStackRequest>,
    ) -> Result<Response<ApplyStackResponse>, Status> {
        no()
    }

    async fn remove_stack(
        &self,
        _: Request<RemoveStackRequest>,
    ) -> Result<Response<RemoveStackResponse>, Status> {
        no()
    }

    async fn inventory(&self, _: Request<InventoryRequest>) -> Result<Response<InventoryResponse>, Status> {
        no()
    }

    type WatchStateStream = tokio_stream::Pending<Result<WatchStateResponse, Status>>;

    async fn watch_state(
        &self,
        _: Request<WatchStateRequest>,
    ) -> Result<Response<Self::WatchStateStream>, Status> {
        // Nothing to report, as long as the session lasts.
        Ok(Response::new(tokio_stream::pending()))
    }

    type WatchImagesStream =
        tokio_stream::Pending<Result<supalove_proto::node::v1::WatchImagesResponse, Status>>;

    async fn watch_images(
        &self,
        _: Request<supalove_proto::node::v1::WatchImagesRequest>,
    ) -> Result<Response<Self::WatchImagesStream>, Status> {
        Err(Status::unimplemented("like an old agent, it pulls from registries only"))
    }

    async fn open_bulk(&self, _: Request<OpenBulkRequest>) -> Result<Response<OpenBulkResponse>, Status> {
        no()
    }

    async fn set_trust(&self, _: Request<SetTrustRequest>) -> Result<Response<SetTrustResponse>, Status> {
        no()
    }
}
