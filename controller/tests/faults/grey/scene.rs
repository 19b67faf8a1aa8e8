//! A controller with agents and projects, and what of it is not true.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use supalove_proto::v1::{
    CreateProjectRequest, DeleteProjectRequest, ListNodesRequest, ListOperationsRequest, ListProjectsRequest,
    NodeState, OperationState, Project, ProjectState, StartProjectRequest, StopProjectRequest,
};
use supalove_system_tests::{
    Agent, AgentOptions, Api, Controller, Database, Options, Rows, SLACK, docker, small_releases, wait_for,
};
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use super::{TOLD, TRUE_AGAIN};

/// The release of all projects here: one container each.
pub const SMALL: &str = "small";
/// The controller compares reports with rows this often, here.
const RESYNC: &str = "2";

pub struct Scene {
    pub api: Api,
    pub agents: Vec<Agent>,
    pub controller: Controller,
    /// Behind the API, and past any harmed cable.
    pub rows: Rows,
    /// Each agent then finds containers that are another's.
    pub nodes_share_an_engine: bool,
    _releases: TempDir,
}

impl Drop for Scene {
    fn drop(&mut self) {
        // All at once: an agent that lives on would start again what another one takes along.
        self.agents.iter_mut().for_each(|agent| agent.process.interrupt());
        if std::thread::panicking() {
            let log = self.controller.process.log();
            let dull = |line: &&str| line.contains(" INFO ") || line.contains("slow statement");
            let lines: Vec<&str> = log.lines().filter(|line| !dull(line)).collect();
            println!("the controller said:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

impl Scene {
    /// Without agents. In: a superuser's URL of a server; its real address, if the URL names that of a cable.
    pub async fn set(server: String, real: Option<(&str, &str)>) -> Self {
        let releases = small_releases();
        let arguments = ["--resync", RESYNC, "--releases-dir", &releases.path().display().to_string()];
        let arguments = arguments.map(str::to_owned).to_vec();
        let options = Options { arguments, database_server: Some(server), ..Options::default() };
        let controller = Controller::start_with(options).await;
        let api = controller.operator().await;
        let name = controller.database.name.clone();
        let url = match real {
            Some((cable, real)) => controller.database.url.replace(cable, real),
            None => controller.database.url.clone(),
        };
        let rows = Database { url, name }.rows().await;
        let agents = Vec::new();
        Self { api, agents, controller, rows, nodes_share_an_engine: false, _releases: releases }
    }

    /// The same rows on another server, to which the first has failed over.
    pub async fn rows_move_to(&mut self, from: &str, to: &str) {
        let name = self.controller.database.name.clone();
        let url = self.controller.database.url.replace(from, to);
        self.rows = Database { url, name }.rows().await;
    }

    /// One more agent; `address` is the controller's for this agent. Returns the node's name.
    pub async fn join(&mut self, address: &str, options: AgentOptions) -> String {
        let before: BTreeSet<String> = self.api.nodes().await.into_iter().map(|node| node.name).collect();
        let token = self.api.join_token().await;
        self.agents.push(Agent::start_at(address, &self.controller.fleet, &token, options));
        let mut nodes = self.api.nodes().await.into_iter().map(|node| node.name);
        nodes.find(|name| !before.contains(name)).expect("the node that joined")
    }

    /// The same, straight.
    pub async fn join_straight(&mut self) {
        let address = self.controller.node_address.clone();
        self.join(&address, AgentOptions::default()).await;
        self.api.wait_ready_nodes(self.agents.len()).await;
    }

    /// Status and text of `/healthz`; `None` if it does not answer in time.
    pub async fn health(&self) -> Option<(u16, String)> {
        let asked = reqwest::get(format!("http://127.0.0.1:{}/healthz", self.controller.public_port));
        let answer = tokio::time::timeout(Duration::from_secs(5), asked).await.ok()?.ok()?;
        let code = answer.status().as_u16();
        Some((code, answer.text().await.ok()?))
    }

    /// Waits until `/healthz` is 503 and says this.
    pub async fn told(&self, what: &str, limit: Duration) {
        wait_for(&format!("/healthz to say {what:?}"), limit, async || {
            let (code, text) = self.health().await?;
            (code == 503 && text.contains(what)).then_some(())
        })
        .await;
    }

    /// Waits until `/healthz` is 200 and names nothing.
    pub async fn is_healthy(&self, limit: Duration) {
        wait_for("/healthz to be ok", limit, async || {
            (self.health().await? == (200, "ok\n".to_owned())).then_some(())
        })
        .await;
    }

    /// Waits until calls that only read show what was written after this time: they must not go on with an old server.
    pub async fn reads_newer_than(&self, since: f64) {
        wait_for("calls to read what is new", TOLD * SLACK, async || {
            let listed = self.api.clusters().list_nodes(ListNodesRequest::default()).await.ok()?.into_inner();
            let seen = u64::try_from(listed.nodes[0].last_seen_time?.seconds).unwrap();
            (seen > Duration::from_secs_f64(since).as_secs()).then_some(())
        })
        .await;
    }

    /// Waits until nothing is untrue; returns how long that took.
    pub async fn is_true_again(&self, what: &str, since: f64, unknown: &[&str]) -> Duration {
        let began = Instant::now();
        loop {
            let wrong = self.untrue(since, unknown).await;
            if wrong.is_empty() {
                return began.elapsed();
            }
            assert!(began.elapsed() < TRUE_AGAIN * SLACK, "{what}, a long time afterwards: {wrong:#?}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// What is said of the fleet and is not so, what shows no sign of life since `since`, and what is not finished. `unknown`:
    /// projects that run, and of which the database has no longer any record.
    async fn untrue(&self, since: f64, unknown: &[&str]) -> Vec<String> {
        let mut wrong = Vec::new();
        match self.health().await {
            Some((200, text)) if text == "ok\n" => {}
            said => wrong.push(format!("/healthz says {said:?}")),
        }
        let seen = match self.seen().await {
            Ok(seen) => seen,
            Err(status) => return vec![format!("a call: {status:?}")],
        };
        wrong.extend(seen.sick_nodes);
        let held = self.containers();
        for project in &seen.projects {
            let running = held.get(&project.r#ref).copied();
            let fits = match project.state() {
                ProjectState::ActiveHealthy => running == Some((1, 1)),
                ProjectState::Inactive | ProjectState::Removed => running.is_none(),
                _ => false,
            };
            if !fits {
                let Project { name, state_reason, .. } = project;
                let state = project.state().as_str_name();
                wrong.push(format!(
                    "{name} is {state} ({state_reason}), and has (containers, running) {running:?}"
                ));
            }
        }
        let known = |project: &String| seen.projects.iter().any(|known| known.r#ref == *project);
        let others: Vec<&String> = held.keys().filter(|project| !known(project)).collect();
        if others != unknown {
            wrong.push(format!("no project explains {others:?}, but {unknown:?} were expected"));
        }
        wrong.extend(seen.open_operations);
        let silent = self.rows.loops_silent_since(since).await;
        wrong.extend(silent.into_iter().map(|what| format!("{what} has shown no sign of life")));
        let explained = unknown.is_empty() && !self.nodes_share_an_engine;
        let broken = self
            .rows
            .broken_of_all()
            .await
            .into_iter()
            .filter(|rule| !rule.starts_with("fleet.unexplained "));
        let broken = broken.filter(|what| explained || *what != PLACED);
        if !explained && self.rows.misreserved_nodes().await > 0 {
            wrong.push(format!("it does not hold that {PLACED}"));
        }
        wrong.extend(broken.map(|what| format!("it does not hold that {what}")));
        wrong
    }

    /// What the API says.
    async fn seen(&self) -> Result<Seen, Status> {
        let nodes = self.api.clusters().list_nodes(ListNodesRequest::default()).await?.into_inner().nodes;
        let sick =
            nodes.iter().filter(|node| node.state() != NodeState::Ready || !node.conditions.is_empty());
        let sick_nodes = sick.map(|node| {
            let state = node.state().as_str_name();
            format!("node {} is {state}: {:?}", node.name, node.conditions)
        });
        let request =
            ListProjectsRequest { show_deleted: true, page_size: 100, ..ListProjectsRequest::default() };
        let projects = self.api.projects().list_projects(request).await?.into_inner().projects;
        let mut open_operations = Vec::new();
        for Project { r#ref: project_ref, name, .. } in &projects {
            let project_ref = project_ref.clone();
            let request = ListOperationsRequest { project_ref, ..ListOperationsRequest::default() };
            let operations = self.api.operations().list_operations(request).await?.into_inner().operations;
            let open = operations
                .iter()
                .filter(|one| matches!(one.state(), OperationState::Pending | OperationState::Running));
            open_operations.extend(open.map(|one| {
                format!("{name}: {} is not finished: {}", one.kind().as_str_name(), one.status_message)
            }));
        }
        Ok(Seen { sick_nodes: sick_nodes.collect(), projects, open_operations })
    }

    /// By project: its containers on the host, and how many of them run.
    fn containers(&self) -> BTreeMap<String, (usize, usize)> {
        let fleet = format!("label=supalove.fleet={}", self.controller.fleet);
        let format = "{{.Label \"supalove.project\"}} {{.State}}";
        let listed = docker(None, &["ps", "--all", "--filter", &fleet, "--format", format]);
        let mut held: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for line in listed.lines() {
            let (project, state) = line.split_once(' ').unwrap();
            let counted = held.entry(project.to_owned()).or_default();
            counted.0 += 1;
            counted.1 += usize::from(state == "running");
        }
        held
    }
}

/// A rule of all rows: the sums, and that no node has containers which no placement explains.
const PLACED: &str = "nodes are the sum of placements";

struct Seen {
    sick_nodes: Vec<String>,
    projects: Vec<Project>,
    open_operations: Vec<String>,
}

/// Id and start of a project's container.
pub fn start_of(project_ref: &str) -> String {
    let name = format!("supalove_{project_ref}_gateway");
    docker(None, &["inspect", "--format", "{{.Id}} {{.State.Running}} {{.State.StartedAt}}", &name])
}

/// Something that a caller asks during a fault, and asks again until it is answered.
#[derive(Clone)]
pub struct Act {
    api: Api,
    kind: Kind,
    request_id: String,
}

#[derive(Clone)]
enum Kind {
    Create(&'static str),
    Stop(String),
    Start(String),
    Delete(String),
}

impl Act {
    pub fn create(scene: &Scene, name: &'static str) -> Self {
        Self::new(scene, Kind::Create(name))
    }

    pub fn stop(scene: &Scene, project_ref: &str) -> Self {
        Self::new(scene, Kind::Stop(project_ref.to_owned()))
    }

    pub fn start(scene: &Scene, project_ref: &str) -> Self {
        Self::new(scene, Kind::Start(project_ref.to_owned()))
    }

    pub fn delete(scene: &Scene, project_ref: &str) -> Self {
        Self::new(scene, Kind::Delete(project_ref.to_owned()))
    }

    fn new(scene: &Scene, kind: Kind) -> Self {
        Self { api: scene.api.clone(), kind, request_id: Uuid::new_v4().to_string() }
    }

    /// Asks once. Returns the operation, or `None` if the caller is told to try again.
    pub async fn ask(&self) -> Option<Asked> {
        match self.call().await {
            Ok(asked) => Some(asked),
            Err(status) => {
                let later = [Code::Unavailable, Code::DeadlineExceeded, Code::Aborted];
                assert!(later.contains(&status.code()), "{status:?}");
                if status.code() == Code::Unavailable {
                    let details = status.get_error_details();
                    assert!(
                        details.retry_info().is_some_and(|info| info.retry_delay.is_some()),
                        "{status:?}"
                    );
                }
                None
            }
        }
    }

    /// Asks until there is an answer.
    pub async fn is_accepted(&self) -> Asked {
        wait_for("an act to be accepted", TRUE_AGAIN * SLACK, async || self.ask().await).await
    }

    /// The same, and waits for the end of the operation.
    pub async fn is_done(&self) -> Asked {
        let asked = self.is_accepted().await;
        let operation = self.api.wait(&asked.operation).await;
        assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
        asked
    }

    async fn call(&self) -> Result<Asked, Status> {
        let mut projects = self.api.projects();
        let request_id = self.request_id.clone();
        let (project, operation) = match self.kind.clone() {
            Kind::Create(name) => {
                let request = CreateProjectRequest {
                    organization: "acme".into(),
                    name: name.into(),
                    release: SMALL.into(),
                    request_id,
                    ..CreateProjectRequest::default()
                };
                let made = projects.create_project(request).await?.into_inner();
                (made.project.unwrap().r#ref, made.operation)
            }
            Kind::Stop(project_ref) => {
                let request = StopProjectRequest { project_ref: project_ref.clone(), request_id };
                (project_ref, projects.stop_project(request).await?.into_inner().operation)
            }
            Kind::Start(project_ref) => {
                let request = StartProjectRequest {
                    project_ref: project_ref.clone(),
                    request_id,
                    ..Default::default()
                };
                (project_ref, projects.start_project(request).await?.into_inner().operation)
            }
            Kind::Delete(project_ref) => {
                let request = DeleteProjectRequest {
                    project_ref: project_ref.clone(),
                    request_id,
                    undo_window: Some(prost_types::Duration::default()),
                };
                (project_ref, projects.delete_project(request).await?.into_inner().operation)
            }
        };
        Ok(Asked { project, operation: operation.unwrap().id })
    }
}

/// What was asked for.
pub struct Asked {
    pub project: String,
    pub operation: String,
}
