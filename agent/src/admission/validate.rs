//! Checks a whole request: its own fields, the volumes, and that the services fit together.

use std::collections::BTreeSet;

use supalove_proto::node::v1::{ApplyStackRequest, RunState, StackSpec, VolumeKind};
use supalove_spec::{limits, names, order};

use super::{counts, placement, service};
use crate::config::HostSettings;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, e.g. `spec.services[2].image`.
    pub field: String,
    /// What is wrong, for people. Never holds a value that may be secret.
    pub description: String,
}

/// The wrong fields found so far.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Adds a wrong field, up to a limit.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if self.0.len() < limits::VIOLATIONS {
            self.0.push(Violation { field: field.into(), description: description.into() });
        }
    }

    /// Adds a wrong field unless `holds`.
    pub fn check(&mut self, holds: bool, field: impl Into<String>, description: impl Into<String>) {
        if !holds {
            self.add(field, description);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Checks a request; errs with every wrong field.
pub fn validate(request: &ApplyStackRequest, host: &HostSettings) -> Result<(), Vec<Violation>> {
    let mut found = Violations::default();
    found.check(names::is_project_ref(&request.project_ref), "project_ref", "must be 20 lowercase letters");
    found.check(request.generation > 0, "generation", "must be 1 or more");
    found.check(
        matches!(RunState::try_from(request.run_state), Ok(RunState::Running | RunState::Stopped)),
        "run_state",
        "must be RUNNING or STOPPED",
    );
    found.check(request.restart_token.len() <= 128, "restart_token", "must have at most 128 bytes");
    found.check(
        request.new_volumes.len() <= limits::VOLUMES
            && request.new_volumes.iter().all(|name| names::is_volume(name)),
        "new_volumes",
        "must be names of volumes, [a-z0-9_]{1,32}",
    );
    match &request.placement {
        Some(placement) => placement::check(placement, host, &mut found),
        None => found.add("placement", "is missing"),
    }
    match &request.spec {
        Some(spec) => check_spec(spec, request, &mut found),
        None => found.add("spec", "is missing"),
    }
    if found.is_empty() { Ok(()) } else { Err(found.0) }
}

fn check_spec(spec: &StackSpec, request: &ApplyStackRequest, found: &mut Violations) {
    found.check(names::is_alias(&spec.release), "spec.release", "must be a name of [a-z0-9_-] and dots");
    if !counts::check(spec, found) {
        return;
    }
    let volumes = check_volumes(spec, found);
    let mut seen = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for (index, service) in spec.services.iter().enumerate() {
        let field = format!("spec.services[{index}]");
        found.check(seen.insert(&service.name), format!("{field}.name"), "is given twice");
        for port in &service.ports {
            found.check(
                ports.insert(port.named_port),
                format!("{field}.ports"),
                "takes a named port that another service has",
            );
        }
        service::check(service, &field, &volumes, request.placement.as_ref(), found);
    }
    // The error repeats names of services, so these must be valid by now.
    if found.is_empty() {
        check_order(spec, found);
    }
}

fn check_volumes<'a>(spec: &'a StackSpec, found: &mut Violations) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().enumerate() {
        let field = format!("spec.volumes[{index}].name");
        found.check(names::is_volume(&volume.name), &field, "must be [a-z0-9_]{1,32}");
        found.check(seen.insert(volume.name.as_str()), field, "is given twice");
        found.check(
            VolumeKind::try_from(volume.kind).is_ok(),
            format!("spec.volumes[{index}].kind"),
            "must be DATA or CACHE",
        );
    }
    seen
}

