//! A controller that is just enough to enrol a real agent process and call it, and a look at the real Docker Engine.

#![allow(clippy::disallowed_methods, reason = "tests spawn their peers bare")]

pub mod docker;
pub mod engine_proxy;
pub mod neighbour;
pub mod spec;

use std::path::PathBuf;
use std::process::{Child, Command as Program, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::Utc;
use clap::Parser as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use supalove_agent::args::{Cli, Command};
use supalove_agent::conditions::{DISK_FILLING, LIVE_RESTORE_OFF};
use supalove_agent::config::Times;
use supalove_certs::tls::{Accepted, NodePortTls};
use supalove_certs::{CertificateAuthority, JoinToken, NodeIdentity};
use supalove_proto::node::v1::enrollment_service_server::{EnrollmentService, EnrollmentServiceServer};
use supalove_proto::node::v1::node_agent_service_client::NodeAgentServiceClient;
use supalove_proto::node::v1::node_bulk_service_client::NodeBulkServiceClient;
use supalove_proto::node::v1::{
    EnrollRequest, EnrollResponse, GetRecoveryNonceRequest, GetRecoveryNonceResponse, HelloRequest,
    HelloResponse, ObservedStack, OpenBulkRequest, RecoverRequest, RecoverResponse, StackPhase,
    WatchStateRequest, watch_state_response::Report,
};
use supalove_proto::{EPOCH_KEY, NODE_PROTOCOL};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use uuid::Uuid;

type Tls = supalove_certs::tls::ServerTlsStream<TcpStream>;

/// File systems of volumes would be left mounted by a test that fails; the tests about them unmount them.
const MEASURED: &[&str] = &["--volume-quota", "measure", "--full-disk-percent", "100"];

/// Everything that one test needs to itself.
pub struct Fleet {
    pub name: String,
    pub port_base: u16,
    pub range: String,
    pub state: tempfile::TempDir,
    pub controller: Controller,
    agent: Option<Child>,
    epoch: u64,
}

pub struct Controller {
    pub address: String,
    pub token: String,
    ca: Arc<CertificateAuthority>,
    control: mpsc::Receiver<Tls>,
    bulk: mpsc::Receiver<Tls>,
}

impl Controller {
    pub async fn start(fleet: &str) -> Self {
        let ca = Arc::new(CertificateAuthority::create("test", Utc::now()).unwrap());
        let token = JoinToken::generate(ca.fingerprint(), Uuid::now_v7()).unwrap();
        let certificate = ca.issue_controller(Uuid::now_v7(), Utc::now()).unwrap();
        let tls = Arc::new(NodePortTls::new(&certificate, ca.cert_pem(), Duration::from_secs(5)).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (control_in, control) = mpsc::channel(8);
        let (bulk_in, bulk) = mpsc::channel(8);
        let enrolment = Enrolment {
            ca: ca.clone(),
            fleet: fleet.into(),
            hash: token.secret_hash(),
            uses: Arc::default(),
        };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let tls = tls.clone();
                let control = control_in.clone();
                let bulk = bulk_in.clone();
                let enrolment = enrolment.clone();
                tokio::spawn(async move {
                    match tls.accept(stream).await {
                        Ok(Accepted::Node(_, stream)) => drop(control.send(stream).await),
                        Ok(Accepted::Bulk(_, stream)) => drop(bulk.send(stream).await),
                        Ok(Accepted::Download(..)) => eprintln!("test controller: downloads are not served"),
                        Ok(Accepted::Renew(..)) => eprintln!("test controller: renewals are not served"),
                        Ok(Accepted::Join(stream)) => {
                            let routes = Routes::new(EnrollmentServiceServer::new(enrolment));
                            let _ = auto::Builder::new(TokioExecutor::new())
                                .http2_only()
                                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
                                .await;
                        }
                        Err(error) => eprintln!("test controller: {error}"),
                    }
                });
            }
        });
        Self { address, token: token.to_string(), ca, control, bulk }
    }

    /// A token that names this CA but that nobody knows.
    pub fn unknown_token(&self) -> String {
        JoinToken::generate(self.ca.fingerprint(), Uuid::now_v7()).unwrap().to_string()
    }
}

