//! Two tenants on one Docker host: neither reaches the other, the host, or the addresses where clouds keep a host's
//! credentials. Every target is also shown to answer as soon as the rules are away, so that a target that is dead by
//! itself proves nothing. The host stands in a network namespace without a way out; see `src/docker_host.rs`.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use supalove_proto::v1::{CreateProjectRequest, CreateProjectResponse, OperationState, ProjectState};
use supalove_system_tests::{
    Agent, AgentOptions, Api, CORE, Controller, DockerHost, Held, Options, SLACK, Target, probe, wait_for,
};

/// What runs on the host beside the projects.
const LISTENER: &str = include_str!("../src/listen.js");
/// Where the host listens, on all its addresses.
const HOST_PORT: u16 = 7000;
/// Ports of the host that are rewritten to a project's gateway, one per project.
const REWRITTEN_PORT: u16 = 7001;
/// The metadata address of most clouds: here an address of the host.
const METADATA: &str = "169.254.169.254";
/// The address of credentials of another cloud: here a neighbour's that the host has a route to.
const ROUTED_METADATA: &str = "169.254.170.2";
/// The neighbour's other address, which projects may reach. From a block for documentation (RFC 5737).
const NEIGHBOUR: &str = "198.51.100.7";
/// How often the agent compares the rules (`rules_check` of its times).
const RULES_CHECK: Duration = Duration::from_secs(30);
/// For a published gateway to answer with what a service says. After a crash of the engine it may take 8 s, see
/// `BACK` in `controller/tests/faults/host.rs`.
const ANSWER: Duration = Duration::from_secs(30);

/// Everything, in the order in which it must go.
struct Scene {
    agent: Agent,
    api: Api,
    _controller: Controller,
    projects: [Placed; 2],
    host: DockerHost,
}

/// A project as it lies on the host.
struct Placed {
    project_ref: String,
    postgres: String,
    functions: String,
    gateway: String,
    bridge: String,
    api_port: u16,
    db_port: u16,
    rewritten_port: u16,
}

impl Placed {
    fn container(&self, service: &str) -> String {
        format!("supalove_{}_{service}", self.project_ref)
    }

    async fn find(host: &DockerHost, api: &Api, project_ref: &str, number: u16) -> Self {
        let of = |service: &str, what: &str| {
            let format =
                format!("{{{{(index .NetworkSettings.Networks \"project_{project_ref}_net\").{what}}}}}");
            host.docker(&["inspect", "--format", &format, &format!("supalove_{project_ref}_{service}")])
        };
        let connection = api.connection(project_ref).await;
        assert!(connection.api_url.contains(&host.far), "{}", connection.api_url);
        Self {
            postgres: of("postgres", "IPAddress"),
            functions: of("functions", "IPAddress"),
            gateway: of("gateway", "IPAddress"),
            bridge: of("gateway", "Gateway"),
            api_port: port(&connection.api_url),
            db_port: port(&connection.db_url),
            rewritten_port: REWRITTEN_PORT + number,
            project_ref: project_ref.to_owned(),
        }
    }

    /// What a project may reach.
    fn own(&self) -> Vec<(Target, &str)> {
        vec![
            (Target::tcp("its own database", "db", 5432), &self.postgres),
            (Target::tcp("its own gateway", "kong", 8000), &self.gateway),
            (Target::tcp("a neighbour of the host", NEIGHBOUR, 80), NEIGHBOUR),
        ]
    }
}

fn port(url: &str) -> u16 {
    reqwest::Url::parse(url).unwrap().port().unwrap()
}

