//! The public and the node port under load from anyone: idle connections, slow bodies, watches and joins at once, while agent
//! doubles keep their sessions and the operator works. Out: sessions kept, the operator's GetMe, memory above rest.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use supalove_certs::tls::{NodeChannel, connect, join_client_config, node_client_config};
use supalove_net::{Pings, channel::owned_http2_server};
use supalove_proto::{
    node::v1::{
        ApplyStackRequest, ApplyStackResponse, Capacity, GoodbyeRequest, GoodbyeResponse, HelloRequest,
        HelloResponse, InventoryRequest, InventoryResponse, OpenBulkRequest, OpenBulkResponse,
        RemoveStackRequest, RemoveStackResponse, SetTrustRequest, SetTrustResponse, WatchStateRequest,
        WatchStateResponse,
        node_agent_service_server::{NodeAgentService, NodeAgentServiceServer},
    },
    v1::{
        CreateProjectRequest, GetMeRequest, WatchRequest, WatchSubscription,
        auth_service_client::AuthServiceClient, watch_service_client::WatchServiceClient,
        watch_subscription::Stream as Named,
    },
};
use supalove_tasks::Tasks;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    process::Command,
    task::JoinSet,
};
use tonic::{Request, Response, Status, service::Routes, transport::Endpoint};

use crate::{
    api::Api,
    arguments::Arguments,
    controller::Controller,
    database::{add_organizations, add_reader},
    stats::{Samples, ms},
    table::{Aim, Table},
};

/// Amounts of load.
#[derive(Debug, Clone, Copy)]
struct Amounts {
    agents: usize,
    idle: usize,
    bodies: usize,
    watches: usize,
    joins: usize,
    lasts: Duration,
}

const FULL: Amounts = Amounts {
    agents: 50,
    idle: 2000,
    bodies: 500,
    watches: 10_000,
    joins: 512,
    lasts: Duration::from_mins(1),
};
const QUICK: Amounts =
    Amounts { agents: 2, idle: 50, bodies: 10, watches: 50, joins: 16, lasts: Duration::from_secs(3) };

/// A slow body: bytes of one message of SignIn.
const BODY: u32 = 4 * 1024 * 1024;
/// Watches on one connection.
const WATCHES_PER_CONNECTION: usize = 100;