#[derive(Clone)]
struct Enrolment {
    ca: Arc<CertificateAuthority>,
    fleet: String,
    hash: [u8; 32],
    uses: Arc<Mutex<u32>>,
}

#[tonic::async_trait]
impl EnrollmentService for Enrolment {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let request = request.into_inner();
        let token: JoinToken = request.join_token.parse().map_err(|_| Status::invalid_argument("token"))?;
        if !token.verify_hash(&self.hash) {
            return Err(Status::unauthenticated("the join token is not known"));
        }
        *self.uses.lock().unwrap() += 1;
        let identity = NodeIdentity { cluster_id: Uuid::now_v7(), node_id: Uuid::now_v7() };
        let issued = self
            .ca
            .sign_node(&request.csr_pem, &identity, Utc::now())
            .map_err(|e| Status::internal(e.to_string()))?;
        Ok(Response::new(EnrollResponse {
            node_id: format!("nod_{}", identity.node_id.simple()),
            certificate_pem: issued.cert_pem,
            ca_pem: self.ca.cert_pem().to_owned(),
            expire_time: Some(std::time::SystemTime::from(issued.not_after).into()),
            fleet_id: self.fleet.clone(),
            cluster_id: "clu_1".into(),
            trusted_ca_pem: vec![self.ca.cert_pem().to_owned()],
            cluster_name: "test".into(),
        }))
    }

    async fn get_recovery_nonce(
        &self,
        _request: Request<GetRecoveryNonceRequest>,
    ) -> Result<Response<GetRecoveryNonceResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn recover(&self, _request: Request<RecoverRequest>) -> Result<Response<RecoverResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }
}

async fn channel(stream: Tls) -> Channel {
    let stream = Mutex::new(Some(stream));
    let connector = tower::service_fn(move |_| {
        let stream = stream.lock().unwrap().take();
        async move { stream.map(TokioIo::new).ok_or_else(|| std::io::Error::other("ended")) }
    });
    Endpoint::from_static("http://node").connect_with_connector(connector).await.unwrap()
}

/// A session, and its epoch for every call.
pub struct Session {
    pub client: NodeAgentServiceClient<Channel>,
    pub hello: HelloResponse,
    pub epoch: u64,
}

impl Session {
    pub fn call<T>(&self, message: T) -> Request<T> {
        call(message, self.epoch)
    }

    /// Watches until a project is in a phase; panics with what was seen when it takes too long.
    pub async fn wait_for(
        &mut self,
        project: &str,
        generation: u64,
        phase: StackPhase,
        within: u64,
    ) -> ObservedStack {
        let is_it = |stack: &ObservedStack| {
            stack.project_ref == project && stack.generation == generation && stack.phase() == phase
        };
        self.wait_until(within, &format!("{project} to be {phase:?} in generation {generation}"), is_it).await
    }

    /// Every project as it is now.
    pub async fn snapshot(&mut self) -> Vec<ObservedStack> {
        let watch = self.call(WatchStateRequest {});
        let mut reports = self.client.watch_state(watch).await.unwrap().into_inner();
        let mut all = Vec::new();
        loop {
            match reports.message().await.unwrap().unwrap().report {
                Some(Report::Observed(stack)) => all.push(stack),
                Some(Report::SnapshotEnd(_)) => return all,
                _ => {}
            }
        }
    }

