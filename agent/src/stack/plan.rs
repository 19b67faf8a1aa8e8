//! A record → the exact container of each service. No I/O. Everything that a container depends on goes into its hash: a
//! container with the same hash equals a new one, and stays.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use aws_lc_rs::digest::{Context, SHA256};
use prost::Message as _;
use supalove_proto::node::v1::{
    ConfigMount, EnvVar, Exposure, Launch, Placement, PostgresSettings, PublishedPort, ServiceSpec,
};

use super::failure::StepFailure;
use super::files::{self, ConfigDir, ReadyFile};
use crate::admission::{TokenError, is_postgres, substitute, substitute_text};
use crate::config::HostSettings;
use crate::docker::{ContainerPlan, MountPlan, PortPlan, labels};
use crate::state::Record;

/// Raised when a change in how containers are created must reach running ones.
const HASH_VERSION: &[u8] = b"supalove-agent container 1";
/// Seconds between stop signal and kill where the spec does not say: the engine's own default.
const DEFAULT_GRACE: u32 = 10;

/// One service, ready to be created.
#[derive(Debug, Clone, PartialEq)]
pub struct ServicePlan {
    /// As the controller sent it.
    pub spec: ServiceSpec,
    pub container: ContainerPlan,
    /// Directories to be written before.
    pub dirs: Vec<ConfigDir>,
}

impl ServicePlan {
    /// Hash of the files that change in the running container; empty if there are none.
    pub fn reloaded(&self) -> String {
        let files = self.dirs.iter().flat_map(|dir| &dir.files).filter(|file| file.reload);
        let mut hash = Context::new(&SHA256);
        let mut any = false;
        for file in files {
            any = true;
            update(&mut hash, file.path.as_bytes());
            update(&mut hash, &file.content);
        }
        if any { hex::encode(&hash.finish().as_ref()[..12]) } else { String::new() }
    }
}

/// Plans every service of a record.
pub fn plan(record: &Record, host: &HostSettings) -> Result<Vec<ServicePlan>, StepFailure> {
    let incomplete = || StepFailure::new("SPEC_INVALID", "the stored record is incomplete");
    let apply = record.apply.as_ref().ok_or_else(incomplete)?;
    let spec = record.spec().ok_or_else(incomplete)?;
    let placement = record.placement().ok_or_else(incomplete)?;
    let planner = Planner {
        project_ref: &record.project_ref,
        generation: apply.generation,
        restart_token: &apply.restart_token,
        placement,
        host,
    };
    spec.services.iter().map(|service| planner.service(service).map_err(Into::into)).collect()
}

struct Planner<'a> {
    project_ref: &'a str,
    generation: u64,
    restart_token: &'a str,
    placement: &'a Placement,
    host: &'a HostSettings,
}

