//! Checks one service of a spec.

use std::collections::BTreeSet;

use supalove_proto::node::v1::{
    Capability, ConfigMount, Exposure, Launch, Limits, NamedPort, Placement, PostgresSettings, Probe,
    Security, ServiceSpec, probe,
};
use supalove_spec::{
    limits::{self, CPU_MILLIS, MEMORY_MIB},
    names,
};

use super::{Violations, is_postgres, tokens};

pub(super) fn check(
    service: &ServiceSpec,
    field: &str,
    volumes: &BTreeSet<&str>,
    placement: Option<&Placement>,
    found: &mut Violations,
) {
    let at = |name: &str| format!("{field}.{name}");
    found.check(names::is_service(&service.name), at("name"), "must be [a-z0-9_-]{1,32}");
    found.check(names::is_image(&service.image), at("image"), "is not an image reference");
    found.check(
        matches!(Launch::try_from(service.launch), Ok(launch) if launch != Launch::Unspecified),
        at("launch"),
        "is not a known launch",
    );
    found.check(names::is_signal(&service.stop_signal), at("stop_signal"), "must be a name such as SIGINT");
    found.check(service.stop_grace_seconds <= 300, at("stop_grace_seconds"), "must be at most 300");
    for other in &service.depends_on {
        found.check(names::is_service(other), at("depends_on"), "must be names of services");
    }
    for alias in &service.aliases {
        found.check(names::is_alias(alias), at("aliases"), "must be names of [a-z0-9_-] and dots");
    }
    check_env(service, field, placement, found);
    check_ports(service, field, found);
    check_mounts(service, field, volumes, placement, found);
    let files: BTreeSet<String> = service.config_mounts.iter().flat_map(config_paths).collect();
    check_sql(service, &service.start_sql, &files, &at("start_sql"), found);
    check_sql(service, &service.reload_sql, &files, &at("reload_sql"), found);
    match &service.probe {
        Some(probe) => check_probe(probe, &at("probe"), found),
        None => found.add(at("probe"), "is missing"),
    }
    match &service.limits {
        Some(limits) => check_limits(limits, &at("limits"), found),
        None => found.add(at("limits"), "is missing"),
    }
    if let Some(settings) = &service.postgres {
        check_postgres(service, settings, &at("postgres"), found);
    }
    match &service.security {
        Some(security) => check_security(security, &at("security"), found),
        None => found.add(at("security"), "is missing"),
    }
}

fn check_env(service: &ServiceSpec, field: &str, placement: Option<&Placement>, found: &mut Violations) {
    let mut seen = BTreeSet::new();
    for (index, variable) in service.env.iter().enumerate() {
        let at = |name: &str| format!("{field}.env[{index}].{name}");
        found.check(names::is_env_name(&variable.name), at("name"), "is not a variable name");
        found.check(seen.insert(&variable.name), at("name"), "is given twice");
        found.check(
            variable.value.len() <= limits::ENV_VALUE && !variable.value.contains('\0'),
            at("value"),
            format!("must have at most {} bytes and no NUL", limits::ENV_VALUE),
        );
        if let (true, Some(placement)) = (variable.bind_placement, placement)
            && let Err(error) = tokens::substitute_text(&variable.value, placement)
        {
            found.add(at("value"), error.to_string());
        }
    }
}

fn check_ports(service: &ServiceSpec, field: &str, found: &mut Violations) {
    for (index, port) in service.ports.iter().enumerate() {
        let at = |name: &str| format!("{field}.ports[{index}].{name}");
        found.check(is_port(port.container_port), at("container_port"), "must be a port");
        found.check(
            matches!(NamedPort::try_from(port.named_port), Ok(named) if named != NamedPort::Unspecified),
            at("named_port"),
            "is not a known port name",
        );
        found.check(
            matches!(Exposure::try_from(port.exposure), Ok(Exposure::Published | Exposure::Loopback)),
            at("exposure"),
            "must be PUBLISHED or LOOPBACK",
        );
    }
}