    /// Watches until the node's conditions are these reasons; returns the first one's message.
    pub async fn wait_conditions(&mut self, within: u64, wanted: &[&str]) -> String {
        let mut last = Vec::new();
        let watching = async {
            let watch = call(WatchStateRequest {}, self.epoch);
            let mut reports = self.client.watch_state(watch).await.unwrap().into_inner();
            while let Some(report) = reports.message().await.unwrap() {
                if let Some(Report::Conditions(told)) = report.report {
                    last = told.conditions;
                    // How this machine's disk and engine are says nothing about what a test does.
                    let of_machine = [DISK_FILLING, LIVE_RESTORE_OFF];
                    last.retain(|one| {
                        let reason = one.reason.as_str();
                        !of_machine.contains(&reason) || wanted.contains(&reason)
                    });
                    if last.iter().map(|one| one.reason.as_str()).eq(wanted.iter().copied()) {
                        return last.first().map(|one| one.message.clone()).unwrap_or_default();
                    }
                }
            }
            panic!("the watch ended");
        };
        let found = tokio::time::timeout(Duration::from_secs(within), watching).await;
        found.unwrap_or_else(|_| panic!("waited {within} s for {wanted:?}; last seen: {last:#?}"))
    }

    /// The session is served, whatever the engine or the disk does.
    pub async fn assert_alive(&mut self) {
        let alive = tokio::time::timeout(Duration::from_secs(5), self.snapshot()).await;
        alive.expect("the agent does not answer on its session");
    }

    pub async fn wait_until(
        &mut self,
        within: u64,
        what: &str,
        is_it: impl Fn(&ObservedStack) -> bool,
    ) -> ObservedStack {
        let mut last = None;
        let watching = async {
            let mut reports =
                self.client.watch_state(call(WatchStateRequest {}, self.epoch)).await.unwrap().into_inner();
            while let Some(report) = reports.message().await.unwrap() {
                if let Some(Report::Observed(stack)) = report.report {
                    if is_it(&stack) {
                        return stack;
                    }
                    last = Some(stack);
                }
            }
            panic!("the watch ended");
        };
        let found = tokio::time::timeout(Duration::from_secs(within), watching).await;
        found.unwrap_or_else(|_| panic!("waited {within} s for {what}; last seen: {last:#?}"))
    }
}

pub fn call<T>(message: T, epoch: u64) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(EPOCH_KEY, epoch.to_string().parse().unwrap());
    request.set_timeout(Duration::from_secs(20));
    request
}

impl Fleet {
    /// A fleet of its own with a joined host. `number` keeps ports and networks of tests apart.
    pub async fn start(number: u8) -> Self {
        crate::turn::turn();
        // `make test` removes what fleets of this name leave when they are killed.
        let name = format!("test{}", &Uuid::new_v4().simple().to_string()[..12]);
        let controller = Controller::start(&name).await;
        let fleet = Self {
            port_base: 15_500 + u16::from(number) * 100,
            range: format!("10.214.{number}.0/24"),
            state: tempfile::tempdir().unwrap(),
            controller,
            agent: None,
            epoch: 0,
            name,
        };
        let joined = fleet.join(&fleet.controller.token, &[]);
        assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
        fleet
    }

    pub fn join(&self, token: &str, more: &[&str]) -> Output {
        Program::new(env!("CARGO_BIN_EXE_supalove-agent"))
            .args(["join", "--controller", &self.controller.address, "--name", "test-host"])
            .arg("--state-dir")
            .arg(self.state.path())
            .args(more)
            .env("SUPALOVE_JOIN_TOKEN", token)
            .output()
            .unwrap()
    }

    pub fn agent(&self, command: &str, more: &[&str]) -> Output {
        Program::new(env!("CARGO_BIN_EXE_supalove-agent"))
            .arg(command)
            .arg("--state-dir")
            .arg(self.state.path())
            .args(more)
            .output()
            .unwrap()
    }

    pub fn run_agent(&mut self) {
        self.run_agent_with(&[]);
    }

    pub fn run_agent_with(&mut self, more: &[&str]) {
        self.run_agent_in(more, &[]);
    }

    /// With variables in its environment.
    pub fn run_agent_in(&mut self, more: &[&str], variables: &[(&str, &str)]) {
        let child = Program::new(env!("CARGO_BIN_EXE_supalove-agent"))
            .args(["run", "--slots", "8", "--port-base", &self.port_base.to_string()])
            .args(["--network-range", &self.range, "--publish-address", "0.0.0.0"])
            .args(MEASURED)
            .arg("--volumes-dir")
            .arg(self.state.path().join("volumes"))
            .arg("--state-dir")
            .arg(self.state.path())
            .args(more)
            .env("RUST_LOG", "info,supalove_agent=debug")
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.agent = Some(child);
    }