impl Planner<'_> {
    fn service(&self, spec: &ServiceSpec) -> Result<ServicePlan, TokenError> {
        let (mounts, dirs) = self.mounts(spec)?;
        let mut aliases = vec![spec.name.clone()];
        aliases.extend(spec.aliases.iter().filter(|alias| **alias != spec.name).cloned());
        let limits = spec.limits.unwrap_or_default();
        let mut container = ContainerPlan {
            project_ref: self.project_ref.to_owned(),
            service: spec.name.clone(),
            generation: self.generation,
            hash: String::new(),
            image: spec.image.clone(),
            command: command(spec),
            env: spec.env.iter().map(|variable| self.variable(variable)).collect::<Result<_, _>>()?,
            aliases,
            ports: spec.ports.iter().filter_map(|port| self.port(port)).collect(),
            mounts,
            stop_signal: spec.stop_signal.clone(),
            stop_grace: i64::from(grace(spec)),
            shm_bytes: is_postgres(spec.launch()).then(|| shared_memory(limits.memory_mib)),
            limits,
            security: spec.security.clone().unwrap_or_default(),
        };
        container.hash = self.hash(spec, &container);
        Ok(ServicePlan { spec: spec.clone(), container, dirs })
    }

    fn variable(&self, variable: &EnvVar) -> Result<String, TokenError> {
        let EnvVar { name, value, bind_placement } = variable;
        if *bind_placement {
            Ok(format!("{name}={}", substitute_text(value, self.placement)?))
        } else {
            Ok(format!("{name}={value}"))
        }
    }

    fn port(&self, port: &PublishedPort) -> Option<PortPlan> {
        let offset = u32::try_from(port.named_port).ok()?.checked_sub(1)?;
        let host_ip = match port.exposure() {
            Exposure::Published => self.host.publish_address,
            Exposure::Loopback | Exposure::Unspecified => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        Some(PortPlan {
            container: u16::try_from(port.container_port).ok()?,
            host_ip,
            host: u16::try_from(self.placement.port_base.checked_add(offset)?).ok()?,
        })
    }

    fn mounts(&self, spec: &ServiceSpec) -> Result<(Vec<MountPlan>, Vec<ConfigDir>), TokenError> {
        let mut mounts: Vec<MountPlan> = spec
            .volume_mounts
            .iter()
            .map(|mount| MountPlan::Volume {
                name: labels::volume_name(self.project_ref, &mount.volume),
                target: mount.path.clone(),
                read_only: mount.read_only,
            })
            .collect();
        let mut dirs = Vec::new();
        for (number, mount) in spec.config_mounts.iter().enumerate() {
            let dir = self.config_dir(&spec.name, number, mount)?;
            let source = match mount.files.first() {
                Some(file) if mount.single_file => dir.path.join(&file.path),
                _ => dir.path.clone(),
            };
            mounts.push(MountPlan::Config { source, target: mount.path.clone() });
            dirs.push(dir);
        }
        Ok((mounts, dirs))
    }

    fn config_dir(&self, service: &str, number: usize, mount: &ConfigMount) -> Result<ConfigDir, TokenError> {
        let mut hash = Context::new(&SHA256);
        let mut ready = Vec::new();
        for file in &mount.files {
            let content = if file.bind_placement {
                substitute(&file.content, self.placement)?
            } else {
                file.content.clone()
            };
            update(&mut hash, file.path.as_bytes());
            if file.reload {
                // Not the content: it changes in place.
                update(&mut hash, b"reload");
            } else {
                update(&mut hash, &content);
            }
            for part in [file.uid, file.gid, file.mode] {
                update(&mut hash, &part.to_be_bytes());
            }
            ready.push(ReadyFile {
                path: file.path.clone(),
                content,
                uid: file.uid,
                gid: file.gid,
                mode: file.mode,
                reload: file.reload,
            });
        }
        let name = format!("{number}-{}", hex::encode(&hash.finish().as_ref()[..12]));
        let path: PathBuf = files::service_dir(&self.host.state_dir, self.project_ref, service).join(name);
        Ok(ConfigDir { path, files: ready })
    }

    /// The paths of config directories hold their content's hash, so mounts cover the files, but not the content of those
    /// that change in place.
    fn hash(&self, spec: &ServiceSpec, container: &ContainerPlan) -> String {
        let mut hash = Context::new(&SHA256);
        update(&mut hash, HASH_VERSION);
        update(&mut hash, self.restart_token.as_bytes());
        update(&mut hash, self.placement.subnet.as_bytes());
        // Files are covered by the mounts, with their tokens replaced.
        let bare = ServiceSpec { config_mounts: Vec::new(), ..spec.clone() };
        update(&mut hash, &bare.encode_to_vec());
        for variable in &container.env {
            update(&mut hash, variable.as_bytes());
        }
        for mount in &container.mounts {
            update(&mut hash, format!("{mount:?}").as_bytes());
        }
        for port in &container.ports {
            update(&mut hash, format!("{port:?}").as_bytes());
        }
        hex::encode(&hash.finish().as_ref()[..16])
    }
}

/// Each part with its length before it, so that no two lists of parts look alike.
fn update(hash: &mut Context, part: &[u8]) {
    hash.update(&(part.len() as u64).to_be_bytes());
    hash.update(part);
}

/// Seconds between stop signal and kill.
pub fn grace(spec: &ServiceSpec) -> u32 {
    if spec.stop_grace_seconds == 0 { DEFAULT_GRACE } else { spec.stop_grace_seconds }
}

/// A quarter of the memory for parallel queries, never less than the engine's default of 64 MiB.
fn shared_memory(memory_mib: u32) -> i64 {
    i64::from((memory_mib / 4).max(64)) * 1024 * 1024
}