fn check_mounts(
    service: &ServiceSpec,
    field: &str,
    volumes: &BTreeSet<&str>,
    placement: Option<&Placement>,
    found: &mut Violations,
) {
    let mut targets = BTreeSet::new();
    for (index, mount) in service.volume_mounts.iter().enumerate() {
        let at = |name: &str| format!("{field}.volume_mounts[{index}].{name}");
        found.check(volumes.contains(mount.volume.as_str()), at("volume"), "is not in spec.volumes");
        found.check(names::is_container_path(&mount.path), at("path"), "must be an absolute path");
        found.check(targets.insert(mount.path.as_str()), at("path"), "is mounted twice");
    }
    for (index, mount) in service.config_mounts.iter().enumerate() {
        let field = format!("{field}.config_mounts[{index}]");
        found.check(
            names::is_container_path(&mount.path),
            format!("{field}.path"),
            "must be an absolute path",
        );
        found.check(targets.insert(mount.path.as_str()), format!("{field}.path"), "is mounted twice");
        check_files(mount, &field, placement, found);
    }
    let tmpfs = service.security.iter().flat_map(|security| &security.tmpfs);
    for (index, tmpfs) in tmpfs.enumerate() {
        let at = |name: &str| format!("{field}.security.tmpfs[{index}].{name}");
        found.check(names::is_container_path(&tmpfs.path), at("path"), "must be an absolute path");
        found.check(!tmpfs.path.contains(','), at("path"), "must not hold a comma");
        found.check(targets.insert(tmpfs.path.as_str()), at("path"), "is mounted twice");
        found.check((1..=65_536).contains(&tmpfs.size_mib), at("size_mib"), "must be 1 to 65536");
        found.check(tmpfs.mode <= 0o1777, at("mode"), "must be permission bits up to 01777");
    }
}

/// Start SQL runs as a superuser of the database, so it must be a file that the agent itself wrote and mounted read-only.
fn check_sql(
    service: &ServiceSpec,
    paths: &[String],
    files: &BTreeSet<String>,
    at: &str,
    found: &mut Violations,
) {
    found.check(
        paths.is_empty() || is_postgres(service.launch()),
        at,
        "is only for a service with the launch POSTGRES or POSTGRES_TLS",
    );
    let mut seen = BTreeSet::new();
    for (index, path) in paths.iter().enumerate() {
        let at = format!("{at}[{index}]");
        found.check(files.contains(path), &at, "must be the path of a file of config_mounts");
        found.check(seen.insert(path), &at, "is given twice");
    }
}

/// Paths of a mount's files in the container.
fn config_paths(mount: &ConfigMount) -> impl Iterator<Item = String> {
    mount.files.iter().map(|file| {
        if mount.single_file {
            mount.path.clone()
        } else {
            format!("{}/{}", mount.path.trim_end_matches('/'), file.path)
        }
    })
}

fn check_files(mount: &ConfigMount, field: &str, placement: Option<&Placement>, found: &mut Violations) {
    found.check(
        !mount.single_file || mount.files.len() == 1,
        format!("{field}.files"),
        "must be exactly one with single_file",
    );
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (index, file) in mount.files.iter().enumerate() {
        let at = |name: &str| format!("{field}.files[{index}].{name}");
        found.check(
            names::is_relative_path(&file.path),
            at("path"),
            "must be a path below the mount without \"..\"",
        );
        found.check(seen.insert(&file.path), at("path"), "is given twice");
        found.check(
            file.mode <= 0o777 && file.mode & 0o400 != 0,
            at("mode"),
            "must be 0400 to 0777, readable by its owner",
        );
        found.check(
            !(file.reload && mount.single_file),
            at("reload"),
            "is not for a single file: a running container keeps the old one",
        );
        if let (true, Some(placement)) = (file.bind_placement, placement)
            && let Err(error) = tokens::substitute(&file.content, placement)
        {
            found.add(at("content"), error.to_string());
        }
    }
    let is_parent = |file: &str| {
        let mut parents = file.match_indices('/').map(|(end, _)| &file[..end]);
        parents.any(|parent| seen.contains(parent))
    };
    found.check(
        !seen.iter().any(|file| is_parent(file)),
        format!("{field}.files"),
        "has a file where another needs a directory",
    );
}

