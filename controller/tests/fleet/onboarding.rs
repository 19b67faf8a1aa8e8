//! A host becomes a node by the one command that `CreateJoinToken` prints: from nothing to ready, again as an upgrade, away again;
//! and hosts that are wrong, one fault each.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use supalove_proto::v1::{CreateJoinTokenRequest, OperationState};
use supalove_system_tests::{Api, CORE, Clock, DockerHost, Holder, SLACK};
use tempfile::TempDir;

use crate::joining_host::{Host, agent_name, agents_dir, controller, said};

/// From the command to "is ready", without images (issue: 30 s).
const READY: Duration = Duration::from_secs(30);

/// Another program of the same version: it has one byte more.
fn change_program(agents: &TempDir) {
    let path = agents.path().join(agent_name());
    let mut content = fs::read(&path).unwrap();
    content.push(b'\n');
    fs::write(agents.path().join("new"), content).unwrap();
    fs::rename(agents.path().join("new"), path).unwrap();
}

async fn command(api: &Api) -> String {
    api.clusters()
        .create_join_token(CreateJoinTokenRequest::default())
        .await
        .unwrap()
        .into_inner()
        .join_command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_joins_upgrades_and_leaves_by_one_command_and_containers_go_on() {
    let docker_host = DockerHost::up();
    let agents = agents_dir();
    let controller = controller(&docker_host, &agents).await;
    let api = controller.operator().await;
    let command = command(&api).await;
    let host = Host::on(&docker_host);
    let far = &docker_host.far;
    let options = format!("--name shop-1 --publish-address {far} --advertise-address {far}");

    let plan = host.succeeds(&command, &format!("{options} --dry-run"));
    assert!(plan.contains("join the fleet of") && plan.contains("as shop-1"), "{plan}");
    assert!(plan.contains("ok       LIVE_RESTORE") && plan.contains("ok       CLOCK"), "{plan}");
    assert_eq!(host.files(), Vec::<PathBuf>::new(), "a dry run changes nothing");

    let began = Instant::now();
    let joined = host.succeeds(&command, &options);
    eprintln!("from the command to ready: {:?}", began.elapsed());
    assert!(joined.ends_with("node shop-1 is ready in cluster default\n"), "{joined}");
    assert!(began.elapsed() < READY * SLACK, "{:?}", began.elapsed());
    api.wait_ready_nodes(1).await;
    let project = api.create_healthy("shop", CORE).await.r#ref;
    let container = format!("supalove_{project}_postgres");
    let started = || docker_host.docker(&["inspect", "--format", "{{.Id}} {{.State.StartedAt}}", &container]);
    let first = started();

    // The token is used up, and a node needs none. Nothing is new, so nothing is restarted.
    let pid = host.agent_pid();
    let again = host.succeeds(&command, "");
    assert!(
        again.ends_with("node shop-1 is ready in cluster default\n") && !again.contains("starting"),
        "{again}"
    );
    assert_eq!(host.agent_pid(), pid);

    // A command of another fleet brings no program here.
    let token =
        command.split_whitespace().find_map(|word| word.strip_prefix("SUPALOVE_JOIN_TOKEN=")).unwrap();
    let ca = token.split('.').nth(1).unwrap();
    let foreign = host.run(&command.replace(ca, &"0".repeat(64)), "");
    assert!(
        !foreign.status.success() && said(&foreign).contains("a node of another fleet"),
        "{}",
        said(&foreign)
    );
    assert_eq!(host.agent_pid(), pid);

    change_program(&agents);
    let upgraded = host.succeeds(&command, "");
    assert!(
        upgraded.contains("starting the agent") && upgraded.contains("is ready in cluster"),
        "{upgraded}"
    );
    let second = host.agent_pid();
    assert_ne!(second, pid);
    assert_eq!(started(), first, "an upgrade touches no container");
    assert!(!host.file("usr/local/bin/supalove-agent.old").exists());

    // A program that does not run is not installed.
    let good = fs::read(agents.path().join(agent_name())).unwrap();
    let mut broken = good[..20].to_vec();
    broken.extend(format!("supalove-agent-version:{};", env!("CARGO_PKG_VERSION")).bytes());
    fs::write(agents.path().join("new"), broken).unwrap();
    fs::rename(agents.path().join("new"), agents.path().join(agent_name())).unwrap();
    let refused = host.run(&command, "");
    assert!(!refused.status.success() && said(&refused).contains("does not run here"), "{}", said(&refused));
    assert_eq!(host.agent_pid(), second, "the old one runs on");
    fs::write(agents.path().join(agent_name()), good).unwrap();

    let healthy = host.agent(&["doctor", "--json", "--network-range", "10.213.0.0/16"]);
    let found: serde_json::Value = serde_json::from_slice(&healthy.stdout).unwrap();
    let levels: Vec<_> =
        found["checks"].as_array().unwrap().iter().map(|one| one["level"].as_str().unwrap()).collect();
    assert!(!levels.contains(&"failure"), "{found:#}");
    assert!(found["checks"].as_array().unwrap().iter().any(|one| one["check"] == "AGENT"), "{found:#}");

    let refused = host.run(&command, "--uninstall");
    assert!(!refused.status.success() && said(&refused).contains(&project), "{}", said(&refused));
    host.succeeds(&command, "");
    let kept = host.succeeds(&command, "--uninstall --keep-projects");
    assert!(kept.contains("its projects go on"), "{kept}");
    assert_eq!((host.agent_pid(), started()), (String::new(), first.clone()));
    host.succeeds(&command, "");
    assert_eq!(started(), first, "the same command takes it back");

    let deleted = api.delete(&project, 0).await;
    assert_eq!(api.wait(&deleted.id).await.state(), OperationState::Succeeded);
    let gone = host.succeeds(&command, "--uninstall");
    assert!(gone.contains("supalove nodes remove shop-1"), "{gone}");
    assert_eq!(host.files(), Vec::<PathBuf>::new());
    assert!(!host.file("var/lib/supalove-agent").exists());
    assert!(!docker_host.run("nft", &["list", "tables"]).contains("supalove_"));
    assert!(host.succeeds(&command, "--uninstall").contains("no agent of this command"));
}

/// An engine that says of itself what a test wants.
fn stand_in_engine(dir: &Path, version: &str, live_restore: bool, root: &str) -> String {
    let socket = dir.join("docker.sock");
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let about = format!(r#"{{"ApiVersion":"1.41","MinAPIVersion":"1.12","Version":"{version}"}}"#);
    let info = format!(
        r#"{{"ServerVersion":"{version}","LiveRestoreEnabled":{live_restore},"DockerRootDir":"{root}","CgroupVersion":"2"}}"#
    );
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines();
            let request = lines.next().and_then(Result::ok).unwrap_or_default();
            while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
            let path = request.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
            let body = match path.rsplit('/').next() {
                Some("version") => &about,
                Some("info") => &info,
                _ => "[]",
            };
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
            // The client may be gone.
            let _ = write!(&stream, "{head}content-length: {}\r\n\r\n{body}", body.len());
        }
    });
    format!("unix://{}", socket.display())
}

