//! Stacks made by hand from the local image set.

use supalove_proto::node::v1::{
    ApplyStackRequest, ConfigFile, ConfigMount, EnvVar, Exposure, HttpProbe, Launch, Limits, NamedPort,
    Placement, PostgresProbe, Probe, PublishedPort, RunState, Security, ServiceSpec, StackSpec, Tmpfs,
    VolumeMount, VolumeSpec, probe,
};

use super::Fleet;

pub const PASSWORD: &str = "0123456789abcdef0123456789abcdef";

pub fn gateway() -> ServiceSpec {
    let conf = "client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; \
                uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s; access_log off;\n\
                server { listen 8000; location = /health { return 200 'ok'; } \
                location = /origin { return 200 '${placement.api_url}'; } }\n";
    ServiceSpec {
        name: "gateway".into(),
        image: "supalove/gateway:1-1".into(),
        launch: Launch::ImageDefault.into(),
        aliases: vec!["kong".into()],
        ports: vec![PublishedPort {
            container_port: 8000,
            named_port: NamedPort::Api.into(),
            exposure: Exposure::Published.into(),
        }],
        config_mounts: vec![ConfigMount {
            path: "/etc/nginx/conf.d".into(),
            single_file: false,
            files: vec![ConfigFile {
                path: "gateway.conf".into(),
                content: conf.into(),
                uid: 101,
                gid: 101,
                mode: 0o400,
                bind_placement: true,
                reload: false,
            }],
        }],
        probe: Some(probe(probe::Check::Http(HttpProbe {
            port: 8000,
            path: "/health".into(),
            ..HttpProbe::default()
        }))),
        limits: Some(Limits { cpu_millis: 500, memory_mib: 128, pids: 32, open_files: 4096 }),
        security: Some(security("101:101", 101, &["/tmp"])),
        stop_signal: "SIGQUIT".into(),
        stop_grace_seconds: 5,
        ..ServiceSpec::default()
    }
}

pub fn postgres() -> ServiceSpec {
    let variable = |name: &str| EnvVar { name: name.into(), value: PASSWORD.into(), bind_placement: false };
    ServiceSpec {
        name: "postgres".into(),
        image: "supalove/postgres:15-1".into(),
        launch: Launch::Postgres.into(),
        aliases: vec!["db".into()],
        env: vec![
            variable("POSTGRES_PASSWORD"),
            variable("PGPASSWORD"),
            variable("SUPALOVE_TENANT_PASSWORD"),
        ],
        ports: vec![PublishedPort {
            container_port: 5432,
            named_port: NamedPort::Db.into(),
            exposure: Exposure::Loopback.into(),
        }],
        volume_mounts: vec![
            VolumeMount {
                volume: "db_data".into(),
                path: "/var/lib/postgresql/data".into(),
                read_only: false,
            },
            VolumeMount {
                volume: "db_config".into(),
                path: "/etc/postgresql-custom".into(),
                read_only: false,
            },
        ],
        probe: Some(probe(probe::Check::Postgres(PostgresProbe {
            port: 5432,
            user: "supabase_admin".into(),
            password: PASSWORD.into(),
            database: "postgres".into(),
        }))),
        limits: Some(Limits { cpu_millis: 1000, memory_mib: 512, pids: 256, open_files: 0 }),
        security: Some(security("999:999", 999, &["/tmp", "/var/run/postgresql"])),
        stop_signal: "SIGINT".into(),
        stop_grace_seconds: 30,
        ..ServiceSpec::default()
    }
}

fn probe(check: probe::Check) -> Probe {
    Probe { interval_ms: 500, timeout_ms: 2000, ready_within_seconds: 60, failures: 2, check: Some(check) }
}

fn security(user: &str, id: u32, tmpfs: &[&str]) -> Security {
    let tmpfs =
        tmpfs.iter().map(|path| Tmpfs { path: (*path).into(), size_mib: 32, mode: 0o1777, uid: id, gid: id });
    Security { user: user.into(), read_only_root: true, tmpfs: tmpfs.collect(), ..Security::default() }
}

pub fn stack(
    fleet: &Fleet,
    project: &str,
    slot: u32,
    generation: u64,
    services: Vec<ServiceSpec>,
) -> ApplyStackRequest {
    let port_base = u32::from(fleet.port_base) + 8 * slot;
    let start = fleet.range.trim_end_matches("0/24");
    let volumes =
        ["db_data", "db_config"].map(|name| VolumeSpec { name: name.into(), ..VolumeSpec::default() });
    ApplyStackRequest {
        project_ref: project.into(),
        generation,
        run_state: RunState::Running.into(),
        restart_token: String::new(),
        new_volumes: Vec::new(),
        spec: Some(StackSpec { release: "test".into(), services, volumes: volumes.to_vec() }),
        placement: Some(Placement {
            slot,
            port_base,
            subnet: format!("{start}{}/27", slot * 32),
            api_url: format!("http://127.0.0.1:{port_base}"),
            api_host: "127.0.0.1".into(),
            api_port: port_base,
            db_port: port_base + 1,
        }),
    }
}

/// The newer image, which opens to others only when its start SQL has run, and forgets `ALTER SYSTEM` at each start.
pub fn newer_postgres() -> ServiceSpec {
    const FOLDER: &str = "/etc/supalove/start";
    let sql = format!(
        "do $$ begin
           if not exists (select from pg_roles where rolname = 'supalove_probe') then
             create role supalove_probe login;
           end if;
         end $$;
         alter role supalove_probe password '{PASSWORD}';
         alter role postgres nosuperuser password '{PASSWORD}';
         copy (select) to '/var/run/postgresql/supalove-started';
         "
    );
    let start = ConfigFile {
        path: "start.sql".into(),
        content: sql.into(),
        uid: 999,
        gid: 999,
        mode: 0o400,
        bind_placement: false,
        reload: false,
    };
    let probed = PostgresProbe {
        port: 5432,
        user: "supalove_probe".into(),
        password: PASSWORD.into(),
        database: "postgres".into(),
    };
    ServiceSpec {
        image: "supalove/postgres:15-2".into(),
        config_mounts: vec![ConfigMount { path: FOLDER.into(), single_file: false, files: vec![start] }],
        start_sql: vec![format!("{FOLDER}/start.sql")],
        probe: Some(probe(probe::Check::Postgres(probed))),
        ..postgres()
    }
}
