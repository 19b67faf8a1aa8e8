//! What `docker inspect` must say of each container, from the release's own words.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Value, json};
use supalove_proto::node::v1::{Capability, Exposure, Launch, ServiceSpec, StackSpec};
use supalove_stack::{ProjectInput, ProjectSecrets, ProjectSettings, Releases, render};

use supalove_system_tests::{Tenant, docker};

use super::{RELEASE, containers::sorted};

const MIB: u64 = 1024 * 1024;

/// The release, rendered for nobody: secrets are not compared.
static SPEC: LazyLock<StackSpec> = LazyLock::new(|| {
    let releases = Releases::embedded().unwrap();
    let secrets = ProjectSecrets::generate("abcdefghijklmnopqrst").unwrap();
    let settings = ProjectSettings::default();
    let input = ProjectInput {
        project_ref: "abcdefghijklmnopqrst",
        project_name: "Any",
        secrets: &secrets,
        settings: &settings,
    };
    render(releases.get(RELEASE).unwrap(), &input).unwrap()
});

fn spec(service: &str) -> &'static ServiceSpec {
    SPEC.services.iter().find(|one| one.name == service).unwrap()
}

/// Its image.
pub fn image(service: &str) -> String {
    spec(service).image.clone()
}

/// Every field that a container is made of, by its path in `docker inspect` or its name in `Container::get`.
pub fn expect(
    service: &str,
    project_ref: &str,
    fleet: &str,
    tenant: &Tenant,
) -> BTreeMap<&'static str, Value> {
    let spec = spec(service);
    let image = inspect_image(&spec.image);
    let security = spec.security.as_ref().unwrap();
    let limits = spec.limits.as_ref().unwrap();
    let strict = (!security.allow_new_privileges).then(|| json!(["no-new-privileges"]));
    let memory = json!(u64::from(limits.memory_mib) * MIB);
    let user = match (security.user.as_str(), image["User"].as_str()) {
        ("", user) => json!(user.unwrap_or_default()),
        (user, _) => json!(user),
    };
    let mut expected = BTreeMap::from([
        ("Config.Image", json!(spec.image)),
        ("Config.User", user),
        ("Config.Hostname", json!(spec.name)),
        ("Config.Entrypoint", sorted(image["Entrypoint"].clone())),
        ("Config.Cmd", command(spec, &image)),
        ("Config.StopSignal", json!(spec.stop_signal)),
        ("Config.StopTimeout", json!(spec.stop_grace_seconds)),
        ("variables", variables(spec, &image)),
        ("mounts", mounts(spec, project_ref)),
        ("names", names(spec, project_ref)),
        ("HostConfig.NetworkMode", json!(format!("project_{project_ref}_net"))),
        ("HostConfig.PortBindings", ports(spec, tenant)),
        ("HostConfig.CapDrop", json!(["ALL"])),
        ("HostConfig.CapAdd", capabilities(spec)),
        ("HostConfig.SecurityOpt", strict.unwrap_or(Value::Null)),
        ("HostConfig.ReadonlyRootfs", json!(security.read_only_root)),
        ("HostConfig.Privileged", json!(false)),
        ("HostConfig.Binds", Value::Null),
        ("HostConfig.Devices", Value::Null),
        ("HostConfig.PidMode", json!("")),
        ("HostConfig.Memory", memory.clone()),
        ("HostConfig.MemorySwap", memory),
        ("HostConfig.NanoCpus", json!(u64::from(limits.cpu_millis) * 1_000_000)),
        ("HostConfig.PidsLimit", json!(limits.pids)),
        ("HostConfig.RestartPolicy.Name", json!("no")),
        ("HostConfig.LogConfig.Config", json!({ "max-size": "10m", "max-file": "3" })),
        ("HostConfig.Tmpfs", tmpfs(spec)),
    ]);
    let labels = [
        ("supalove.fleet", fleet),
        ("supalove.project", project_ref),
        ("supalove.service", service),
        ("supalove.generation", "1"),
    ];
    expected.extend(labels.map(|(name, value)| (name, json!(value))));
    if limits.open_files > 0 {
        let limit = json!([{ "Name": "nofile", "Soft": limits.open_files, "Hard": limits.open_files }]);
        expected.insert("HostConfig.Ulimits", limit);
    }
    expected
}

