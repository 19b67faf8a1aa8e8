//! Faults of a Docker host: its engine dies or is restarted, a published port is lost, the power goes. The host stands
//! in a network namespace of its own; see `src/docker_host.rs`.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use supalove_proto::v1::{
    GetOperationRequest, NodeCondition, NodeState, Operation, OperationState, ProjectState,
    RestartProjectRequest, StopProjectRequest,
};
use supalove_system_tests::{
    Agent, AgentOptions, Api, Controller, DockerHost, Options, SLACK, copy_core, wait_for,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// The release of these tests: core, but with an order.
const ORDERED: &str = "ordered";
const SERVICES: [&str; 3] = ["postgres", "functions", "gateway"];
/// For one answer of a gateway.
const ANSWER: Duration = Duration::from_secs(5);
/// For a gateway to reach its services again after its engine is back. The engine is the containers' name server, too:
/// nginx' first question then goes to the dead one's port, fails after 3 s (`resolver_timeout` of core's gateway) and
/// is asked again after 5 s (fixed in nginx). Seen in 40 crashes: at once, or after 3 s, once after 6 s.
const BACK: Duration = Duration::from_secs(8);
/// Probes of the gateway until it counts as unhealthy: 3 times 5 s, and 2 s for an answer (`probe` in core's
/// stack.yaml).
const NOTICED: Duration = Duration::from_secs(17);
/// Between two looks of the controller at what is on a host (`inventory` of its times).
const LOOKED: Duration = Duration::from_mins(1);
/// Room for the images, three small databases, and what a node must have left (`LEAST_DISK_MIB` of the agent).
const SMALL_DISK: &str = "2g";
/// A service that does not answer for so long is restarted (`unhealthy_restart` of the agent's times).
const RESTARTED: Duration = Duration::from_mins(1);

/// A node says so long after it happened that its engine is sick.
const TOLD: Duration = Duration::from_secs(15);
/// So long after a fault has ended everything is as it was.
const CONVERGED: Duration = Duration::from_mins(1);

/// Everything, in the order in which it must go.
struct Scene {
    agent: Agent,
    api: Api,
    controller: Controller,
    host: DockerHost,
    boot: BootId,
    _releases: TempDir,
}

/// What the agent takes for the host's boot id.
struct BootId(TempDir);

impl BootId {
    fn new() -> Self {
        let id = Self(tempfile::tempdir().unwrap());
        id.boot();
        id
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("boot_id")
    }

    /// From the agent's next start on it is another one.
    fn boot(&self) {
        std::fs::write(self.file(), format!("{}\n", uuid::Uuid::new_v4())).unwrap();
    }
}

impl Scene {
    async fn session_epoch(&self) -> i64 {
        self.controller.database.rows().await.session_epoch().await
    }

    /// The operation when it has ended, or after three minutes. An engine that could not write a network down when its disk was full keeps it unseen
    /// until it is restarted, which the operation says.
    async fn ended_perhaps_after_a_restart(&self, operation_id: &str) -> Operation {
        let until = Instant::now() + Duration::from_mins(3);
        let mut restarted = false;
        loop {
            let request = GetOperationRequest { operation_id: operation_id.to_owned() };
            let found = self.api.operations().get_operation(request).await.unwrap().into_inner();
            let operation = found.operation.unwrap();
            let goes_on = matches!(operation.state(), OperationState::Pending | OperationState::Running);
            if !goes_on || Instant::now() > until {
                return operation;
            }
            if !restarted && operation.status_message.contains("restart it (systemctl restart docker)") {
                println!("the engine is restarted: {}", operation.status_message);
                self.host.stop_engine();
                self.host.start_engine();
                restarted = true;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn set() -> Self {
        Self::set_on(DockerHost::up()).await
    }

    async fn set_on(host: DockerHost) -> Self {
        let releases = tempfile::tempdir().unwrap();
        copy_core(releases.path(), ORDERED, |yaml| {
            yaml.replace("  - name: functions\n", "  - name: functions\n    depends_on: [postgres]\n")
                .replace("  - name: gateway\n", "  - name: gateway\n    depends_on: [functions]\n")
        });
        let arguments = vec!["--releases-dir".to_owned(), releases.path().display().to_string()];
        let options = Options { node_host: Some(host.near.clone()), arguments, ..Options::default() };
        let controller = Controller::start_with(options).await;
        let api = controller.operator().await;
        let boot = BootId::new();
        let agent = Agent::start_with(&controller, &api.join_token().await, agent_options(&host, &boot));
        api.wait_ready_nodes(1).await;
        Self { agent, api, controller, host, boot, _releases: releases }
    }

    async fn healthy(&self, name: &str) -> Site {
        let project_ref = self.api.create_healthy(name, ORDERED).await.r#ref;
        let url = self.api.connection(&project_ref).await.api_url;
        assert!(url.contains(&self.host.far), "{url}");
        let port = reqwest::Url::parse(&url).unwrap().port().unwrap();
        Site { project_ref, url: format!("{url}/functions/v1/hello"), port }
    }

    /// Waits until the only node reports that this is wrong, and is no longer ready.
    async fn wait_condition(&self, reason: &str, limit: Duration) -> NodeCondition {
        wait_for(reason, limit, async || {
            let node = self.api.nodes().await.remove(0);
            let unhealthy = node.state() == NodeState::Unhealthy;
            node.conditions.into_iter().find(|one| unhealthy && one.reason == reason)
        })
        .await
    }

    /// When each container of a project was started, and that it runs.
    fn starts(&self, site: &Site) -> Vec<String> {
        let of = |service: &str| {
            let format = "{{.Id}} {{.State.Running}} {{.State.StartedAt}}";
            self.host.docker(&["inspect", "--format", format, &site.container(service)])
        };
        let starts: Vec<String> = SERVICES.into_iter().map(of).collect();
        assert!(starts.iter().all(|start| start.contains(" true ")), "{starts:?}");
        starts
    }

    fn sql(&self, site: &Site, statement: &str) -> String {
        let psql = ["psql", "-U", "supabase_admin", "-d", "postgres", "-Atc", statement];
        self.host.docker(&[&["exec", &site.container("postgres")][..], &psql].concat())
    }

    fn of_project(&self, project_ref: &str) -> String {
        let filter = format!("label=supalove.project={project_ref}");
        let containers = self.host.docker(&["ps", "--all", "--quiet", "--filter", &filter]);
        let volumes = self.host.docker(&["volume", "ls", "--quiet", "--filter", &filter]);
        format!("containers: {} volumes: {}", containers.lines().count(), volumes.lines().count())
    }
}

/// A project as its users see it.
struct Site {
    project_ref: String,
    url: String,
    port: u16,
}

impl Site {
    fn container(&self, service: &str) -> String {
        format!("supalove_{}_{service}", self.project_ref)
    }

    /// Whether its gateway answers for itself. It asks no service, whose name it might have to look up.
    async fn answers_itself(&self) -> Result<(), String> {
        answers(&self.url.replace("functions/v1/hello", "health")).await
    }

    /// Whether its gateway answers somebody outside, on a connection of its own.
    async fn answers(&self) -> Result<(), String> {
        answers(&self.url).await
    }

    async fn wait_for_answer(&self, when: &str, limit: Duration) {
        let started = Instant::now();
        let mut last = String::new();
        while let Err(error) = self.answers().await {
            last = error;
            assert!(started.elapsed() < limit, "{when}: no answer from outside, but: {last}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("{when}: an answer from outside after {:?}; before: {last:?}", started.elapsed());
    }
}

async fn answers(url: &str) -> Result<(), String> {
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(ANSWER).build().unwrap();
    let answer = client.get(url).send().await.map_err(|error| format!("{error:?}"))?;
    if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
}

/// Somebody outside who asks the gateway itself all the time, and remembers when there was no answer.
struct Visitor {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<(usize, Vec<String>)>,
}

impl Visitor {
    fn start(site: &Site) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let url = site.url.replace("functions/v1/hello", "health");
        let asking = tokio::spawn(async move {
            let started = Instant::now();
            let mut served = 0;
            let mut failed = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                match answers(&url).await {
                    Ok(()) => served += 1,
                    Err(error) => failed.push(format!("{:?}: {error}", started.elapsed())),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (served, failed)
        });
        Self { stop, asking }
    }

    async fn leave(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.await.unwrap()
    }
}

fn agent_options(host: &DockerHost, boot: &BootId) -> AgentOptions {
    // More disk than there is, so that a full one is not met by counting alone.
    let disk = ["--disk-mib", "100000"];
    let arguments = [&["--publish-address", "0.0.0.0", "--advertise-address", &host.far][..], &disk].concat();
    // A boot id is the kernel's; in a mount namespace of its own the agent sees ours in its place.
    let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
    let boot = boot.file().display().to_string();
    let unshare = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, &boot];
    AgentOptions {
        under: [host.under(), unshare.map(str::to_owned).to_vec()].concat(),
        arguments: arguments.into_iter().map(str::to_owned).collect(),
        docker_host: Some(host.engine.clone()),
        ..AgentOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_dies_or_is_restarted_takes_no_project_along() {
    let scene = Scene::set().await;
    let site = scene.healthy("steady").await;
    let starts = scene.starts(&site);
    let healthy = async |when: &str| {
        let project =
            scene.api.wait_state(&site.project_ref, ProjectState::ActiveHealthy, NOTICED * SLACK).await;
        println!("{when}: {} {}", project.state().as_str_name(), project.state_reason);
    };

    for (when, ends) in
        [("kill -9", DockerHost::kill_engine as fn(&DockerHost)), ("a restart", DockerHost::stop_engine)]
    {
        let visitor = Visitor::start(&site);
        ends(&scene.host);
        // The kernel knows the way to the gateway. Names of services cannot be looked up now: see BACK.
        tokio::time::sleep(Duration::from_secs(8)).await;
        let (served, failed) = visitor.leave().await;
        assert!(
            served > 0 && failed.is_empty(),
            "{when}, without an engine: {served} answers, and {failed:?}"
        );
        scene.host.start_engine();
        site.wait_for_answer(when, BACK * SLACK).await;
        assert_eq!(scene.starts(&site), starts, "{when}: a container was started again");
        healthy(when).await;
    }
    let next = scene.healthy("next").await;
    next.wait_for_answer("a project made afterwards", BACK * SLACK).await;
    lost_port(&scene, &site).await;
    assert_eq!(scene.starts(&site)[..2], starts[..2], "only the gateway was started again");
    assert_eq!(scene.api.project(&next.project_ref).await.state(), ProjectState::ActiveHealthy);
    an_engine_that_hangs_is_told(&scene, &site).await;
    lost_chains_are_told(&scene, &site, &next).await;
    scene.api.assert_consistent(1).await;
}

/// The engine lives, and answers nobody.
async fn an_engine_that_hangs_is_told(scene: &Scene, site: &Site) {
    let starts = scene.starts(site);
    scene.host.freeze_engine();
    let told = scene.wait_condition("ENGINE_SILENT", TOLD * SLACK).await;
    println!("a frozen engine: {}", told.message);
    assert!(told.blocking && told.message.contains("systemctl restart docker"), "{}", told.message);
    let status = scene.agent.status();
    assert_eq!(status["conditions"][0]["reason"], "ENGINE_SILENT", "{status}");
    let sick =
        scene.api.wait_state(&site.project_ref, ProjectState::ActiveUnhealthy, CONVERGED * SLACK).await;
    assert!(sick.state_reason.contains("the Docker Engine does not answer"), "{}", sick.state_reason);
    assert!(site.answers_itself().await.is_ok(), "the gateway runs on");

    let waiting = scene.api.create("waiting", ORDERED).await;
    let pending = scene.api.project(&waiting.project.unwrap().r#ref).await;
    let why = pending.state_reason;
    assert!(why.contains("0 of 1 node fits") && why.contains("an engine that does not answer"), "{why}");

    scene.host.thaw_engine();
    scene.api.wait_ready_nodes(1).await;
    scene.api.wait_state(&site.project_ref, ProjectState::ActiveHealthy, CONVERGED * SLACK).await;
    let placed = scene.api.wait(&waiting.operation.unwrap().id).await;
    assert_eq!(placed.state(), OperationState::Succeeded, "{placed:#?}");
    assert_eq!(scene.starts(site), starts, "a frozen engine: a container was started again");
}

/// Somebody flushes the packet filter, with the engine's chains in it.
async fn lost_chains_are_told(scene: &Scene, site: &Site, next: &Site) {
    const ADVICE: &str = "systemctl restart docker";
    let starts = [scene.starts(site), scene.starts(next)];
    scene.host.run("nft", &["flush", "ruleset"]);
    let told = scene.wait_condition("FIREWALL_CHAINS_MISSING", TOLD * SLACK).await;
    assert!(told.message.contains(ADVICE), "{}", told.message);
    let sick =
        scene.api.wait_state(&site.project_ref, ProjectState::ActiveUnhealthy, CONVERGED * SLACK).await;
    assert!(sick.state_reason.contains(ADVICE), "{}", sick.state_reason);

    // A restart says what to do, and takes nothing away that it cannot bring back.
    let request = RestartProjectRequest { project_ref: next.project_ref.clone(), ..Default::default() };
    let restart = scene.api.projects().restart_project(request).await.unwrap().into_inner();
    let operation_id = restart.operation.unwrap().id;
    let said = wait_for("the restart to say what to do", CONVERGED * SLACK, async || {
        let request = GetOperationRequest { operation_id: operation_id.clone() };
        let answer = scene.api.operations().get_operation(request).await.unwrap().into_inner();
        Some(answer.operation.unwrap().status_message).filter(|said| said.contains(ADVICE))
    })
    .await;
    assert!(!said.contains("iptables"), "{said}");
    assert_eq!(
        [scene.starts(site), scene.starts(next)],
        starts,
        "lost chains: a container was started again"
    );

    scene.host.stop_engine();
    scene.host.start_engine();
    scene.api.wait_ready_nodes(1).await;
    assert_eq!(scene.api.wait(&operation_id).await.state(), OperationState::Succeeded);
    for project in [site, next] {
        scene.api.wait_state(&project.project_ref, ProjectState::ActiveHealthy, CONVERGED * SLACK).await;
        project.wait_for_answer("the chains are back", BACK * SLACK).await;
    }
    assert_eq!(scene.starts(site), starts[0], "the engine's return: a container was started again");
}

/// The gateway runs on, but nobody outside reaches it: its proxy and its rule are gone.
async fn lost_port(scene: &Scene, site: &Site) {
    let proxies = scene.host.run("pgrep", &["--full", &format!("docker-proxy .*-host-port {} ", site.port)]);
    // Processes are found in every namespace; the port is this host's alone.
    for proxy in proxies.lines() {
        scene.host.run("kill", &["-9", proxy]);
    }
    let rules = scene.host.run("iptables-save", &["-t", "nat"]);
    let dport = format!("--dport {} ", site.port);
    let rule = rules.lines().find(|line| line.contains(&dport) && line.contains("DNAT")).expect("its rule");
    let rule: Vec<&str> = rule.replace("-A ", "-D ").leak().split(' ').collect();
    scene.host.run("iptables", &[&["-t", "nat"], &rule[..]].concat());
    assert!(site.answers().await.is_err());

    let lost = format!("published port 0.0.0.0:{} does not answer", site.port);
    wait_for("PORTS_GONE", NOTICED * SLACK, async || {
        let node = scene.api.nodes().await.remove(0);
        node.conditions.into_iter().find(|one| one.reason == "PORTS_GONE" && one.message.contains(&lost))
    })
    .await;
    wait_for("the lost port to be told", NOTICED * SLACK, async || {
        let project = scene.api.project(&site.project_ref).await;
        let told = project.state_reason.contains(&lost);
        (project.state() == ProjectState::ActiveUnhealthy && told).then_some(())
    })
    .await;
    assert!(site.answers().await.is_err(), "told while it was so");
    site.wait_for_answer("a lost port", RESTARTED * SLACK).await;
    scene.api.wait_state(&site.project_ref, ProjectState::ActiveHealthy, NOTICED * SLACK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lost_its_power_brings_its_projects_up_in_order_without_a_controller() {
    let mut scene = Scene::set().await;
    let (site, paused, deleted) =
        tokio::join!(scene.healthy("up"), scene.healthy("paused"), scene.healthy("deleted"));
    scene.sql(&site, "create table public.kept (x int); insert into public.kept values (42)");
    let pause = StopProjectRequest { project_ref: paused.project_ref.clone(), ..Default::default() };
    let pause = scene.api.projects().stop_project(pause).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(scene.api.wait(&pause.id).await.state(), OperationState::Succeeded);
    assert_eq!(scene.api.delete(&deleted.project_ref, 0).await.state(), OperationState::Succeeded);
    let node = scene.api.nodes().await.remove(0);
    let starts = scene.starts(&site);

    scene.controller.process.kill();
    scene.agent.process.kill();
    scene.host.power_off();
    scene.boot.boot();
    // As the service manager does: neither waits for the other.
    scene.agent.restart();
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.host.start_engine();
    site.wait_for_answer("after the boot", Duration::from_mins(1) * SLACK).await;
    assert!(scene.starts(&site).iter().zip(&starts).all(|(now, then)| now != then), "they were down");
    assert_in_order(&scene, &site);
    assert_eq!(scene.sql(&site, "select x from public.kept"), "42");
    let rules = scene.host.run("nft", &["list", "ruleset"]);
    assert!(rules.contains(&format!("p_{}", site.project_ref)), "it is closed in: {rules}");

    let starts = scene.starts(&site);
    scene.controller.restart().await;
    scene.api.wait_ready_nodes(1).await;
    scene.api.wait_state(&site.project_ref, ProjectState::ActiveHealthy, Duration::from_secs(30)).await;
    let back = scene.api.nodes().await.remove(0);
    assert_eq!(back.id, node.id);
    assert_eq!(scene.api.project(&paused.project_ref).await.state(), ProjectState::Inactive);
    assert_eq!(scene.of_project(&paused.project_ref), "containers: 0 volumes: 3");
    assert_eq!(scene.of_project(&deleted.project_ref), "containers: 0 volumes: 0");
    assert_eq!(scene.starts(&site), starts, "the controller's return started nothing again");
    scene.api.assert_consistent(1).await;
}

/// docs/guides/operating.md, "When the engine is sick": how an engine is started again that died while it deleted a
/// network.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_makes_the_networks_again_that_an_engine_lost() {
    let mut scene = Scene::set().await;
    let site = scene.healthy("up").await;
    scene.sql(&site, "create table public.kept (x int); insert into public.kept values (42)");
    scene.agent.process.kill();
    scene.host.power_off();
    scene.host.lose_networks();
    scene.boot.boot();
    scene.host.start_engine();
    let network = format!("project_{}_net", site.project_ref);
    assert!(!scene.host.docker(&["network", "ls"]).contains(&network));
    scene.agent.restart();
    site.wait_for_answer("without its network", Duration::from_mins(1) * SLACK).await;
    assert_eq!(scene.sql(&site, "select x from public.kept"), "42");
    scene.api.wait_state(&site.project_ref, ProjectState::ActiveHealthy, NOTICED * SLACK).await;
    scene.api.assert_consistent(1).await;
}

/// Each service was started only when the one it needs was ready.
fn assert_in_order(scene: &Scene, site: &Site) {
    let started = |service: &str| {
        let format = "{{.State.StartedAt}}";
        scene.host.docker(&["inspect", "--format", format, &site.container(service)])
    };
    let postgres = site.container("postgres");
    let arguments = ["--host", &scene.host.engine, "logs", "--timestamps", &postgres];
    let output = std::process::Command::new("docker").args(arguments).output().unwrap();
    let log = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let since = started("postgres");
    let ready = log
        .lines()
        .filter(|line| line.contains("ready to accept connections"))
        .filter_map(|line| line.split(' ').next())
        .find(|time| *time > since.as_str())
        .unwrap_or_else(|| panic!("not ready since {since}: {log}"));
    let functions = started("functions");
    let gateway = started("gateway");
    assert!(ready < functions.as_str(), "postgres was ready at {ready}, functions started at {functions}");
    assert!(functions < gateway, "functions started at {functions}, gateway at {gateway}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_takes_no_new_project_and_is_over_when_there_is_room() {
    let mut scene = Scene::set_on(DockerHost::with_disk(SMALL_DISK)).await;
    let site = scene.healthy("old").await;
    scene.sql(&site, "create table public.kept (x int); insert into public.kept values (42)");
    // The controller looks at a node when its session begins, and then each minute.
    let session = scene.session_epoch().await;
    scene.agent.process.kill();
    scene.agent.restart();
    wait_for("a new session", NOTICED * SLACK, async || {
        (scene.session_epoch().await > session).then_some(())
    })
    .await;
    println!("filled with {} MiB", scene.host.fill_disk());

    // Placed before anybody knows: what fails names the cause.
    let early = scene.api.create("early", ORDERED).await;
    let early_operation = early.operation.unwrap().id;
    let said = wait_for("the cause", NOTICED * SLACK, async || {
        let request = GetOperationRequest { operation_id: early_operation.clone() };
        let operation =
            scene.api.operations().get_operation(request).await.unwrap().into_inner().operation.unwrap();
        operation.status_message.to_lowercase().contains("no space left").then_some(operation.status_message)
    })
    .await;
    println!("a create: {said}");

    // A database that has to write cannot go on; it says why, and is not thrown away.
    let write =
        "select pg_logical_emit_message(false, 'x', repeat('x', 1000000)) from generate_series(1, 100)";
    let postgres = site.container("postgres");
    let psql = ["psql", "-U", "supabase_admin", "-d", "postgres", "-c", write];
    let docker = [&["--host", &scene.host.engine, "exec", &postgres][..], &psql].concat();
    let outcome = std::process::Command::new("docker").args(docker).output().unwrap();
    assert!(!outcome.status.success(), "there was room");
    let unhealthy =
        scene.api.wait_state(&site.project_ref, ProjectState::ActiveUnhealthy, NOTICED * SLACK).await;
    println!("a project: {}", unhealthy.state_reason);

    // From its next look on the node takes no new project.
    wait_for("the node to say that it is full", LOOKED * SLACK, async || {
        let node = scene.api.nodes().await.remove(0);
        node.blocked_slots.iter().any(|slot| slot.contains("is full")).then_some(())
    })
    .await;
    let late = scene.api.create("late", ORDERED).await;
    let late_ref = late.project.unwrap().r#ref;
    let waiting = scene.api.project(&late_ref).await;
    assert_eq!(waiting.state(), ProjectState::ComingUp);
    assert!(waiting.state_reason.contains("has no free slot"), "{}", waiting.state_reason);

    scene.host.free_disk();
    for operation in [early_operation, late.operation.unwrap().id] {
        let operation = scene.ended_perhaps_after_a_restart(&operation).await;
        assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
    }
    scene.api.wait_state(&site.project_ref, ProjectState::ActiveHealthy, NOTICED * SLACK).await;
    assert_eq!(scene.sql(&site, "select x from public.kept"), "42");
    scene.api.assert_consistent(1).await;
}
