//! The engine, through its command line: a second pair of eyes beside the agent's.

use std::process::Command;

/// Seconds after which an engine hangs: Docker 20.10 may, for ever, when many containers are removed at once.
const HANGS: &str = "240";

/// Runs docker; answers its output. Panics if it fails.
pub fn docker(host: Option<&str>, arguments: &[&str]) -> String {
    try_docker(host, arguments).unwrap_or_else(|error| panic!("docker {arguments:?}: {error}"))
}

/// The same; answers what it complained about if it fails.
pub fn try_docker(host: Option<&str>, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("timeout");
    command.args([HANGS, "docker"]);
    if let Some(host) = host {
        command.args(["--host", host]);
    }
    let output = command.args(arguments).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => Ok(out.trim_end().to_owned()),
        Some(124) => Err(format!("the engine has not answered for {HANGS} s")),
        _ => Err(error.into_owned()),
    }
}

/// Names of everything with this label.
pub fn labelled(host: Option<&str>, label: &str) -> Vec<String> {
    let filter = format!("label={label}");
    let mut all = Vec::new();
    for arguments in [
        &["ps", "--all", "--format", "{{.Names}}"][..],
        &["network", "ls", "--format", "{{.Name}}"],
        &["volume", "ls", "--format", "{{.Name}}"],
    ] {
        let listed = docker(host, &[arguments, &["--filter", &filter]].concat());
        all.extend(listed.lines().map(str::to_owned));
    }
    all
}

/// Removes everything of a test's fleet, whatever state it is in. An agent that is just ending may still make
/// something, so it looks again until nothing is left.
pub fn remove_fleet(fleet: &str, host: Option<&str>) {
    // A test that fails while its engine is away or hangs must tell why it failed.
    if let Err(error) = try_docker(host, &["ps"]) {
        eprintln!("what {fleet} made is not removed: {error}");
        return;
    }
    let label = format!("supalove.fleet={fleet}");
    for _ in 0..10 {
        if labelled(host, &label).is_empty() {
            return;
        }
        for (list, remove) in [
            (&["ps", "--all", "--quiet"][..], &["rm", "--force", "--volumes"][..]),
            (&["network", "ls", "--quiet"], &["network", "rm"]),
            (&["volume", "ls", "--quiet"], &["volume", "rm", "--force"]),
        ] {
            let ids = docker(host, &[list, &["--filter", &format!("label={label}")]].concat());
            let ids: Vec<&str> = ids.lines().collect();
            if !ids.is_empty() {
                try_docker(host, &[remove, &ids].concat()).ok();
            }
        }
    }
}