/// The closed list of command lines. A PostgreSQL server's goes before its files and before ALTER SYSTEM.
fn command(spec: &ServiceSpec) -> Option<Vec<String>> {
    let words: &[&str] = match spec.launch() {
        Launch::Unspecified | Launch::ImageDefault => return None,
        Launch::Postgres => &["postgres", "-c", "config_file=/etc/postgresql/postgresql.conf"],
        Launch::PostgresTls => &[
            "postgres",
            "-c",
            "config_file=/etc/postgresql/postgresql.conf",
            "-c",
            "ssl=on",
            "-c",
            "ssl_cert_file=/etc/supalove/tls/server.pem",
            "-c",
            "ssl_key_file=/etc/supalove/tls/server.pem",
            "-c",
            "ssl_min_protocol_version=TLSv1.2",
        ],
        Launch::FunctionsRouter => &[
            "run",
            "--no-prompt",
            "--allow-net",
            "--allow-read=/app,/functions",
            "--allow-env",
            "--allow-run=deno",
            "/app/router.ts",
        ],
    };
    let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    if is_postgres(spec.launch()) {
        for setting in spec.postgres.iter().flat_map(postgres_settings) {
            words.extend(["-c".to_owned(), setting]);
        }
    }
    Some(words)
}

/// Those that are given.
fn postgres_settings(settings: &PostgresSettings) -> impl Iterator<Item = String> {
    let PostgresSettings { max_connections, tenant_connections, shared_buffers_mib } = *settings;
    let given = [
        ("max_connections", max_connections, ""),
        // An image without the guard keeps it as a setting that nothing reads.
        ("supalove_guard.tenant_connections", tenant_connections, ""),
        ("shared_buffers", shared_buffers_mib, "MB"),
    ];
    let given = given.into_iter().filter(|(_, number, _)| *number > 0);
    given.map(|(name, number, unit)| format!("{name}={number}{unit}"))
}

#[cfg(test)]
mod tests {
    use supalove_proto::node::v1::{ApplyStackRequest, ConfigFile, NamedPort, RunState, StackSpec};

    use super::*;

    fn host() -> HostSettings {
        HostSettings {
            state_dir: "/state".into(),
            volumes_dir: "/volumes".into(),
            full_disk_percent: 90,
            volume_quota: crate::config::VolumeQuota::Measure,
            publish_address: [10, 0, 0, 1].into(),
            advertise_address: None,
            slots: supalove_spec::SlotLayout::new(5500, "10.213.0.0/16".parse().unwrap(), 16).unwrap(),
        }
    }

