//! A private cluster from nothing, each step as a customer does it: the command line, the printed command on two hosts
//! that have neither agent nor images, a project on each that answers; and another customer, for whom none of it exists.

use std::time::Instant;

use supalove_system_tests::{CORE, Controller, DockerHost, EMAIL, Server, core_image};

use crate::{
    command_line::CommandLine,
    joining_host::{self, Host, agents_dir},
};

const OWNER: &str = "owner@example.com";
const STRANGER: &str = "stranger@example.com";
/// Exit codes of the command line for NOT_FOUND, and for a limit of the plan.
const NOT_FOUND: i32 = 5;
const OVER_PLAN: i32 = 9;

/// Prints how long each step takes.
struct Steps(Instant);

impl Steps {
    fn done(&mut self, what: &str) {
        println!("{what}: {:.1} s", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}

/// A controller that both hosts reach, and that keeps the images.
async fn controller_for(hosts: &[DockerHost; 2]) -> (Controller, tempfile::TempDir) {
    let agents = agents_dir();
    let controller = joining_host::controller(&hosts[0], &agents).await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    for (email, organization) in [(OWNER, "globex"), (STRANGER, "initech")] {
        rows.add_user(email).await;
        let mut api = controller.api();
        api.sign_in(email).await;
        api.create_organization(organization).await;
    }
    drop(operator);
    // The second host has a cable of its own to the same address.
    hosts[1].run("ip", &["route", "add", &hosts[0].near, "via", &hosts[1].near]);
    (controller, agents)
}

fn join(docker_host: &DockerHost, command: &str, name: &str) -> Host {
    let host = Host::on(docker_host);
    let far = &docker_host.far;
    let joined =
        host.succeeds(command, &format!("--name {name} --publish-address {far} --advertise-address {far}"));
    assert!(joined.ends_with(&format!("node {name} is ready in cluster hall\n")), "{joined}");
    host
}

fn gateway_of(person: &CommandLine, project: &str) -> Server {
    let connection = person.answer(&["projects", "connection", project]);
    Server::new(connection["apiUrl"].as_str().unwrap())
}

fn anon_key_of(person: &CommandLine, project: &str) -> String {
    person.answer(&["projects", "keys", project])["anonKey"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_makes_a_private_cluster_of_two_bare_hosts_and_nobody_else_finds_it() {
    let mut steps = Steps(Instant::now());
    let docker_hosts = [DockerHost::without_images(), DockerHost::without_images()];
    let (controller, _agents) = controller_for(&docker_hosts).await;
    steps.done("two hosts without images and a controller");

    let operator = CommandLine::of(&controller, EMAIL);
    let images = ["postgres", "functions", "gateway"].map(core_image);
    operator.says(&["images", "push", &images[0], &images[1], &images[2]]);
    steps.done("the operator: images push");

    operator.says(&["plans", "assign", "free", "--reason", "a new customer", "--organization", "globex"]);
    let owner = CommandLine::of(&controller, OWNER);
    let make = ["clusters", "create", "hall", "--organization", "globex"];
    let (code, words) = owner.refused(&make);
    assert_eq!(code, OVER_PLAN, "{words}");
    operator.says(&[
        "entitlements",
        "set",
        "private-clusters",
        "yes",
        "--reason",
        "they asked",
        "--organization",
        "globex",
    ]);
    owner.says(&make);
    steps.done("the operator: entitlements set; the customer: clusters create");

    let token = owner.answer(&["join-token", "create", "--cluster", "hall", "--max-uses", "2"]);
    let command = token["joinCommand"].as_str().unwrap();
    let _first = join(&docker_hosts[0], command, "rack-1");
    steps.done("the command on the first host, until it is ready (aim: 30 s)");
    let _second = join(&docker_hosts[1], command, "rack-2");
    steps.done("the command on the second host, until it is ready (aim: 30 s)");

    let create = |name: &'static str, wait: &'static str| {
        let place = ["--organization", "globex", "--cluster", "hall", "--release", CORE, wait];
        owner.says(&[&["projects", "create", name], &place[..]].concat())
    };
    create("shop", "--no-wait");
    create("blog", "--wait");
    owner.says(&["projects", "watch", "globex/shop", "--until", "ACTIVE_HEALTHY", "--timeout", "3m"]);
    let gateways = ["globex/shop", "globex/blog"].map(|project| gateway_of(&owner, project));
    for gateway in &gateways {
        let answer = gateway.get("/functions/v1/hello?name=Ada", &[]);
        assert_eq!((answer.status, answer.json()["message"].as_str()), (200, Some("Hello, Ada!")));
    }
    let on = |host: &DockerHost| gateways.iter().filter(|one| one.address.starts_with(&host.far)).count();
    assert_eq!([on(&docker_hosts[0]), on(&docker_hosts[1])], [1, 1], "they are spread");
    steps.done("a project on each host answers, with the images fetched from the controller (aim: 100 MB/s)");

    nobody_else_finds_it(&controller, &owner, &gateways[0]);
    steps.done("another customer finds nothing of it");
}

/// See, name, place on, join, reach.
fn nobody_else_finds_it(controller: &Controller, owner: &CommandLine, gateway: &Server) {
    let stranger = CommandLine::of(controller, STRANGER);
    let listed = stranger.answer(&["clusters", "list"]);
    let names: Vec<_> = listed["clusters"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["default"]);
    let cluster = owner.answer(&["clusters", "get", "hall"])["cluster"]["id"].as_str().unwrap().to_owned();
    let project =
        owner.answer(&["projects", "get", "globex/shop"])["project"]["ref"].as_str().unwrap().to_owned();
    let nodes = owner.answer(&["nodes", "list", "--cluster", "hall"]);
    let node = nodes["nodes"][0]["id"].as_str().unwrap();
    let here = ["--organization", "initech"];
    for cluster in ["hall", &cluster] {
        let commands: [&[&str]; 6] = [
            &["clusters", "get", cluster],
            &["nodes", "list", "--cluster", cluster],
            &["clusters", "explain", cluster, here[0], here[1]],
            &["projects", "create", "there", "--cluster", cluster, here[0], here[1]],
            &["join-token", "create", "--cluster", cluster],
            &["clusters", "delete", cluster, "--yes"],
        ];
        for command in commands {
            let (code, words) = stranger.refused(command);
            assert_eq!(code, NOT_FOUND, "{command:?}: {words}");
        }
    }
    let commands: [&[&str]; 4] = [
        &["nodes", "get", node],
        &["projects", "get", &project],
        &["projects", "connection", &project],
        &["projects", "keys", &project, "--reveal"],
    ];
    for command in commands {
        let (code, words) = stranger.refused(command);
        assert_eq!(code, NOT_FOUND, "{command:?}: {words}");
    }
    // Whoever knows its address stands before the key check; the key of another project opens nothing.
    stranger.says(&["projects", "create", "own", here[0], here[1], "--release", CORE, "--no-wait"]);
    let key = anon_key_of(&stranger, "initech/own");
    assert_eq!(gateway.get("/rest/v1/", &[("apikey", key.as_str())]).status, 401);
    let own = anon_key_of(owner, "globex/shop");
    assert_ne!(gateway.get("/rest/v1/", &[("apikey", own.as_str())]).status, 401);
}