    /// Runs the agent in this process, with times of the test's own.
    pub fn run_agent_here(&self, times: &Times) -> CancellationToken {
        self.run_agent_here_with(times, MEASURED)
    }

    /// The same with other arguments.
    pub fn run_agent_here_with(&self, times: &Times, arguments: &[&str]) -> CancellationToken {
        let state = self.state.path().to_str().unwrap();
        let port_base = self.port_base.to_string();
        let words = ["supalove-agent", "run", "--slots", "8", "--port-base", &port_base];
        let volumes_dir = format!("{state}/volumes");
        let more = ["--network-range", &self.range, "--publish-address", "0.0.0.0", "--state-dir", state];
        let arguments = [&["--volumes-dir", &volumes_dir][..], arguments].concat();
        let Command::Run(options) =
            Cli::try_parse_from(words.iter().chain(&more).chain(&arguments)).unwrap().command
        else {
            unreachable!()
        };
        let stop = CancellationToken::new();
        let times = *times;
        let stopped = stop.clone();
        tokio::spawn(async move { supalove_agent::run::run(&options, times, stopped).await.unwrap() });
        stop
    }

    pub fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    pub fn agent_pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    /// Asks the agent to stop as a service manager does.
    pub fn terminate_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        let asked = Instant::now();
        Program::new("kill").args(["-TERM", &agent.id().to_string()]).status().unwrap();
        assert!(agent.wait().unwrap().success());
        assert!(asked.elapsed() < Duration::from_secs(5));
    }

    /// The next connection of the agent, greeted with a new epoch.
    pub async fn session(&mut self) -> Session {
        self.epoch += 1;
        self.session_with(self.epoch).await
    }

    pub async fn session_with(&mut self, epoch: u64) -> Session {
        let stream = tokio::time::timeout(Duration::from_secs(15), self.controller.control.recv()).await;
        let mut client = NodeAgentServiceClient::new(channel(stream.expect("no session").unwrap()).await);
        let hello = HelloRequest {
            epoch,
            silent_after_ms: 20_000,
            heartbeat_ms: 5000,
            protocol_min: NODE_PROTOCOL,
            protocol_max: NODE_PROTOCOL,
            fleet_id: self.name.clone(),
            controller_version: "test".into(),
            trust: None,
            ..HelloRequest::default()
        };
        let hello = client.hello(call(hello, epoch)).await.unwrap().into_inner();
        Session { client, hello, epoch }
    }

    pub async fn bulk(&mut self, session: &mut Session) -> NodeBulkServiceClient<Channel> {
        session.client.open_bulk(session.call(OpenBulkRequest {})).await.unwrap();
        let stream = tokio::time::timeout(Duration::from_secs(5), self.controller.bulk.recv()).await;
        NodeBulkServiceClient::new(channel(stream.expect("no bulk connection").unwrap()).await)
    }

    pub fn files_with(&self, text: &str) -> Vec<PathBuf> {
        let found = Program::new("find")
            .arg(self.state.path())
            .args(["-name", &format!("*{text}*")])
            .output()
            .unwrap();
        String::from_utf8(found.stdout).unwrap().lines().map(PathBuf::from).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        docker::clean(&self.name);
        unmount_below(self.state.path());
        if let Ok(identity) = supalove_agent::identity::Identity::load(self.state.path()) {
            let table = format!("supalove_{}", identity.short());
            let _ =
                Program::new("nft").args(["delete", "table", "inet", &table]).stderr(Stdio::null()).status();
        }
    }
}

/// Volumes may have file systems of their own.
fn unmount_below(dir: &std::path::Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for place in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if std::path::Path::new(place).starts_with(dir) {
            let _ = Program::new("umount").arg(place).status();
        }
    }
}
