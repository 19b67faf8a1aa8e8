//! A look at the real engine, by its own command line program.

use std::process::{Command, Output};

pub fn docker(arguments: &[&str]) -> String {
    let output = try_docker(arguments);
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub fn try_docker(arguments: &[&str]) -> Output {
    // An engine that hangs must not hang the tests.
    Command::new("timeout").args(["240", "docker"]).args(arguments).output().unwrap()
}

pub fn container(project: &str, service: &str) -> String {
    format!("supalove_{project}_{service}")
}

pub fn id(project: &str, service: &str) -> String {
    docker(&["inspect", "--format", "{{.Id}} {{.State.StartedAt}}", &container(project, service)])
}

pub fn address(project: &str, service: &str) -> String {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    docker(&["inspect", "--format", format, &container(project, service)])
}

/// The host's address on the project's bridge.
pub fn gateway_address(project: &str, service: &str) -> String {
    let format = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}";
    let found = docker(&["inspect", "--format", format, &container(project, service)]);
    assert!(!found.is_empty());
    found
}

/// True if a TCP connection from inside a container comes about.
pub fn reaches(from: &str, host: &str, port: u16) -> bool {
    let script = format!("exec 3<>/dev/tcp/{host}/{port}");
    try_docker(&["exec", from, "timeout", "2", "bash", "-c", &script]).status.success()
}

/// True if a TCP connection from inside a container is answered, though it may be refused.
pub fn answered(from: &str, host: &str, port: u16) -> bool {
    let script = format!("exec 3<>/dev/tcp/{host}/{port}");
    let code = try_docker(&["exec", from, "timeout", "2", "bash", "-c", &script]).status.code();
    // 124: `timeout` had to end it. 1: bash was refused. 0: connected.
    matches!(code, Some(0 | 1))
}

/// Names of everything that carries a label.
pub fn labelled(kind: &str, label: &str) -> Vec<String> {
    let filter = format!("label={label}");
    let list: &[&str] = match kind {
        "container" => &["ps", "-aq", "--filter", &filter],
        "network" => &["network", "ls", "-q", "--filter", &filter],
        _ => &["volume", "ls", "-q", "--filter", &filter],
    };
    docker(list).lines().map(str::to_owned).collect()
}

/// The packet rules of the whole host.
pub fn rules() -> String {
    let output = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The table of the node that a project is on.
pub fn table_of(project: &str) -> String {
    let tables = rules();
    let table = tables.lines().find_map(|line| {
        let name = line.strip_prefix("table inet ")?.strip_suffix(" {")?;
        let body = tables.split(line).nth(1)?.split("\n}\n").next()?;
        body.contains(&format!("p_{project}")).then(|| name.to_owned())
    });
    table.expect("the node's table")
}

/// Removes all that a test's fleet made.
pub fn clean(fleet: &str) {
    let label = format!("supalove.fleet={fleet}");
    for (kind, remove) in [
        ("container", &["rm", "-fv"][..]),
        ("network", &["network", "rm"]),
        ("volume", &["volume", "rm", "-f"]),
    ] {
        for name in labelled(kind, &label) {
            let mut arguments = remove.to_vec();
            arguments.push(&name);
            let _ = try_docker(&arguments);
        }
    }
}