impl Scene {
    async fn set() -> Self {
        let started = Instant::now();
        let host = DockerHost::up();
        say(started, "the host is up");
        open_listeners(&host);
        let options = Options { node_host: Some(host.near.clone()), ..Options::default() };
        let controller = Controller::start_with(options).await;
        let api = controller.operator().await;
        api.create_organization("globex").await;
        let agent = Agent::start_with(&controller, &api.join_token().await, agent_options(&host));
        api.wait_ready_nodes(1).await;
        let created = [create(&api, "acme").await, create(&api, "globex").await];
        let mut projects = Vec::new();
        for (number, created) in (0..).zip(created) {
            let operation = api.wait(&created.operation.unwrap().id).await;
            assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
            let project_ref = created.project.unwrap().r#ref;
            projects.push(Placed::find(&host, &api, &project_ref, number).await);
        }
        say(started, "both projects are healthy");
        let Ok(projects) = <[Placed; 2]>::try_from(projects) else { unreachable!("two were made") };
        let scene = Self { agent, api, _controller: controller, projects, host };
        scene.rewrite_ports();
        scene
    }

    /// What `from` must not reach of `to` and of the host, and would reach if nobody hindered it.
    fn forbidden(&self, from: &Placed, to: &Placed) -> Vec<Target> {
        let far = &self.host.far;
        let default_bridge = &self.default_bridge();
        vec![
            Target::tcp("gateway", &to.gateway, 8000),
            Target::tcp("database", &to.postgres, 5432),
            Target::tcp("functions", &to.functions, 9000),
            Target::tcp("published gateway at the host", far, to.api_port),
            Target::tcp("published gateway at one's own bridge", &from.bridge, to.api_port),
            Target::tcp("published gateway at its bridge", &to.bridge, to.api_port),
            Target::tcp("published gateway at the default bridge", default_bridge, to.api_port),
            Target::tcp("port rewritten to the gateway", far, to.rewritten_port),
            Target::tcp("host's port", far, HOST_PORT),
            Target::udp("host's port, UDP", far, HOST_PORT),
            Target::tcp("host's port at one's own bridge", &from.bridge, HOST_PORT),
            Target::tcp("host's port at the other bridge", &to.bridge, HOST_PORT),
            Target::tcp("host's port at the default bridge", default_bridge, HOST_PORT),
            Target::tcp("metadata on the host", METADATA, 80),
            Target::udp("metadata on the host, UDP", METADATA, 80),
            Target::tcp("metadata behind the host", ROUTED_METADATA, 80),
            Target::udp("metadata behind the host, UDP", ROUTED_METADATA, 80),
        ]
    }

    /// What `from` does not reach even without the rules: it is bound to loopback, or a name of another network.
    fn never(&self, from: &Placed, to: &Placed) -> Vec<Target> {
        vec![
            Target::tcp("loopback's database at the host", &self.host.far, to.db_port),
            Target::tcp("loopback's database at one's own bridge", &from.bridge, to.db_port),
            Target::tcp("database by name", &to.container("postgres"), 5432),
            Target::tcp("gateway by name", &to.container("gateway"), 8000),
        ]
    }

    fn default_bridge(&self) -> String {
        let format = "{{(index .IPAM.Config 0).Gateway}}";
        let gateway = self.host.docker(&["network", "inspect", "--format", format, "bridge"]);
        // An engine that chose the network itself does not always say so here.
        if gateway.is_empty() { "172.17.0.1".to_owned() } else { gateway }
    }

    /// An engine without a proxy process rewrites published ports before the packets are filtered. So does this.
    fn rewrite_ports(&self) {
        for project in &self.projects {
            let from = project.rewritten_port.to_string();
            let to = format!("{}:8000", project.gateway);
            let rule = ["-p", "tcp", "-d", &self.host.far, "--dport", &from, "-j", "DNAT", "--to", &to];
            self.host.run("iptables", &[&["-t", "nat", "-A", "PREROUTING"], &rule[..]].concat());
        }
    }

    /// The engine keeps bridges apart by itself; from here on it does not.
    fn neutralise_engine(&self) {
        self.host.run("iptables", &["-I", "FORWARD", "-j", "ACCEPT"]);
    }

    /// The agent's table, if it is there.
    fn table(&self) -> Option<String> {
        let tables = self.host.run("nft", &["list", "tables", "inet"]);
        tables.lines().find_map(|line| line.strip_prefix("table inet ")).map(str::to_owned)
    }