/// A folder with all programs of this machine but these.
fn programs_without(absent: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap()) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !absent.iter().any(|absent| name.to_str() == Some(absent)) {
                // The first one of a name counts.
                let _ = symlink(entry.path(), dir.path().join(name));
            }
        }
    }
    dir
}

/// The same with a program in the place of one.
fn programs_with(name: &str, script: &str) -> TempDir {
    let dir = programs_without(&[name]);
    put_program(&dir, name, script);
    dir
}

fn put_program(dir: &TempDir, name: &str, script: &str) {
    let path = dir.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A program that listens on a port of the host.
fn hold_port(host: &DockerHost, port: u16) -> Child {
    let script = format!(
        "import socket, time; s = socket.create_server(('', {port})); print('up', flush=True); time.sleep(600)"
    );
    let under = host.under();
    let mut python = Command::new(&under[0]);
    python.args(&under[1..]).args(["python3", "-c", &script]).stdout(Stdio::piped());
    let mut child = python.spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
    child
}

/// Asserts that the command fails with these words, and that nothing is on the host afterwards.
fn refused(host: &Host, command: &str, options: &str, words: &[&str]) {
    let output = host.run(command, options);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert_eq!(host.files(), Vec::<PathBuf>::new(), "{words:?}: {said}");
    assert_eq!(host.agent_pid(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_wrong_is_told_the_remedy_and_nothing_is_left_on_it() {
    let docker_host = DockerHost::without_images();
    let agents = agents_dir();
    let controller = controller(&docker_host, &agents).await;
    let api = controller.operator().await;
    let command = command(&api).await;
    let host = || Host::on(&docker_host);
    let scratch = tempfile::tempdir().unwrap();
    let with_engine = |version, live_restore, root| {
        host().with_engine(stand_in_engine(scratch.path(), version, live_restore, root))
    };

    // The engine.
    let nowhere = host().with_engine("unix:///nowhere/docker.sock".into());
    refused(
        &nowhere,
        &command,
        "",
        &["FAILURE  ENGINE", "no Docker Engine: there is no socket", "--install-docker"],
    );
    refused(
        &with_engine("18.09.1", true, "/"),
        &command,
        "",
        &["Docker Engine 18.09.1 is too old", "20.10 or newer"],
    );
    let words = ["FAILURE  LIVE_RESTORE", "\"live-restore\": true", "systemctl reload docker"];
    refused(&with_engine("20.10.24", false, "/"), &command, "", &words);
    // A file system without a free block.
    refused(
        &with_engine("20.10.24", true, "/proc"),
        &command,
        "",
        &["the disk is full", "remedy: free space on it"],
    );

    // The host.
    let programs = programs_without(&["nft"]);
    refused(
        &host().with_programs(&programs),
        &command,
        "",
        &["the program nft is missing", "install the package nftables"],
    );
    let programs =
        programs_with("uname", r#"[ "$1" != -m ] || { echo mips; exit; }; exec /usr/bin/uname "$@""#);
    refused(
        &host().with_programs(&programs),
        &command,
        "",
        &["no agent for the architecture mips", "x86_64 or aarch64"],
    );
    let programs = programs_without(&["supervisord"]);
    refused(
        &host().with_programs(&programs),
        &command,
        "",
        &["FAILURE  SUPERVISOR", "neither systemd nor supervisord", "install the package supervisor"],
    );
    let bare = programs_without(&["supervisord", "nft", "dockerd"]);
    refused(
        &nowhere.with_programs(&bare),
        &command,
        "",
        &["FAILURE  NFTABLES", "FAILURE  ENGINE", "FAILURE  SUPERVISOR", "no agent was installed"],
    );
    let mut holder = hold_port(&docker_host, 5503);
    refused(&host(), &command, "--slots 1", &["port 5503 is in use", "no project fits", "--port-base"]);
    let warned = host().run(&command, "--dry-run");
    assert!(said(&warned).contains("1 of 256 slots are blocked: port 5503"), "{}", said(&warned));
    holder.kill().unwrap();
    holder.wait().unwrap();
    docker_host.run("ip", &["route", "add", "10.213.0.0/16", "via", &docker_host.near]);
    refused(&host(), &command, "", &["overlaps route 10.213.0.0/16 dev eth0", "--network-range"]);
    docker_host.run("ip", &["route", "del", "10.213.0.0/16"]);
    let clock = Clock::start();
    for (hours, words) in [(-1, "behind the controller's"), (1, "ahead of the controller's")] {
        clock.jump(hours);
        let mut wrong = host();
        wrong.under = [clock.under(), docker_host.under()].concat();
        refused(&wrong, &command, "", &["FAILURE  CLOCK", words, "timedatectl set-ntp true"]);
    }
    refused(&host(), &command, "--port-base 'x;y'", &["has characters that no such value has"]);
    refused(&host(), &command, "--port-base x", &["does not take these settings"]);

    // The controller.
    let away = format!("--controller {}:1", docker_host.near);
    refused(&host(), &command, &away, &["no controller answers", "outbound"]);
    let tampering = r#"/usr/bin/curl "$@"; code=$?
        for word; do [ "$before" != --output ] || file=$word; before=$word; done
        case $* in */join/agent/*) echo x >>"$file" ;; esac; exit $code"#;
    let programs = programs_with("curl", tampering);
    refused(&host().with_programs(&programs), &command, "", &["changed on the way", "run this again"]);
    fs::rename(agents.path().join(agent_name()), agents.path().join("away")).unwrap();
    refused(&host(), &command, "", &["this controller has no agent of version", "into --agents-dir"]);
    fs::rename(agents.path().join("away"), agents.path().join(agent_name())).unwrap();

    // The token.
    let token =
        command.split_whitespace().find_map(|word| word.strip_prefix("SUPALOVE_JOIN_TOKEN=")).unwrap();
    let ca = token.split('.').nth(1).unwrap();
    let foreign = command.replace(ca, &"0".repeat(64));
    refused(&host(), &foreign, "", &["another fleet", "supalove join-token create"]);
    refused(
        &host(),
        &command.replace(token, "slj1.x"),
        "",
        &["FAILURE  TOKEN", "supalove join-token create"],
    );
    refused(&host(), &command.replace(token, "''"), "", &["SUPALOVE_JOIN_TOKEN is not set"]);
    Holder::enroll(&controller.node_address, token, "other").await;
    refused(&host(), &command, "", &["the join token has no uses left", "supalove join-token create"]);
    let late = self::command(&api).await;
    controller.database.rows().await.expire_join_tokens().await;
    refused(&host(), &late, "", &["the join token has expired", "no agent was installed"]);
    let fresh = self::command(&api).await;
    refused(&host(), &fresh, "--name other", &["choose another name with --name"]);
    assert_eq!(api.nodes().await.len(), 1, "nobody but the one that used the token has joined");

    let other = host();
    let unit = other.file("etc/systemd/system/supalove-agent.service");
    fs::create_dir_all(unit.parent().unwrap()).unwrap();
    fs::create_dir_all(other.file("run/systemd/system")).unwrap();
    fs::write(&unit, "[Service]\n").unwrap();
    let output = other.run(&fresh, "");
    assert!(said(&output).contains("was not made by this command"), "{}", said(&output));
    assert_eq!(other.files(), [unit]);

    // The same host without a fault, but without packages, with systemd.
    joins_with_systemd(host(), &fresh);
}

/// What systemd does with the unit. It runs on the host's network, as the script does.
const SYSTEMCTL: &str = r#"echo "$*" >>"$SUPALOVE_TEST_SYSTEM/calls"
pid=$(cat "$SUPALOVE_TEST_SYSTEM/run/supalove-agent.pid" 2>/dev/null) || pid=
stop() { [ -z "$pid" ] || kill "$pid"; while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.1; done; }
unit=$SUPALOVE_TEST_SYSTEM/etc/systemd/system/supalove-agent.service
case $1 in
  is-active) kill -0 "$pid" 2>/dev/null ;;
  disable) stop; rm -f "$SUPALOVE_TEST_SYSTEM/run/supalove-agent.pid" ;;
  restart)
    stop
    set -- $(sed -n 's/^ExecStart=//p' "$unit")
    setsid env $(cat "$(sed -n 's/^EnvironmentFile=//p' "$unit")") "$@" </dev/null >"$SUPALOVE_TEST_SYSTEM/log" 2>&1 &
    echo $! >"$SUPALOVE_TEST_SYSTEM/run/supalove-agent.pid" ;;
esac"#;

/// The package manager of a host without engine and nftables: it "installs" the test's.
fn package_manager(host: &Host, programs: &TempDir) -> String {
    let nft = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|dir| dir.join("nft"))
        .find(|nft| nft.exists());
    let nft = nft.unwrap();
    let (nft, place) = (nft.display(), programs.path().display());
    let socket = host.engine.strip_prefix("unix://").unwrap();
    format!(
        "case $* in *install*) echo \"apt-get $*\" >>\"$SUPALOVE_TEST_SYSTEM/calls\"; ln -s {nft} {place}/nft
            ln -s {socket} \"$SUPALOVE_TEST_SYSTEM/run/docker.sock\" ;; esac"
    )
}

fn joins_with_systemd(host: Host, command: &str) {
    let programs = programs_without(&["systemctl", "dockerd", "nft", "apt-get"]);
    put_program(&programs, "systemctl", SYSTEMCTL);
    fs::create_dir_all(host.file("run/systemd/system")).unwrap();
    let socket = host.file("run/docker.sock");
    let packages = package_manager(&host, &programs);
    let host = host.with_programs(&programs).with_engine(format!("unix://{}", socket.display()));
    let options = "--name with-systemd --port-base 6100 --slots 4 --install-docker";

    put_program(&programs, "apt-get", "echo no packages today >&2; exit 100");
    refused(
        &host,
        command,
        options,
        &["no packages today", "could not install docker.io ca-certificates nftables"],
    );
    put_program(&programs, "apt-get", &packages);
    let plan = host.succeeds(command, &format!("{options} --dry-run"));
    let would = "would install through apt-get: docker.io ca-certificates nftables, with live-restore";
    assert!(plan.contains(would), "{plan}");
    assert_eq!(host.files(), Vec::<PathBuf>::new());

    let joined = host.succeeds(command, options);
    assert!(joined.ends_with("node with-systemd is ready in cluster default\n"), "{joined}");
    assert_eq!(
        fs::read_to_string(host.file("etc/docker/daemon.json")).unwrap(),
        "{\"live-restore\": true}\n"
    );
    let calls = || fs::read_to_string(host.file("calls")).unwrap();
    let install =
        "apt-get install -qy --no-install-recommends --no-remove docker.io ca-certificates nftables\n";
    assert!(calls().contains(install), "{}", calls());
    for call in ["daemon-reload", "enable --quiet supalove-agent.service", "restart supalove-agent.service"] {
        assert!(calls().lines().any(|line| line == call), "{call}: {}", calls());
    }
    let settings = fs::read_to_string(host.file("etc/supalove/agent.env")).unwrap();
    assert!(
        settings.contains("SUPALOVE_AGENT_PORT_BASE=6100\n") && !settings.contains("slj1."),
        "{settings}"
    );
    // Settings are kept, and one is changed.
    host.succeeds(command, "--slots 8");
    let settings = fs::read_to_string(host.file("etc/supalove/agent.env")).unwrap();
    assert!(settings.contains("_PORT_BASE=6100\n") && settings.contains("_SLOTS=8\n"), "{settings}");
    host.succeeds(command, "--uninstall");
    assert!(calls().contains("disable --quiet --now supalove-agent.service"));
    let left = ["calls", "etc/docker/daemon.json", "log", "run/docker.sock"].map(|name| host.file(name));
    assert_eq!(host.files(), left, "what the host had before, and the engine's configuration");
}