fn inspect_image(image: &str) -> Value {
    let said = docker(None, &["image", "inspect", "--format", "{{json .Config}}", image]);
    serde_json::from_str(&said).unwrap()
}

/// The command lines of ADR 0005.
fn command(spec: &ServiceSpec, image: &Value) -> Value {
    let words = match spec.launch() {
        Launch::Postgres => "config_file=/etc/postgresql/postgresql.conf -c postgres",
        Launch::PostgresTls => {
            "config_file=/etc/postgresql/postgresql.conf -c -c -c -c -c postgres ssl=on \
             ssl_cert_file=/etc/supalove/tls/server.pem ssl_key_file=/etc/supalove/tls/server.pem \
             ssl_min_protocol_version=TLSv1.2"
        }
        Launch::FunctionsRouter => {
            "--allow-env --allow-net --allow-read=/app,/functions --allow-run=deno --no-prompt /app/router.ts run"
        }
        Launch::ImageDefault | Launch::Unspecified => return sorted(image["Cmd"].clone()),
    };
    sorted(json!(words.split(' ').collect::<Vec<_>>()))
}

fn variables(spec: &ServiceSpec, image: &Value) -> Value {
    let inherited = image["Env"].as_array().cloned().unwrap_or_default();
    let inherited = inherited.iter().map(|one| one.as_str().unwrap().split('=').next().unwrap().to_owned());
    let mut all: Vec<String> = spec.env.iter().map(|one| one.name.clone()).chain(inherited).collect();
    all.sort();
    all.dedup();
    sorted(json!(all))
}

fn mounts(spec: &ServiceSpec, project_ref: &str) -> Value {
    let volumes = spec
        .volume_mounts
        .iter()
        .map(|mount| format!("volume supalove_{project_ref}_{} {} rw", mount.volume, mount.path));
    let files = spec.config_mounts.iter().map(|mount| format!("bind  {} ro", mount.path));
    sorted(json!(volumes.chain(files).collect::<Vec<_>>()))
}

fn names(spec: &ServiceSpec, project_ref: &str) -> Value {
    let mut names: Vec<&str> = spec.aliases.iter().chain([&spec.name]).map(String::as_str).collect();
    names.sort_unstable();
    json!(format!("project_{project_ref}_net: {}", names.join(" ")))
}

/// The gateway's on the node's address, the database's on loopback; in these tests both are loopback.
fn ports(spec: &ServiceSpec, tenant: &Tenant) -> Value {
    let gateway = tenant.gateway.address.rsplit(':').next().unwrap().to_owned();
    let database = tenant.db_url.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let binding = |port: &supalove_proto::node::v1::PublishedPort| {
        let host_port = if port.exposure() == Exposure::Published { &gateway } else { &database };
        let bound = json!([{ "HostIp": "127.0.0.1", "HostPort": host_port }]);
        (format!("{}/tcp", port.container_port), bound)
    };
    let bindings: serde_json::Map<String, Value> = spec.ports.iter().map(binding).collect();
    if bindings.is_empty() { Value::Null } else { Value::Object(bindings) }
}

fn capabilities(spec: &ServiceSpec) -> Value {
    let name = |one: Capability| one.as_str_name().trim_start_matches("CAPABILITY_").to_owned();
    sorted(json!(spec.security.as_ref().unwrap().add_capabilities().map(name).collect::<Vec<_>>()))
}

fn tmpfs(spec: &ServiceSpec) -> Value {
    let one = |tmpfs: &supalove_proto::node::v1::Tmpfs| {
        let options = format!(
            "rw,noexec,nosuid,nodev,size={}m,mode={:o},uid={},gid={}",
            tmpfs.size_mib, tmpfs.mode, tmpfs.uid, tmpfs.gid
        );
        (tmpfs.path.clone(), json!(options))
    };
    let all: serde_json::Map<String, Value> = spec.security.as_ref().unwrap().tmpfs.iter().map(one).collect();
    if all.is_empty() { Value::Null } else { Value::Object(all) }
}