/// Fills the rows.
pub async fn measure(arguments: &Arguments, table: &mut Table) -> Result<()> {
    let amounts = if arguments.quick { QUICK } else { FULL };
    let controller = Controller::start(arguments, "load", &[]).await?;
    let tasks = Tasks::default();
    let mut agents = Vec::new();
    for number in 0..amounts.agents {
        agents.push(Double::start(arguments, &controller, number, &tasks).await?);
    }
    let (project, reader) = watched(&controller).await?;
    let rest = controller.resident()?.all;

    let mut load = JoinSet::new();
    let public = controller.public;
    for number in 0..amounts.idle {
        load.spawn(async move { hold(connect_from(number, 2, public).await?).await });
    }
    for number in 0..amounts.bodies {
        load.spawn(async move { slow_body(number, public).await });
    }
    let ca = agents.first().context("there are no agents")?.ca;
    let node_address: SocketAddr = controller.node_address.parse()?;
    for number in 0..amounts.joins {
        load.spawn(async move {
            let stream = connect_from(number, 200, node_address.port()).await?;
            let mut stream = connect(stream, join_client_config(&ca)?).await?;
            // How it ends is the controller's matter.
            let _ = stream.read_to_end(&mut Vec::new()).await;
            Ok(())
        });
    }
    let watching = Arc::new(AtomicUsize::new(0));
    for _ in 0..amounts.watches.div_ceil(WATCHES_PER_CONNECTION) {
        let token = reader.access_token();
        load.spawn(watches(public, token, project.clone(), watching.clone()));
    }

    let until = Instant::now() + amounts.lasts;
    let mut calls = Vec::new();
    let mut highest = rest;
    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{public}"))?.connect_lazy();
    let mut operator = AuthServiceClient::new(channel);
    while Instant::now() < until {
        let mut request = Request::new(GetMeRequest {});
        let token = controller.api.access_token();
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
        let began = Instant::now();
        operator.get_me(request).await.context("the operator's GetMe")?;
        calls.push(began.elapsed());
        highest = highest.max(controller.resident()?.all);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let kept = agents.iter().filter(|agent| agent.hellos.load(Ordering::Relaxed) == 1).count();
    let name = format!(
        "load of {} idle connections, {} slow bodies, {} watches, {} joins",
        amounts.idle, amounts.bodies, amounts.watches, amounts.joins
    );
    let all = u32::try_from(amounts.agents)?;
    table.judge(
        format!("{name}: sessions of {all} agents kept"),
        f64::from(u32::try_from(kept)?),
        "",
        Aim::AtLeast(f64::from(all)),
    );
    table.judge(
        format!("{name}: the operator's GetMe, p99"),
        ms(Samples::new(calls).percentile(99)),
        "ms",
        Aim::AtMost(1000.0),
    );
    let above = f64::from(u32::try_from(highest.saturating_sub(rest) / 1024)?);
    table.judge(format!("{name}: memory above rest"), above, "MB", Aim::AtMost(256.0));
    table.note(format!("{name}: watches admitted"), watching.load(Ordering::Relaxed).to_string());
    load.shutdown().await;
    drop(agents);
    tasks.stop(Duration::from_secs(1)).await;
    controller.end().await
}

/// A connection from one of several addresses of this machine, as from several hosts.
async fn connect_from(number: usize, first: u8, port: u16) -> Result<TcpStream> {
    let last = first + u8::try_from(number % 40)?;
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
    Ok(socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?)
}

/// Until the controller closes it.
async fn hold(mut stream: TcpStream) -> Result<()> {
    // Closed by a reset is closed, too.
    let _ = stream.read_to_end(&mut Vec::new()).await;
    Ok(())
}

/// Sends all of a SignIn but its last byte, and waits.
async fn slow_body(number: usize, port: u16) -> Result<()> {
    let mut stream = connect_from(number, 60, port).await?;
    let head = format!(
        "POST /supalove.v1.AuthService/SignIn HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc-web+proto\r\ncontent-length: {}\r\n\r\n",
        BODY + 5
    );
    stream.write_all(head.as_bytes()).await?;
    let mut body = vec![0];
    body.extend(BODY.to_be_bytes());
    body.resize(usize::try_from(BODY)? + 4, 1);
    // The controller may refuse it before it has all.
    let _ = stream.write_all(&body).await;
    hold(stream).await
}

/// A project, and somebody who may read it.
async fn watched(controller: &Controller) -> Result<(String, Api)> {
    let db = controller.pool().await?;
    let organizations = add_organizations(&db, controller.user, 1).await?;
    let organization = organizations.into_iter().next().context("no organization")?;
    let reader = add_reader(&db, organization.id, controller.user).await?;
    let reader = controller.api.sign_in(reader).await?;
    db.close().await;
    let request = CreateProjectRequest {
        organization: organization.slug,
        name: "watched".into(),
        ..Default::default()
    };
    let created = controller.api.create(request).await?;
    Ok((created.project.context("no project in the answer")?.r#ref, reader))
}

/// Many watches on one connection, until they end.
async fn watches(port: u16, token: String, project: String, watching: Arc<AtomicUsize>) -> Result<()> {
    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.connect().await?;
    let mut all = JoinSet::new();
    for _ in 0..WATCHES_PER_CONNECTION {
        let mut client = WatchServiceClient::new(channel.clone());
        let stream = Some(Named::ProjectRef(project.clone()));
        let mut request =
            Request::new(WatchRequest { subscriptions: vec![WatchSubscription { stream, after_seq: None }] });
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
        let watching = watching.clone();
        all.spawn(async move {
            // Above the limit of a user it is refused.
            let Ok(answer) = client.watch(request).await else { return };
            watching.fetch_add(1, Ordering::Relaxed);
            let mut messages = answer.into_inner();
            while let Ok(Some(_)) = messages.message().await {}
        });
    }
    while all.join_next().await.is_some() {}
    Ok(())
}

/// An agent that keeps a session and does nothing.
struct Double {
    hellos: Arc<AtomicUsize>,
    ca: supalove_certs::CaFingerprint,
    _serving: supalove_tasks::Task<()>,
}

impl Double {
    /// Joins as the real agent does, then dials; returns when the controller has said Hello.
    async fn start(
        arguments: &Arguments,
        controller: &Controller,
        number: usize,
        tasks: &Tasks,
    ) -> Result<Self> {
        let state = arguments.dir.join(format!("load-double-{number}"));
        let name = format!("double-{number}");
        let joined = Command::new(&arguments.agent)
            .args(["join", "--controller", &controller.node_address, "--name", &name, "--state-dir"])
            .arg(&state)
            .env("SUPALOVE_JOIN_TOKEN", controller.api.join_token().await?)
            .output()
            .await?;
        ensure!(joined.status.success(), "join failed: {}", String::from_utf8_lossy(&joined.stderr));
        let identity: serde_json::Value =
            serde_json::from_slice(&std::fs::read(state.join("identity.json"))?)?;
        let text = |name: &str| identity[name].as_str().map(str::to_owned).context("no such field");
        let (ca_pem, certificate, key) = (text("ca_pem")?, text("certificate_pem")?, text("key_pem")?);
        let ca =
            *supalove_certs::TrustBundle::from_pem(&ca_pem)?.fingerprints().first().context("no root")?;
        let hellos = Arc::new(AtomicUsize::new(0));
        let service = Service { hellos: hellos.clone(), number };
        let address = controller.node_address.clone();
        let owner = tasks.clone();
        let serving = tasks.connection("agent double", async move {
            // As the real agent: a session that ends is followed by another, which counts as one that was lost.
            loop {
                let Ok(tls) = node_client_config(&ca_pem, &certificate, &key, NodeChannel::Control) else {
                    return;
                };
                let Ok(stream) = TcpStream::connect(&address).await else { continue };
                let Ok(stream) = connect(stream, tls).await else { continue };
                let pings = Pings { every: Duration::from_secs(5), timeout: Duration::from_secs(10) };
                let server = owned_http2_server(&owner, Some(pings));
                let routes = Routes::new(NodeAgentServiceServer::new(service.clone()));
                let service = TowerToHyperService::new(routes.prepare());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let until = Instant::now() + Duration::from_secs(30);
        while hellos.load(Ordering::Relaxed) == 0 {
            ensure!(Instant::now() < until, "the controller does not greet an agent");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Self { hellos, ca, _serving: serving })
    }
}

#[derive(Clone)]
struct Service {
    hellos: Arc<AtomicUsize>,
    number: usize,
}

#[tonic::async_trait]
impl NodeAgentService for Service {
    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        self.hellos.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(HelloResponse {
            protocol_min: 1,
            protocol_max: 1,
            capacity: Some(Capacity { cpu_millis: 1000, memory_mib: 1000, disk_mib: 1000 }),
            agent_run_id: format!("double-{}", self.number),
            advertise_address: "127.0.0.1".into(),
            port_base: 5500,
            slots: 1,
            network_range: "10.213.0.0/16".into(),
            ..HelloResponse::default()
        }))
    }

    async fn goodbye(&self, _: Request<GoodbyeRequest>) -> Result<Response<GoodbyeResponse>, Status> {
        Ok(Response::new(GoodbyeResponse {}))
    }

    async fn apply_stack(
        &self,
        _: Request<ApplyStackRequest>,
    ) -> Result<Response<ApplyStackResponse>, Status> {
        Ok(Response::new(ApplyStackResponse::default()))
    }

    async fn remove_stack(
        &self,
        _: Request<RemoveStackRequest>,
    ) -> Result<Response<RemoveStackResponse>, Status> {
        Ok(Response::new(RemoveStackResponse::default()))
    }

    async fn inventory(&self, _: Request<InventoryRequest>) -> Result<Response<InventoryResponse>, Status> {
        Ok(Response::new(InventoryResponse::default()))
    }

    type WatchStateStream = futures::stream::Pending<Result<WatchStateResponse, Status>>;

    async fn watch_state(
        &self,
        _: Request<WatchStateRequest>,
    ) -> Result<Response<Self::WatchStateStream>, Status> {
        Ok(Response::new(futures::stream::pending()))
    }

    type WatchImagesStream =
        futures::stream::Pending<Result<supalove_proto::node::v1::WatchImagesResponse, Status>>;

    async fn watch_images(
        &self,
        _: Request<supalove_proto::node::v1::WatchImagesRequest>,
    ) -> Result<Response<Self::WatchImagesStream>, Status> {
        Err(Status::unimplemented("like an old agent, it pulls from registries only"))
    }

    async fn open_bulk(&self, _: Request<OpenBulkRequest>) -> Result<Response<OpenBulkResponse>, Status> {
        Err(Status::unavailable("a double"))
    }

    async fn set_trust(&self, _: Request<SetTrustRequest>) -> Result<Response<SetTrustResponse>, Status> {
        Ok(Response::new(SetTrustResponse::default()))
    }
}
