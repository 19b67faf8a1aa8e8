//! Fuzz targets of what a controller sends: every valid request can be planned, and reaches nothing of the host but the
//! agent's own directory. And of what the agent reports: no report holds a secret of a project.

use std::path::{Component, Path};

use prost::Message as _;
use supalove_fuzz::{Samples, Verdict, bytes, text};
use supalove_proto::node::v1::{
    ApplyStackRequest, Capability, ConfigFile, ConfigMount, EnvVar, Exposure, HttpProbe, Launch, Limits,
    NamedPort, Placement, PostgresProbe, Probe, PublishedPort, RunState, Security, ServiceSpec, StackError,
    StackSpec, Tmpfs, VolumeMount, VolumeSpec, probe,
};

use super::plan::plan;
use super::redact::Redactor;
use crate::admission::validate;
use crate::config::HostSettings;
use crate::docker::MountPlan;
use crate::state::{Record, content_hash};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const REF: &str = "abcdefghijklmnopqrst";
/// Violations told at once.
const MOST_VIOLATIONS: usize = 20;

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

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.into(), value: value.into(), bind_placement: value.contains("${placement.") }
}

fn postgres() -> ServiceSpec {
    ServiceSpec {
        name: "postgres".into(),
        image: "supalove/postgres:15-1".into(),
        launch: Launch::Postgres.into(),
        env: vec![variable("POSTGRES_PASSWORD", SECRET)],
        aliases: vec!["db".into()],
        volume_mounts: vec![VolumeMount { volume: "data".into(), path: "/data".into(), read_only: false }],
        probe: Some(probe(probe::Check::Postgres(PostgresProbe {
            user: "supabase_admin".into(),
            password: SECRET.into(),
            database: "postgres".into(),
            port: 5432,
        }))),
        ..service()
    }
}

fn gateway() -> ServiceSpec {
    let file = ConfigFile {
        path: "a/gateway.conf".into(),
        content: b"listen ${placement.api_port};".into(),
        uid: 101,
        gid: 101,
        mode: 0o400,
        bind_placement: true,
        reload: false,
    };
    ServiceSpec {
        name: "gateway".into(),
        image: "registry.example.org:5000/supalove/gateway:1-1".into(),
        env: vec![variable("URL", "${placement.api_url}")],
        ports: vec![PublishedPort {
            container_port: 8000,
            named_port: NamedPort::Api.into(),
            exposure: Exposure::Published.into(),
        }],
        config_mounts: vec![ConfigMount {
            path: "/etc/gateway".into(),
            single_file: false,
            files: vec![file],
        }],
        probe: Some(probe(probe::Check::Http(HttpProbe {
            port: 8000,
            path: "/health".into(),
            bearer: "bearer".into(),
            host: "localhost".into(),
        }))),
        depends_on: vec!["postgres".into()],
        ..service()
    }
}

fn service() -> ServiceSpec {
    ServiceSpec {
        launch: Launch::ImageDefault.into(),
        limits: Some(Limits { cpu_millis: 100, memory_mib: 64, pids: 10, open_files: 0 }),
        security: Some(Security {
            user: "101:101".into(),
            read_only_root: true,
            add_capabilities: vec![Capability::Chown.into()],
            tmpfs: vec![Tmpfs { path: "/tmp".into(), size_mib: 16, mode: 0o1777, uid: 0, gid: 0 }],
            ..Security::default()
        }),
        stop_signal: "SIGQUIT".into(),
        stop_grace_seconds: 5,
        ..ServiceSpec::default()
    }
}

fn probe(check: probe::Check) -> Probe {
    Probe { check: Some(check), interval_ms: 1000, timeout_ms: 500, ready_within_seconds: 10, failures: 3 }
}