fn check_order(spec: &StackSpec, found: &mut Violations) {
    let edges: Vec<_> =
        spec.services.iter().map(|service| (service.name.as_str(), service.depends_on.as_slice())).collect();
    if let Err(error) = order::waves(&edges) {
        found.add("spec.services.depends_on", error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use supalove_proto::node::v1::{
        Capability, ConfigFile, ConfigMount, EnvVar, Exposure, Launch, Limits, NamedPort, Placement,
        PostgresSettings, Probe, PublishedPort, Security, ServiceSpec, TcpProbe, Tmpfs, VolumeMount,
        VolumeSpec, probe,
    };

    use super::*;

    fn host() -> HostSettings {
        HostSettings {
            state_dir: "/state".into(),
            volumes_dir: "/volumes".into(),
            full_disk_percent: 90,
            volume_quota: crate::config::VolumeQuota::Measure,
            publish_address: [127, 0, 0, 1].into(),
            advertise_address: None,
            slots: supalove_spec::SlotLayout::new(5500, "10.213.0.0/16".parse().unwrap(), 16).unwrap(),
        }
    }

    fn service(name: &str) -> ServiceSpec {
        ServiceSpec {
            name: name.into(),
            image: "supalove/gateway:1-1".into(),
            launch: Launch::ImageDefault.into(),
            probe: Some(Probe {
                interval_ms: 1000,
                timeout_ms: 500,
                ready_within_seconds: 10,
                failures: 3,
                check: Some(probe::Check::Tcp(TcpProbe { port: 80 })),
            }),
            limits: Some(Limits { cpu_millis: 100, memory_mib: 64, pids: 10, open_files: 0 }),
            security: Some(Security::default()),
            ..ServiceSpec::default()
        }
    }

    fn request() -> ApplyStackRequest {
        let mut gateway = service("gateway");
        gateway.depends_on = vec!["postgres".into()];
        gateway.env = vec![EnvVar { name: "A".into(), value: "secret-value".into(), bind_placement: false }];
        gateway.ports = vec![PublishedPort {
            container_port: 80,
            named_port: NamedPort::Api.into(),
            exposure: Exposure::Published.into(),
        }];
        gateway.volume_mounts =
            vec![VolumeMount { volume: "data".into(), path: "/data".into(), read_only: false }];
        gateway.config_mounts = vec![ConfigMount {
            path: "/etc/x".into(),
            single_file: false,
            files: vec![ConfigFile { path: "a/b.conf".into(), mode: 0o444, ..ConfigFile::default() }],
        }];
        ApplyStackRequest {
            project_ref: "abcdefghijklmnopqrst".into(),
            generation: 1,
            run_state: RunState::Running.into(),
            restart_token: String::new(),
            new_volumes: Vec::new(),
            spec: Some(StackSpec {
                release: "supabase-2025.12".into(),
                services: vec![gateway, service("postgres")],
                volumes: vec![VolumeSpec { name: "data".into(), ..VolumeSpec::default() }],
            }),
            placement: Some(Placement {
                slot: 1,
                port_base: 5508,
                subnet: "10.213.0.32/27".into(),
                api_url: "http://127.0.0.1:5508".into(),
                api_host: "127.0.0.1".into(),
                api_port: 5508,
                db_port: 5509,
            }),
        }
    }

    fn fields(request: &ApplyStackRequest) -> Vec<String> {
        let found = validate(request, &host()).err().unwrap_or_default();
        found.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn a_sound_request_passes() {
        assert_eq!(fields(&request()), [""; 0]);
    }

    #[test]
    fn each_wrong_field_is_named() {
        type Change = fn(&mut ApplyStackRequest, &mut ServiceSpec);
        let cases: [(&str, Change); 45] = [
            ("project_ref", |r, _| r.project_ref = "../../etc".into()),
            ("generation", |r, _| r.generation = 0),
            ("run_state", |r, _| r.run_state = 9),
            ("placement", |r, _| r.placement = None),
            ("placement.slot", |r, _| r.placement.as_mut().unwrap().slot = 16),
            ("placement.port_base", |r, _| r.placement.as_mut().unwrap().port_base = 22),
            ("placement.subnet", |r, _| r.placement.as_mut().unwrap().subnet = "10.99.0.0/27".into()),
            ("placement.subnet", |r, _| r.placement.as_mut().unwrap().subnet = "10.213.0.0/16".into()),
            ("placement.api_url", |r, _| r.placement.as_mut().unwrap().api_url = "http://a/b".into()),
            ("placement.api_port", |r, _| r.placement.as_mut().unwrap().api_port = 70_000),
            ("spec", |r, _| r.spec = None),
            ("spec.services[0].name", |_, s| s.name = "a/b".into()),
            ("spec.services[0].image", |_, s| s.image = "--privileged".into()),
            ("spec.services[0].launch", |_, s| s.launch = 99),
            ("spec.services[0].launch", |_, s| s.launch = 0),
            ("spec.services[0].stop_signal", |_, s| s.stop_signal = "9".into()),
            ("spec.services[0].aliases", |_, s| s.aliases = vec!["a b".into()]),
            ("spec.services[0].env[0].name", |_, s| s.env[0].name = "A=B".into()),
            ("spec.services[0].env[0].value", |_, s| {
                s.env[0] = EnvVar { name: "A".into(), value: "${placement.x}".into(), bind_placement: true };
            }),
            ("spec.services[0].ports[0].container_port", |_, s| s.ports[0].container_port = 0),
            ("spec.services[0].ports[0].named_port", |_, s| s.ports[0].named_port = 8),
            ("spec.services[0].ports[0].exposure", |_, s| s.ports[0].exposure = 0),
            ("spec.services[0].volume_mounts[0].volume", |_, s| s.volume_mounts[0].volume = "/etc".into()),
            ("spec.services[0].volume_mounts[0].path", |_, s| s.volume_mounts[0].path = "/a/../b".into()),
            ("spec.services[0].config_mounts[0].path", |_, s| s.config_mounts[0].path = "relative".into()),
            ("spec.services[0].config_mounts[0].files[0].path", |_, s| {
                s.config_mounts[0].files[0].path = "../../../etc/passwd".into();
            }),
            ("spec.services[0].config_mounts[0].files[0].mode", |_, s| {
                s.config_mounts[0].files[0].mode = 0o4755;
            }),
            ("spec.services[0].config_mounts[0].files", |_, s| {
                let file = ConfigFile { path: "a".into(), mode: 0o444, ..ConfigFile::default() };
                s.config_mounts[0].files.push(file);
            }),
            ("spec.services[0].start_sql", |_, s| s.start_sql = vec!["/etc/x/a/b.conf".into()]),
            ("spec.services[0].start_sql[0]", |_, s| {
                s.launch = Launch::Postgres.into();
                s.start_sql = vec!["/var/lib/postgresql/data/tenant.sql".into()];
            }),
            ("spec.services[0].start_sql[1]", |_, s| {
                s.launch = Launch::Postgres.into();
                s.start_sql = vec!["/etc/x/a/b.conf".into(), "/etc/x/a/b.conf".into()];
            }),
            ("spec.services[0].start_sql", |_, s| {
                s.launch = Launch::Postgres.into();
                s.start_sql = (0..9).map(|number| format!("/etc/x/{number}")).collect();
            }),
            ("spec.services[0].reload_sql", |_, s| s.reload_sql = vec!["/etc/x/a/b.conf".into()]),
            ("spec.services[0].reload_sql[0]", |_, s| {
                s.launch = Launch::PostgresTls.into();
                s.reload_sql = vec!["/var/lib/postgresql/data/tenant.sql".into()];
            }),
            ("spec.services[0].reload_sql", |_, s| {
                s.launch = Launch::Postgres.into();
                s.reload_sql = (0..9).map(|number| format!("/etc/x/{number}")).collect();
            }),
            ("spec.services[0].config_mounts[0].files[0].reload", |_, s| {
                s.config_mounts[0].single_file = true;
                s.config_mounts[0].files[0].reload = true;
            }),
            ("spec.services[0].probe", |_, s| s.probe = None),
            ("spec.services[0].limits.memory_mib", |_, s| s.limits.as_mut().unwrap().memory_mib = 0),
            ("spec.services[0].postgres", |_, s| s.postgres = Some(PostgresSettings::default())),
            ("spec.services[0].postgres.max_connections", |_, s| {
                s.launch = Launch::Postgres.into();
                s.postgres = Some(PostgresSettings { max_connections: 10_001, ..Default::default() });
            }),
            ("spec.services[0].postgres.tenant_connections", |_, s| {
                s.launch = Launch::Postgres.into();
                s.postgres = Some(PostgresSettings {
                    max_connections: 100,
                    tenant_connections: 101,
                    ..Default::default()
                });
            }),
            ("spec.services[0].postgres.shared_buffers_mib", |_, s| {
                s.launch = Launch::Postgres.into();
                s.postgres = Some(PostgresSettings { shared_buffers_mib: u32::MAX, ..Default::default() });
            }),
            ("spec.services[0].security.add_capabilities", |_, s| {
                s.security.as_mut().unwrap().add_capabilities = vec![21];
            }),
            ("spec.services[0].security.tmpfs[0].path", |_, s| {
                let tmpfs = Tmpfs { path: "/tmp,exec".into(), size_mib: 1, ..Tmpfs::default() };
                s.security.as_mut().unwrap().tmpfs = vec![tmpfs];
            }),
            ("spec.services.depends_on", |_, s| s.depends_on = vec!["nobody".into()]),
        ];
        for (field, change) in cases {
            let mut wrong = request();
            let mut gateway = wrong.spec.as_ref().unwrap().services[0].clone();
            change(&mut wrong, &mut gateway);
            if let Some(spec) = wrong.spec.as_mut() {
                spec.services[0] = gateway;
            }
            assert!(fields(&wrong).contains(&field.to_owned()), "{field}: {:?}", fields(&wrong));
        }
    }

    #[test]
    fn start_sql_of_mounted_files_passes() {
        let mut sound = request();
        let gateway = &mut sound.spec.as_mut().unwrap().services[0];
        gateway.launch = Launch::Postgres.into();
        gateway.config_mounts.push(ConfigMount {
            path: "/etc/one.sql".into(),
            single_file: true,
            files: vec![ConfigFile { path: "one.sql".into(), mode: 0o444, ..ConfigFile::default() }],
        });
        gateway.start_sql = vec!["/etc/x/a/b.conf".into(), "/etc/one.sql".into()];
        gateway.reload_sql = vec!["/etc/one.sql".into()];
        gateway.config_mounts[0].files[0].reload = true;
        assert!(fields(&sound).is_empty(), "{:?}", fields(&sound));
    }

    #[test]
    fn known_capabilities_pass_and_names_must_be_unique() {
        let mut sound = request();
        let services = &mut sound.spec.as_mut().unwrap().services;
        services[0].security.as_mut().unwrap().add_capabilities = vec![Capability::Chown.into()];
        assert!(fields(&sound).is_empty());
        sound.spec.as_mut().unwrap().services[1].name = "gateway".into();
        assert!(fields(&sound).contains(&"spec.services[1].name".to_owned()));
    }

    #[test]
    fn what_is_wrong_is_told_without_values() {
        let mut wrong = request();
        let service = &mut wrong.spec.as_mut().unwrap().services[0];
        service.env[0].value = "canary\0canary".into();
        let found = validate(&wrong, &host()).unwrap_err();
        assert!(!format!("{found:?}").contains("canary"));
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(request) = ApplyStackRequest::decode(bytes.as_slice()) {
                let _ = validate(&request, &host());
            }
        }

        #[test]
        fn no_changed_byte_makes_it_panic(position in 0_usize..1000, byte in any::<u8>()) {
            let mut bytes = request().encode_to_vec();
            let position = position % bytes.len();
            bytes[position] = byte;
            if let Ok(request) = ApplyStackRequest::decode(bytes.as_slice()) {
                let _ = validate(&request, &host());
            }
        }
    }
}