    fn request() -> ApplyStackRequest {
        let gateway = ServiceSpec {
            name: "gateway".into(),
            image: "i:1".into(),
            launch: Launch::ImageDefault.into(),
            env: vec![EnvVar {
                name: "URL".into(),
                value: "${placement.api_url}".into(),
                bind_placement: true,
            }],
            aliases: vec!["kong".into()],
            ports: vec![PublishedPort {
                container_port: 8000,
                named_port: NamedPort::Api.into(),
                exposure: Exposure::Published.into(),
            }],
            config_mounts: vec![ConfigMount {
                path: "/etc/x.conf".into(),
                single_file: true,
                files: vec![ConfigFile {
                    path: "x.conf".into(),
                    content: b"port ${placement.api_port}".into(),
                    mode: 0o444,
                    bind_placement: true,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        ApplyStackRequest {
            project_ref: "abcdefghijklmnopqrst".into(),
            generation: 7,
            run_state: RunState::Running.into(),
            restart_token: String::new(),
            new_volumes: Vec::new(),
            spec: Some(StackSpec { release: "core".into(), services: vec![gateway], volumes: vec![] }),
            placement: Some(Placement {
                slot: 1,
                port_base: 5508,
                subnet: "10.213.0.32/27".into(),
                api_url: "http://h:5508".into(),
                api_host: "h".into(),
                api_port: 5508,
                db_port: 5509,
            }),
        }
    }

    fn planned(request: ApplyStackRequest) -> ServicePlan {
        plan(&Record::applied(request), &host()).unwrap().remove(0)
    }

    #[test]
    fn placement_values_are_put_in() {
        let plan = planned(request());
        assert_eq!(plan.container.env, ["URL=http://h:5508"]);
        assert_eq!(plan.container.aliases, ["gateway", "kong"]);
        assert_eq!(
            plan.container.ports,
            [PortPlan { container: 8000, host_ip: [10, 0, 0, 1].into(), host: 5508 }]
        );
        assert_eq!(plan.dirs[0].files[0].content, b"port 5508");
        let MountPlan::Config { source, .. } = &plan.container.mounts[0] else { panic!("no mount") };
        assert!(source.starts_with("/state/projects/abcdefghijklmnopqrst/config/gateway"));
        assert!(source.ends_with("x.conf"));
    }

    #[test]
    fn the_hash_changes_with_content_but_not_with_the_generation() {
        let first = planned(request()).container.hash;
        let mut newer = request();
        newer.generation = 8;
        assert_eq!(planned(newer).container.hash, first);
        let changes: [fn(&mut ApplyStackRequest); 5] = [
            |request| request.restart_token = "again".into(),
            |request| request.placement.as_mut().unwrap().subnet = "10.213.0.64/27".into(),
            |request| request.placement.as_mut().unwrap().api_port = 1,
            |request| request.placement.as_mut().unwrap().api_url = "http://other".into(),
            |request| request.spec.as_mut().unwrap().services[0].image = "i:2".into(),
        ];
        for change in changes {
            let mut request = request();
            change(&mut request);
            assert_ne!(planned(request).container.hash, first);
        }
    }

    #[test]
    fn the_content_of_a_file_that_changes_in_place_recreates_nothing() {
        let with = |reload: bool, content: &[u8], mode: u32| {
            let mut request = request();
            let mount = &mut request.spec.as_mut().unwrap().services[0].config_mounts[0];
            mount.single_file = false;
            mount.files[0] =
                ConfigFile { path: "x".into(), content: content.into(), mode, reload, ..Default::default() };
            planned(request)
        };
        let one = with(true, b"one", 0o400);
        let two = with(true, b"two", 0o400);
        assert_eq!(one.container.hash, two.container.hash);
        assert_eq!(one.dirs[0].path, two.dirs[0].path);
        assert_ne!(one.reloaded(), two.reloaded());
        assert_ne!(with(true, b"one", 0o440).container.hash, one.container.hash);
        let fixed = with(false, b"one", 0o400);
        assert_ne!(fixed.container.hash, one.container.hash);
        assert_ne!(with(false, b"two", 0o400).container.hash, fixed.container.hash);
        assert_eq!(fixed.reloaded(), "");
    }

    #[test]
    fn command_lines_are_fixed() {
        let command =
            |launch: Launch| super::command(&ServiceSpec { launch: launch.into(), ..ServiceSpec::default() });
        assert_eq!(command(Launch::ImageDefault), None);
        let router = command(Launch::FunctionsRouter).unwrap();
        assert!(router.contains(&"--no-prompt".to_owned()) && !router.iter().any(|word| word == "-A"));
        assert_eq!(command(Launch::Postgres).unwrap()[0], "postgres");
        let tls = command(Launch::PostgresTls).unwrap();
        assert_eq!(tls[..3], command(Launch::Postgres).unwrap());
        assert!(tls.contains(&"ssl=on".to_owned()));
    }

    #[test]
    fn a_server_gets_the_settings_that_are_given_and_no_other_program_does() {
        let settings =
            PostgresSettings { max_connections: 130, tenant_connections: 90, shared_buffers_mib: 512 };
        let mut spec = ServiceSpec {
            launch: Launch::Postgres.into(),
            postgres: Some(settings),
            ..ServiceSpec::default()
        };
        let bare = ServiceSpec { postgres: None, ..spec.clone() };
        let words = command(&spec).unwrap();
        let more = words.strip_prefix(command(&bare).unwrap().as_slice()).unwrap();
        let expected = [
            "-c",
            "max_connections=130",
            "-c",
            "supalove_guard.tenant_connections=90",
            "-c",
            "shared_buffers=512MB",
        ];
        assert_eq!(more, expected);
        spec.postgres = Some(PostgresSettings { shared_buffers_mib: 0, ..settings });
        assert_eq!(command(&spec).unwrap().len(), words.len() - 2);
        spec.launch = Launch::FunctionsRouter.into();
        assert!(!command(&spec).unwrap().iter().any(|word| word.contains("max_connections")));
    }
}