fn request() -> ApplyStackRequest {
    ApplyStackRequest {
        project_ref: REF.into(),
        generation: 1,
        run_state: RunState::Running.into(),
        restart_token: "t".into(),
        new_volumes: Vec::new(),
        spec: Some(StackSpec {
            release: "core".into(),
            services: vec![gateway(), postgres()],
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

/// Judges a request as the service does; a sound one must also have a plan that stays where it belongs.
fn judge(request: &ApplyStackRequest) -> Verdict {
    let judged = validate(request, &host());
    match &judged {
        Ok(()) => check_plan(request),
        Err(violations) => {
            assert!((1..=MOST_VIOLATIONS).contains(&violations.len()));
            for violation in violations {
                let root = violation.field.split(['.', '[']).next().unwrap();
                let roots = [
                    "project_ref",
                    "generation",
                    "run_state",
                    "restart_token",
                    "placement",
                    "spec",
                    "new_volumes",
                ];
                assert!(roots.contains(&root), "no field: {violation:?}");
                assert!(!violation.description.contains(SECRET), "told a value: {violation:?}");
            }
        }
    }
    Verdict::from_result(&judged)
}

fn check_plan(request: &ApplyStackRequest) {
    let record = Record::applied(request.clone());
    let read = Record::decode(record.encode_to_vec().as_slice()).unwrap();
    assert_eq!(content_hash(read.apply.as_ref().unwrap()), content_hash(request));
    let plans = plan(&record, &host()).expect("a sound specification has a plan");
    let own = Path::new("/state/projects").join(&request.project_ref).join("config");
    for service in plans {
        let files =
            service.dirs.iter().flat_map(|dir| dir.files.iter().map(|file| dir.path.join(&file.path)));
        let sources = service.container.mounts.iter().filter_map(|mount| match mount {
            MountPlan::Config { source, .. } => Some(source.clone()),
            MountPlan::Volume { .. } => None,
        });
        for path in files.chain(sources) {
            let straight =
                path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
            assert!(straight && path.starts_with(&own) && path != own, "{}", path.display());
        }
        for port in &service.container.ports {
            let first = request.placement.as_ref().unwrap().port_base;
            assert!((first..first + 8).contains(&u32::from(port.host)), "{port:?}");
        }
        assert!(service.container.env.iter().all(|variable| !variable.contains('\0')));
    }
    let said = Redactor::from_record(&record).message("nothing secret");
    assert!(said.len() <= 4096);
}

#[test]
fn apply_stack_requests() {
    let samples = Samples::new([request().encode_to_vec()])
        .words(["${placement.api_url}", "${placement.", "../", "/state", SECRET])
        .words([&b"\x0a\x00"[..], b"\x10\x00", b"\x80\x80\x80\x80\x10", b"\x12\xff\xff\xff\xff\x0f"]);
    bytes("ApplyStack", &samples, |input| match ApplyStackRequest::decode(input) {
        Ok(request) => judge(&request),
        Err(_) => Verdict::Refused,
    });
}

type Put = fn(&mut ApplyStackRequest, String);

fn first(request: &mut ApplyStackRequest) -> &mut ServiceSpec {
    &mut request.spec.as_mut().unwrap().services[0]
}

/// Each text of a request.
const TEXTS: [Put; 23] = [
    |r, text| r.project_ref = text,
    |r, text| r.new_volumes.push(text),
    |r, text| r.restart_token = text,
    |r, text| r.placement.as_mut().unwrap().subnet = text,
    |r, text| r.placement.as_mut().unwrap().api_url = text,
    |r, text| r.placement.as_mut().unwrap().api_host = text,
    |r, text| r.spec.as_mut().unwrap().release = text,
    |r, text| r.spec.as_mut().unwrap().volumes[0].name = text,
    |r, text| first(r).name = text,
    |r, text| first(r).image = text,
    |r, text| first(r).stop_signal = text,
    |r, text| first(r).aliases.push(text),
    |r, text| first(r).depends_on.push(text),
    |r, text| first(r).env[0].name = text,
    |r, text| first(r).env[0].value = text,
    |r, text| first(r).config_mounts[0].path = text,
    |r, text| first(r).config_mounts[0].files[0].path = text,
    |r, text| {
        first(r).config_mounts[0].single_file = true;
        first(r).config_mounts[0].files[0].path = text;
    },
    |r, text| first(r).config_mounts[0].files[0].content = text.into_bytes(),
    |r, text| first(r).security.as_mut().unwrap().user = text,
    |r, text| first(r).security.as_mut().unwrap().tmpfs[0].path = text,
    |r, text| {
        first(r).probe =
            Some(probe(probe::Check::Http(HttpProbe { path: text, port: 1, ..HttpProbe::default() })));
    },
    |r, text| {
        let volume = VolumeMount { path: text, volume: "data".into(), read_only: true };
        first(r).volume_mounts.push(volume);
    },
];

/// Damage inside of a text does not break the message around it, so it gets further than changed bytes do.
#[test]
fn texts_of_apply_stack_requests() {
    let sound = [
        REF,
        "10.213.0.32/27",
        "http://127.0.0.1:5508",
        "core",
        "registry.example.org:5000/supalove/gateway:1-1@sha256:8888888888888888888888888888888888888888888888888888888888888888",
        "SIGTERM",
        "a/b/c.conf",
        "/etc/a.d/b",
        "1000:1000",
        "x ${placement.api_url} ${placement.db_port} ${OTHER}",
    ];
    let samples = Samples::new(sound).words([
        "../",
        "/..",
        "//",
        "${placement.",
        "}",
        "localhost:5000/",
        "@sha256:",
        "SIG",
    ]);
    text("texts of ApplyStack", &samples, |input| {
        let mut accepted = Verdict::Refused;
        for put in TEXTS {
            let mut request = request();
            put(&mut request, input.to_owned());
            if judge(&request) == Verdict::Accepted {
                accepted = Verdict::Accepted;
            }
        }
        accepted
    });
}

/// An empty message costs two bytes on the wire: all are counted before one is looked at.
#[test]
fn huge_counts_are_refused_before_they_are_looked_at() {
    let many = 200_000;
    let with = |change: fn(&mut ApplyStackRequest, usize)| {
        let mut request = request();
        change(&mut request, many);
        let started = std::time::Instant::now();
        let violations = validate(&request, &host()).unwrap_err();
        assert!(started.elapsed().as_secs() < 5, "{violations:?}");
        violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
    };
    assert_eq!(
        with(|r, many| r.spec.as_mut().unwrap().services = vec![ServiceSpec::default(); many]),
        ["spec.services"]
    );
    assert_eq!(
        with(|r, many| r.spec.as_mut().unwrap().volumes = vec![VolumeSpec::default(); many]),
        ["spec.volumes"]
    );
    assert_eq!(with(|r, many| r.new_volumes = vec!["data".into(); many]), ["new_volumes"]);
    assert_eq!(with(|r, many| first(r).env = vec![EnvVar::default(); many]), ["spec.services[0].env"]);
    assert_eq!(
        with(|r, many| first(r).depends_on = vec![String::new(); many]),
        ["spec.services[0].depends_on"]
    );
    assert_eq!(
        with(|r, many| first(r).config_mounts[0].files = vec![ConfigFile::default(); many]),
        ["spec.services.config_mounts"]
    );
    assert_eq!(
        with(|r, many| first(r).security.as_mut().unwrap().add_capabilities = vec![99; many]),
        ["spec.services[0].security.add_capabilities"]
    );
}

#[test]
fn reports() {
    let redactor = Redactor::from_record(&Record::applied(request()));
    let lines = [
        format!("FATAL: password authentication failed for \"{SECRET}\" at postgres:5432"),
        format!("{{\"key\":\"{SECRET}\"}}\r\n\u{1b}[31mred\u{1b}[0m"),
        "plain text without anything".to_owned(),
    ];
    let (half, other_half) = SECRET.split_at(9);
    text(
        "reports of containers",
        &Samples::new(lines).words([SECRET, half, other_half, "'", "\\", "[redacted]"]),
        |input| {
            let error = redactor.error(StackError {
                message: input.to_owned(),
                log_tail: vec![input.to_owned()],
                ..StackError::default()
            });
            for (said, limit) in [(&error.message, 4096), (&error.log_tail[0], 2048)] {
                assert!(!said.contains(SECRET), "a secret got through");
                assert!(said.len() <= limit && !said.chars().any(|one| one.is_control() && one != '\t'));
            }
            // "Accepted" is what was left as it is.
            if error.message.contains("[redacted]") { Verdict::Refused } else { Verdict::Accepted }
        },
    );
}