fn check_probe(probe: &Probe, field: &str, found: &mut Violations) {
    let at = |name: &str| format!("{field}.{name}");
    let port = match &probe.check {
        Some(probe::Check::Http(http)) => {
            let is_text = |text: &str| text.len() <= 8192 && text.bytes().all(|byte| byte.is_ascii_graphic());
            found.check(http.path.starts_with('/') && is_text(&http.path), at("http.path"), "must be a path");
            found.check(is_text(&http.bearer), at("http.bearer"), "must be visible ASCII");
            found.check(is_text(&http.host), at("http.host"), "must be visible ASCII");
            http.port
        }
        Some(probe::Check::Postgres(postgres)) => {
            let is_text = |text: &str| (1..=63).contains(&text.len()) && !text.contains('\0');
            found.check(is_text(&postgres.user), at("postgres.user"), "must be a role's name");
            found.check(is_text(&postgres.database), at("postgres.database"), "must be a database's name");
            found.check(!postgres.password.contains('\0'), at("postgres.password"), "must not hold NUL");
            postgres.port
        }
        Some(probe::Check::Tcp(tcp)) => tcp.port,
        None => return found.add(at("check"), "is missing"),
    };
    found.check(is_port(port), at("port"), "must be a port");
    found.check((100..=3_600_000).contains(&probe.interval_ms), at("interval_ms"), "must be 100 to 3600000");
    found.check((10..=60_000).contains(&probe.timeout_ms), at("timeout_ms"), "must be 10 to 60000");
    found.check(
        (1..=3600).contains(&probe.ready_within_seconds),
        at("ready_within_seconds"),
        "must be 1 to 3600",
    );
    found.check((1..=1000).contains(&probe.failures), at("failures"), "must be 1 to 1000");
}

/// The engine takes no less than 6 MiB of memory and 0.01 cores.
fn check_limits(limits: &Limits, field: &str, found: &mut Violations) {
    let at = |name: &str| format!("{field}.{name}");
    let cpu = format!("must be 10 to {CPU_MILLIS}");
    found.check((10..=CPU_MILLIS).contains(&limits.cpu_millis), at("cpu_millis"), cpu);
    let memory = format!("must be 6 to {MEMORY_MIB}");
    found.check((6..=MEMORY_MIB).contains(&limits.memory_mib), at("memory_mib"), memory);
    found.check((1..=4_194_304).contains(&limits.pids), at("pids"), "must be 1 to 4194304");
    found.check(limits.open_files <= 1_048_576, at("open_files"), "must be at most 1048576");
}

fn check_postgres(service: &ServiceSpec, settings: &PostgresSettings, field: &str, found: &mut Violations) {
    let at = |name: &str| format!("{field}.{name}");
    found.check(
        is_postgres(service.launch()),
        field,
        "is only for a service with the launch POSTGRES or POSTGRES_TLS",
    );
    let PostgresSettings { max_connections, tenant_connections, shared_buffers_mib } = *settings;
    found.check(
        max_connections == 0 || (20..=10_000).contains(&max_connections),
        at("max_connections"),
        "must be 0 or 20 to 10000",
    );
    found.check(
        max_connections == 0 || tenant_connections <= max_connections,
        at("tenant_connections"),
        "must be at most max_connections",
    );
    let memory_mib = service.limits.map_or(0, |limits| limits.memory_mib);
    found.check(
        shared_buffers_mib <= memory_mib,
        at("shared_buffers_mib"),
        "must be at most limits.memory_mib",
    );
}

fn check_security(security: &Security, field: &str, found: &mut Violations) {
    let at = |name: &str| format!("{field}.{name}");
    found.check(names::is_user(&security.user), at("user"), "must be uid[:gid]");
    for capability in &security.add_capabilities {
        found.check(
            matches!(Capability::try_from(*capability), Ok(known) if known != Capability::Unspecified),
            at("add_capabilities"),
            "is not a capability that may be given back",
        );
    }
}

fn is_port(port: u32) -> bool {
    (1..=u32::from(u16::MAX)).contains(&port)
}