    fn delete_table(&self) {
        let table = self.table().expect("the agent has a table");
        assert!(table.starts_with("supalove_"), "{table}");
        self.host.run("nft", &["delete", "table", "inet", &table]);
        assert_eq!(self.table(), None);
    }

    async fn wait_for_table(&self, limit: Duration) {
        let started = Instant::now();
        wait_for("the rules", limit, async || self.table()).await;
        say(started, "until the rules were back");
    }

    /// Both projects are closed in and work.
    async fn assert_closed(&self, when: &str) {
        self.assert_all(when, false);
        let client = reqwest::Client::new();
        for project in &self.projects {
            let url = format!("http://{}:{}/functions/v1/hello", self.host.far, project.api_port);
            wait_for(&format!("{when}: the gateway to answer from outside"), ANSWER, async || {
                let answer = client.get(&url).timeout(Duration::from_secs(5)).send().await;
                answer.is_ok_and(|a| a.status().is_success()).then_some(())
            })
            .await;
        }
    }

    fn assert_all(&self, when: &str, open: bool) {
        let started = Instant::now();
        let [a, b] = &self.projects;
        std::thread::scope(|scope| {
            scope.spawn(|| self.assert_from(when, a, b, open));
            scope.spawn(|| self.assert_from(when, b, a, open));
        });
        say(started, &format!("{when}: every target is {}", if open { "open" } else { "closed" }));
    }

    fn assert_from(&self, when: &str, from: &Placed, to: &Placed, open: bool) {
        let forbidden = self.forbidden(from, to);
        let never = self.never(from, to);
        let own = from.own();
        let all: Vec<Target> =
            forbidden.iter().chain(&never).chain(own.iter().map(|(target, _)| target)).cloned().collect();
        let outcomes = probe(&self.host.engine, &from.container("functions"), &all);
        let is_open = |target: &Target| outcomes[target.name].starts_with("open");
        assert!(forbidden.iter().all(|target| is_open(target) == open), "{when}: {outcomes:#?}");
        assert!(!never.iter().any(is_open), "{when}: {outcomes:#?}");
        for (target, address) in own {
            assert_eq!(outcomes[target.name], format!("open {address}"), "{when}: {outcomes:#?}");
        }
    }

    /// Connections from a project to the host and through it, as somebody opens who waits for rules to be away.
    fn hold_connections(&self) -> Held {
        let targets = [
            Target::tcp("metadata on the host", METADATA, 80),
            Target::tcp("metadata behind the host", ROUTED_METADATA, 80),
        ];
        Held::open(&self.host.engine, &self.projects[0].container("functions"), &targets)
    }

    /// The names that a project's containers have on their own network.
    fn assert_names_answer_inside(&self) {
        for project in &self.projects {
            let network = format!("project_{}_net", project.project_ref);
            let container = listener(&self.host, &network, "127.0.0.1:7000");
            let names = [
                Target::tcp("database by name", &project.container("postgres"), 5432),
                Target::tcp("gateway by name", &project.container("gateway"), 8000),
            ];
            let outcomes = probe(&self.host.engine, &container, &names);
            self.host.docker(&["rm", "--force", &container]);
            assert!(outcomes.values().all(|outcome| outcome.starts_with("open")), "{outcomes:#?}");
        }
    }

    /// When each container of the projects was started.
    fn starts(&self) -> BTreeMap<String, String> {
        let services = ["postgres", "functions", "gateway"];
        let names = self.projects.iter().flat_map(|p| services.map(|service| p.container(service)));
        names
            .map(|name| {
                let started = self.host.docker(&[
                    "inspect",
                    "--format",
                    "{{.State.Running}} {{.State.StartedAt}}",
                    &name,
                ]);
                assert!(started.starts_with("true"), "{name}: {started}");
                (name, started)
            })
            .collect()
    }
}

fn agent_options(host: &DockerHost) -> AgentOptions {
    // On every address, the most open way to publish.
    let arguments = ["--publish-address", "0.0.0.0", "--advertise-address", &host.far];
    AgentOptions {
        under: host.under(),
        arguments: arguments.map(str::to_owned).to_vec(),
        docker_host: Some(host.engine.clone()),
        ..AgentOptions::default()
    }
}

/// Whose ports the projects must not reach: the host's own, and those of a neighbour on a cable to the host.
fn open_listeners(host: &DockerHost) {
    host.run("ip", &["addr", "add", &format!("{METADATA}/32"), "dev", "lo"]);
    listener(host, "host", &format!("0.0.0.0:{HOST_PORT},{METADATA}:80"));
    // A container that waits keeps the neighbour's network, so that the next finds its addresses there.
    let neighbour = listener(host, "none", &format!("127.0.0.1:{HOST_PORT}"));
    let pid = host.docker(&["inspect", "--format", "{{.State.Pid}}", &neighbour]);
    let ip = |command: &str| host.run("ip", &command.split(' ').collect::<Vec<_>>());
    let neighbours_ip = |command: &str| {
        let inside = format!("--net=/proc/{pid}/ns/net ip {command}");
        host.run("nsenter", &inside.split(' ').collect::<Vec<_>>())
    };
    ip(&format!("link add cable type veth peer name eth0 netns {pid}"));
    ip("addr add 198.51.100.1/24 dev cable");
    ip("link set cable up");
    neighbours_ip(&format!("addr add {NEIGHBOUR}/24 dev eth0"));
    neighbours_ip(&format!("addr add {ROUTED_METADATA}/32 dev eth0"));
    neighbours_ip("link set eth0 up");
    ip(&format!("route add {ROUTED_METADATA}/32 dev cable"));
    listener(host, &format!("container:{neighbour}"), &format!("{NEIGHBOUR}:80,{ROUTED_METADATA}:80"));
    assert!(!ip("route").contains("default"), "nothing leaves this host");
}

/// Starts a container that answers at these addresses; its id.
fn listener(host: &DockerHost, network: &str, addresses: &str) -> String {
    let listen = format!("LISTEN={addresses}");
    let image = host.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "supalove/functions"]);
    let program = ["--entrypoint", "deno", &image, "eval", "--unstable-net", LISTENER];
    let options = ["run", "--detach", "--user", "0:0", "--env", &listen, "--network", network];
    let id = host.docker(&[&options[..], &program].concat());
    let until = Instant::now() + Duration::from_secs(20);
    while !host.docker(&["logs", &id]).contains("listening") {
        assert!(Instant::now() < until, "the listener at {addresses} does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    id
}

async fn create(api: &Api, organization: &str) -> CreateProjectResponse {
    let request = CreateProjectRequest {
        organization: organization.into(),
        name: "shop".into(),
        release: CORE.into(),
        ..Default::default()
    };
    api.projects().create_project(request).await.unwrap().into_inner()
}

fn say(since: Instant, what: &str) {
    println!("{:5.1} s {what}", since.elapsed().as_secs_f32());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_reaches_neither_another_project_nor_its_host_nor_metadata() {
    let mut scene = Scene::set().await;
    let starts = scene.starts();
    scene.assert_closed("as it is").await;
    scene.neutralise_engine();
    scene.assert_closed("without the engine's own isolation").await;

    scene.agent.process.kill();
    scene.assert_closed("without the agent").await;
    scene.delete_table();
    scene.assert_all("without the rules", true);
    scene.assert_names_answer_inside();
    let held = scene.hold_connections();

    scene.agent.restart();
    scene.wait_for_table(RULES_CHECK * SLACK).await;
    let held = held.outcomes();
    assert!(held.values().all(|outcome| outcome == "timeout"), "opened without the rules: {held:#?}");
    scene.assert_closed("with the agent back").await;
    scene.delete_table();
    scene.wait_for_table(RULES_CHECK * SLACK).await;
    scene.assert_closed("with the rules put back").await;

    scene.host.kill_engine();
    scene.host.start_engine();
    scene.assert_closed("after a crash of the engine").await;
    assert_eq!(scene.starts(), starts, "no container was started again");
    for project in &scene.projects {
        let limit = Duration::from_secs(30);
        scene.api.wait_state(&project.project_ref, ProjectState::ActiveHealthy, limit).await;
    }
}
