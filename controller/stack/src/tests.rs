//! Releases and rendering as a whole. Operators' releases are written to a fresh directory.

use std::{collections::BTreeMap, fs, path::Path};

use prost::Message as _;
use supalove_proto::node::v1 as node;
use tempfile::TempDir;

use super::*;

const REF: &str = "abcdefghijklmnopqrst";

fn secrets() -> ProjectSecrets {
    ProjectSecrets::generate(REF).unwrap()
}

fn secret(secrets: &ProjectSecrets, name: &str) -> String {
    let mut pairs = secrets.iter();
    pairs.find(|(one, _)| *one == name).unwrap().1.to_owned()
}

fn input<'a>(secrets: &'a ProjectSecrets, settings: &'a ProjectSettings) -> ProjectInput<'a> {
    ProjectInput { project_ref: REF, project_name: "Shop", secrets, settings }
}

fn core() -> Release {
    Releases::embedded().unwrap().get("core").unwrap().clone()
}

fn render_core(secrets: &ProjectSecrets) -> node::StackSpec {
    render(&core(), &input(secrets, &ProjectSettings::default())).unwrap()
}

fn official() -> Release {
    Releases::embedded().unwrap().get("supabase-2025.12").unwrap().clone()
}

fn render_official(secrets: &ProjectSecrets) -> node::StackSpec {
    render(&official(), &input(secrets, &ProjectSettings::default())).unwrap()
}

fn service<'a>(spec: &'a node::StackSpec, name: &str) -> &'a node::ServiceSpec {
    spec.services.iter().find(|one| one.name == name).unwrap()
}

fn file(service: &node::ServiceSpec, path: &str) -> String {
    let mut files = service.config_mounts.iter().flat_map(|mount| &mount.files);
    let file = files.find(|one| one.path == path).unwrap();
    String::from_utf8(file.content.clone()).unwrap()
}

fn env<'a>(service: &'a node::ServiceSpec, name: &str) -> &'a node::EnvVar {
    service.env.iter().find(|one| one.name == name).unwrap()
}

/// Smallest sound release; tests replace parts of it.
pub(super) const TINY: &str = r#"
name: tiny
description: one container
volumes: [data]
services:
  - name: web
    image: example/web:1
    launch: image_default
    env:
      KEY: "{{ secrets.anon_key }}"
    ports:
      - { container: 80, name: api, exposure: published }
    volumes:
      - { volume: data, path: /data }
    config:
      - path: /etc/web
        files:
          - { path: web.conf, template: web.conf, uid: 7, gid: 8, mode: "0400" }
    probe:
      http: { port: 80, path: / }
      interval_ms: 1000
      timeout_ms: 500
      ready_within_seconds: 10
      failures: 3
    limits: { cpu_millis: 100, memory_mib: 64, pids: 10 }
    reserve: { cpu_millis: 50, memory_mib: 32, disk_mib: 16 }
    security: { user: "1:1" }
    stop: { signal: SIGTERM, grace_seconds: 5 }
"#;

fn write_release(root: &Path, name: &str, manifest: &str, template: &str) {
    let templates = root.join(name).join("templates");
    fs::create_dir_all(&templates).unwrap();
    fs::write(root.join(name).join("stack.yaml"), manifest).unwrap();
    fs::write(templates.join("web.conf"), template).unwrap();
}

fn load(manifest: &str, template: &str) -> Result<Releases, ReleaseError> {
    let root = TempDir::new().unwrap();
    write_release(root.path(), "tiny", manifest, template);
    Releases::default().with_dir(root.path())
}

/// The message for the tiny release with one part replaced.
fn refusal(from: &str, to: &str) -> String {
    assert!(TINY.contains(from), "{from}");
    load(&TINY.replace(from, to), "").unwrap_err().to_string()
}

#[test]
fn every_embedded_release_renders_whole() {
    let secrets = secrets();
    let core = render_core(&secrets);
    let official = render_official(&secrets);
    let seven = ["postgres", "auth", "api", "realtime", "storage", "functions", "gateway"];
    assert_eq!(
        core.services.iter().map(|one| &one.name).collect::<Vec<_>>(),
        ["postgres", "functions", "gateway"]
    );
    assert_eq!(official.services.iter().map(|one| &one.name).collect::<Vec<_>>(), seven);
    for spec in [core, official] {
        no_template_is_left(&spec);
    }
}

fn no_template_is_left(spec: &node::StackSpec) {
    let texts = spec.services.iter().flat_map(|one| {
        let files = one.config_mounts.iter().flat_map(|mount| &mount.files);
        let files = files.map(|file| String::from_utf8(file.content.clone()).unwrap());
        files.chain(one.env.iter().map(|env| env.value.clone()))
    });
    for text in texts {
        assert!(!text.contains("{{") && !text.contains("{%"), "{text}");
    }
}

#[test]
fn the_official_release_tells_the_gateway_of_all_its_services() {
    let conf = file(service(&render_official(&secrets()), "gateway"), "gateway.conf");
    for target in ["api:3000", "auth:9999", "realtime:4000", "storage:5000", "functions:9000"] {
        assert!(conf.contains(&format!("set $upstream {target};")), "{target}");
    }
    // pg-meta and analytics are no services of a stack.
    assert_eq!(conf.matches("service_not_enabled").count(), 2);
}

#[test]
fn the_official_release_publishes_the_gateway_alone_and_the_database_on_loopback() {
    let spec = render_official(&secrets());
    let ports =
        spec.services.iter().flat_map(|one| one.ports.iter().map(move |port| (one.name.as_str(), port)));
    let ports: Vec<_> = ports.map(|(name, port)| (name, port.container_port, port.exposure())).collect();
    assert_eq!(
        ports,
        [("postgres", 5432, node::Exposure::Loopback), ("gateway", 8000, node::Exposure::Published)]
    );
    // PostgREST's admin port prints its secrets; no route leads there.
    assert!(!file(service(&spec, "gateway"), "gateway.conf").contains("3001"));
}

#[test]
fn the_signing_secret_stays_out_of_the_database() {
    let secrets = secrets();
    let signing = secret(&secrets, "jwt_secret");
    for spec in [render_core(&secrets), render_official(&secrets)] {
        let postgres = service(&spec, "postgres");
        assert!(postgres.env.iter().all(|one| one.value != signing));
        let files = postgres.config_mounts.iter().flat_map(|mount| &mount.files);
        assert!(files.into_iter().all(|file| !String::from_utf8_lossy(&file.content).contains("jwt_secret")));
    }
}

#[test]
fn settings_reach_the_services_that_they_are_for() {
    let settings = ProjectSettings {
        jwt_exp_seconds: 60,
        site_url: "https://app.example.com".to_owned(),
        redirect_urls: vec!["https://a.example.com/**".to_owned(), "https://b.example.com".to_owned()],
        signup_disabled: true,
        db_schemas: vec!["shop".to_owned(), "public".to_owned()],
        db_max_rows: 7,
        upload_limit_bytes: 9,
        ..ProjectSettings::default()
    };
    let secrets = secrets();
    let spec = render(&official(), &input(&secrets, &settings)).unwrap();
    for (name, variable, value) in [
        ("postgres", "JWT_EXP", "60"),
        ("auth", "GOTRUE_JWT_EXP", "60"),
        ("auth", "GOTRUE_SITE_URL", "https://app.example.com"),
        ("auth", "GOTRUE_URI_ALLOW_LIST", "https://a.example.com/**,https://b.example.com"),
        ("auth", "GOTRUE_DISABLE_SIGNUP", "true"),
        ("api", "PGRST_DB_SCHEMAS", "shop,public"),
        ("api", "PGRST_DB_MAX_ROWS", "7"),
        ("api", "PGRST_APP_SETTINGS_JWT_EXP", "60"),
        ("storage", "FILE_SIZE_LIMIT", "9"),
    ] {
        assert_eq!(env(service(&spec, name), variable).value, value, "{name} {variable}");
    }
}

#[test]
fn core_keeps_every_container_strict() {
    for service in &render_core(&secrets()).services {
        let security = service.security.as_ref().unwrap();
        assert!(security.read_only_root && !security.allow_new_privileges);
        assert!(security.add_capabilities.is_empty() && !security.user.is_empty());
        let limits = service.limits.as_ref().unwrap();
        assert!(limits.cpu_millis > 0 && limits.memory_mib > 0 && limits.pids > 0);
    }
}

#[test]
fn the_two_database_passwords_go_where_they_belong() {
    let secrets = secrets();
    let spec = render_core(&secrets);
    let internal = secret(&secrets, "postgres_password");
    let postgres = service(&spec, "postgres");
    assert_eq!(env(postgres, "POSTGRES_PASSWORD").value, internal);
    assert_eq!(env(postgres, "SUPALOVE_TENANT_PASSWORD").value, secrets.tenant_db_password());
    let functions = service(&spec, "functions");
    assert!(functions.env.iter().all(|one| !one.value.contains(&internal)));
    assert!(env(functions, "SUPABASE_DB_URL").value.contains(secrets.tenant_db_password()));
}

#[test]
fn the_gateway_compares_keys_with_dots_escaped() {
    let secrets = secrets();
    let spec = render_core(&secrets);
    let conf = file(service(&spec, "gateway"), "gateway.conf");
    for (key, role) in [(secrets.anon_key(), "anon"), (secrets.service_role_key(), "service_role")] {
        assert!(conf.contains(&format!("\"~^{}$\" {role};", key.replace('.', "\\."))));
        assert!(!conf.contains(key));
    }
}

#[test]
fn a_service_the_release_lacks_answers_for_itself() {
    let spec = render_core(&secrets());
    let conf = file(service(&spec, "gateway"), "gateway.conf");
    for absent in ["api", "auth", "realtime", "storage"] {
        assert!(conf.contains(&format!(r#"{{"code":"service_not_enabled","service":"{absent}","#)));
        assert!(!conf.contains(&format!("set $upstream {absent}:")));
    }
    assert!(conf.contains("set $upstream functions:9000;"));
}

#[test]
fn placement_values_stay_tokens_in_marked_places_only() {
    let spec = render_core(&secrets());
    let functions = service(&spec, "functions");
    assert_eq!(env(functions, "SUPABASE_PUBLIC_URL").value, "${placement.api_url}");
    for service in &spec.services {
        for one in &service.env {
            assert_eq!(one.value.contains("${placement."), one.bind_placement, "{}", one.name);
        }
        for file in service.config_mounts.iter().flat_map(|mount| &mount.files) {
            let text = String::from_utf8_lossy(&file.content);
            assert_eq!(text.contains("${placement."), file.bind_placement, "{}", file.path);
        }
    }
}

#[test]
fn function_secrets_become_one_json_object() {
    let secrets = secrets();
    let mut settings = ProjectSettings::default();
    let value = "a\"b'c\\d\n{{ x }} <é>".to_owned();
    settings.function_secrets.insert("KEY".to_owned(), value.clone());
    let spec = render(&core(), &input(&secrets, &settings)).unwrap();
    let json = file(service(&spec, "functions"), "secrets.json");
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed, serde_json::json!({ "KEY": value }));
    assert!(!format!("{settings:?}").contains("é"));
}

#[test]
fn rendering_is_deterministic() {
    let secrets = secrets();
    let again = ProjectSecrets::from_pairs(secrets.iter().map(|(n, v)| (n, v.to_owned()))).unwrap();
    assert_eq!(render_core(&secrets).encode_to_vec(), render_core(&again).encode_to_vec());
}

#[test]
fn resources_are_the_sum_of_what_services_reserve() {
    let core = core();
    let reserves = core.manifest.services.iter().map(|one| one.reserve.memory_mib);
    let resources = core.resources(&Size::default());
    assert_eq!(resources.memory_mib, reserves.sum::<u32>());
    assert!(resources.cpu_millis > 0 && resources.disk_mib > 0);
}

#[test]
fn an_operators_release_joins_the_embedded_ones() {
    let root = TempDir::new().unwrap();
    write_release(root.path(), "tiny", TINY, "key {{ secrets.anon_key }}");
    let releases = Releases::embedded().unwrap().with_dir(root.path()).unwrap();
    assert!(releases.names().any(|name| name == "core"));
    let secrets = secrets();
    let tiny = releases.get("tiny").unwrap();
    let spec = render(tiny, &input(&secrets, &ProjectSettings::default())).unwrap();
    assert_eq!(file(&spec.services[0], "web.conf"), format!("key {}", secrets.anon_key()));
    let mount = &spec.services[0].config_mounts[0].files[0];
    assert_eq!((mount.uid, mount.gid, mount.mode), (7, 8, 0o400));
}

#[test]
fn a_release_of_the_same_name_is_refused() {
    let root = TempDir::new().unwrap();
    write_release(root.path(), "core", &TINY.replace("name: tiny", "name: core"), "");
    let error = Releases::embedded().unwrap().with_dir(root.path()).unwrap_err();
    assert!(matches!(error, ReleaseError::Duplicate(name) if name == "core"));
}

#[test]
fn an_undefined_variable_is_an_error_that_shows_no_value() {
    let releases = load(TINY, "{{ secrets.anon_key }} {{ secrets.nonsense }}").unwrap();
    let secrets = secrets();
    let tiny = releases.get("tiny").unwrap();
    let error = render(tiny, &input(&secrets, &ProjectSettings::default())).unwrap_err();
    assert!(error.to_string().contains("web: file web.conf"), "{error}");
    assert!(!format!("{error:?}").contains(secrets.anon_key()));
}

#[test]
fn exceptions_need_reasons() {
    let exception = |reason: &str| {
        format!(r#"security: {{ user: "1:1", exceptions: [{{ allow: setuid, reason: "{reason}" }}] }}"#)
    };
    let strict = r#"security: { user: "1:1" }"#;
    assert!(refusal(strict, &exception("  ")).contains("tiny/stack.yaml: services.web.security.exceptions"));
    let unnamed = r#"security: { user: "1:1", exceptions: [{ allow: setuid }] }"#;
    assert!(refusal(strict, unnamed).contains("missing field `reason`"));
    assert!(refusal(strict, "security: {}").contains("image_user"));
    assert!(refusal(strict, r#"security: { user: "0:0" }"#).contains("above 0"));

    let reasoned = TINY.replace(strict, &exception("its start script drops root with sudo"));
    let releases = load(&reasoned, "").unwrap();
    let secrets = secrets();
    let tiny = releases.get("tiny").unwrap();
    let spec = render(tiny, &input(&secrets, &ProjectSettings::default())).unwrap();
    let security = spec.services[0].security.as_ref().unwrap();
    assert_eq!(security.add_capabilities, [i32::from(node::Capability::Setuid)]);
}

#[test]
fn problems_name_file_and_field() {
    for (from, to, expected) in [
        ("name: tiny", "name: other", "tiny/stack.yaml: name:"),
        ("    launch: image_default", "    launch: sh -c reboot", "services[0].launch"),
        ("    image: example/web:1", "    image: example/web:1\n    privileged: true", "privileged"),
        ("    image: example/web:1", "    image: example/web:1@sha256:00", "is no image reference"),
        ("    image: example/web:1", "    image: --privileged", "is no image reference"),
        (
            "    image: example/web:1",
            "    image: supalove/web:1@sha256:4444444444444444444444444444444444444444444444444444444444444444",
            "local image by digest",
        ),
        ("{ volume: data, path: /data }", "{ volume: dta, path: /data }", "services.web.volumes.volume"),
        ("path: /data }", "path: /data/../etc }", "services.web.volumes.path"),
        ("{ path: web.conf,", "{ path: ../web.conf,", "services.web.config"),
        ("template: web.conf", "template: absent.conf", "templates/absent.conf does not exist"),
        (r#"mode: "0400""#, r#"mode: "0990""#, "web.conf.mode"),
        ("secrets.anon_key }}", "secrets.anon_key", "services.web.env.KEY"),
        ("{{ secrets.anon_key }}", "${placement.api_url}", "bind_placement"),
        ("http: { port: 80, path: / }", "", "exactly one of http, postgres and tcp"),
        ("memory_mib: 32", "memory_mib: 65", "services.web.reserve.memory_mib"),
        ("pids: 10", "pids: 0", "services.web.limits.pids"),
        ("description:", "upgrades_from: [tiny]\ndescription:", "upgrades_from: names the release itself"),
        (
            "    stop:",
            "    start_sql: [/etc/web/web.conf]\n    stop:",
            "only for a service with launch: postgres",
        ),
        (
            "    launch: image_default",
            "    launch: postgres\n    start_sql: [/data/tenant.sql]",
            "'/data/tenant.sql' is not the path of a file under config",
        ),
        (
            "mode: \"0400\" }",
            "mode: \"0400\", reload: true }",
            "reload_sql: and files with reload: true need each other",
        ),
        (
            "    launch: image_default",
            "    launch: postgres\n    reload_sql: [/etc/web/web.conf]",
            "reload_sql: and files with reload: true need each other",
        ),
        (
            "      - path: /etc/web\n        files:\n          - { path: web.conf,",
            "      - path: /etc/web\n        single_file: true\n        files:\n          - { reload: true, path: web.conf,",
            "is a single file, which cannot change in a running container",
        ),
        ("    stop:", "    depends_on: [db]\n    stop:", "there is no service 'db'"),
        ("    stop:", "    depends_on: [web]\n    stop:", "wait for each other: web"),
    ] {
        let message = refusal(from, to);
        assert!(message.contains("tiny/stack.yaml"), "{message}");
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn start_sql_reaches_the_specification() {
    let with_sql =
        TINY.replace("    launch: image_default", "    launch: postgres\n    start_sql: [/etc/web/web.conf]");
    let releases = load(&with_sql, "SELECT 1").unwrap();
    let secrets = secrets();
    let spec = render(releases.get("tiny").unwrap(), &input(&secrets, &ProjectSettings::default())).unwrap();
    assert_eq!(spec.services[0].start_sql, ["/etc/web/web.conf"]);
}

/// All texts of a specification.
fn texts(spec: &node::StackSpec) -> String {
    let files =
        spec.services.iter().flat_map(|service| &service.config_mounts).flat_map(|mount| &mount.files);
    let files = files.map(|file| String::from_utf8_lossy(&file.content).into_owned());
    let variables = spec.services.iter().flat_map(|service| &service.env).map(|one| one.value.clone());
    files.chain(variables).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_database_of_the_second_releases_has_the_projects_certificate_and_nothing_has_the_cas_key() {
    let releases = Releases::embedded().unwrap();
    let secrets = secrets();
    let settings = ProjectSettings::default();
    let of = |name: &str| render(releases.get(name).unwrap(), &input(&secrets, &settings)).unwrap();
    let key = secret(&secrets, "db_certificate_key");
    let key_line = key.lines().nth(1).unwrap();
    for (name, place) in [("core-2", "server.pem"), ("supabase-2025.12-2", "tls.sql")] {
        assert!(releases.get(name).unwrap().has_database_tls());
        let spec = of(name);
        let postgres = service(&spec, "postgres");
        let files: Vec<_> = postgres.config_mounts.iter().flat_map(|mount| &mount.files).collect();
        let certificate = files.iter().find(|file| file.reload).unwrap();
        assert_eq!((certificate.path.as_str(), certificate.mode), (place, 0o400));
        let text = String::from_utf8(certificate.content.clone()).unwrap();
        assert!(
            text.contains(key_line) && text.contains(secret(&secrets, "db_certificate").trim_end()),
            "{name}"
        );
        assert!(!postgres.reload_sql.is_empty());
        let others = files.iter().filter(|file| !file.reload);
        assert!(
            others.clone().count() > 0
                && others.clone().all(|file| !file
                    .content
                    .windows(key_line.len())
                    .any(|part| part == key_line.as_bytes()))
        );
        let ca_key = secret(&secrets, "db_ca_key");
        assert!(!texts(&spec).contains(ca_key.lines().nth(1).unwrap()), "{name}");
    }
    for name in ["core", "supabase-2025.12"] {
        assert!(!releases.get(name).unwrap().has_database_tls());
        assert!(!texts(&of(name)).contains(key_line), "{name}");
    }
}

#[test]
fn no_template_gets_the_key_of_the_databases_ca() {
    let releases = load(TINY, "{{ secrets.db_ca_key }}").unwrap();
    let secrets = secrets();
    render(releases.get("tiny").unwrap(), &input(&secrets, &ProjectSettings::default())).unwrap_err();
}

#[test]
fn known_holes_belong_to_releases_that_exist_and_every_one_has_an_upgrade() {
    let releases = Releases::embedded().unwrap();
    for release in releases.with_known_holes() {
        for hole in releases.known_holes(release) {
            let fixed = releases.get(&hole.fixed_in).unwrap();
            assert!(fixed.accepts(release), "{} of {release} has no upgrade that closes it", hole.id);
        }
    }
    let root = TempDir::new().unwrap();
    write_release(root.path(), "tiny", TINY, "");
    let hole = |fixed_in: &str| format!("tiny: [{{ id: a, text: b, fixed_in: {fixed_in} }}]");
    fs::write(root.path().join("known-holes.yaml"), hole("absent")).unwrap();
    let refused = Releases::embedded().unwrap().with_dir(root.path()).unwrap_err();
    assert!(refused.to_string().ends_with("there is no stack release named 'absent'"), "{refused}");
    fs::write(root.path().join("known-holes.yaml"), hole("core")).unwrap();
    let releases = Releases::embedded().unwrap().with_dir(root.path()).unwrap();
    assert_eq!(releases.known_holes("tiny")[0].id, "a");
    assert_eq!(releases.known_holes("core-2"), []);
}

#[test]
fn the_newest_successor_is_the_one_that_accepts_the_others() {
    let root = TempDir::new().unwrap();
    let tiny = |name: &str, accepts: &str| {
        TINY.replace("name: tiny", &format!("name: {name}\nupgrades_from: [{accepts}]"))
    };
    for (name, accepts) in [("one", ""), ("three", "one, two"), ("two", "one")] {
        write_release(root.path(), name, &tiny(name, accepts), "");
    }
    let releases = Releases::default().with_dir(root.path()).unwrap();
    assert_eq!(releases.newest_successor("one").unwrap().name(), "three");
    assert_eq!(releases.newest_successor("two").unwrap().name(), "three");
    assert!(releases.newest_successor("three").is_none());
}

/// Pieces of a start SQL by the comment above them.
fn pieces(text: &str) -> std::collections::BTreeMap<String, String> {
    let mut pieces: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("-- "), pieces.last_mut()) {
            (Some(more), Some((heading, body))) if body.is_empty() => heading.extend([" ", more]),
            (Some(heading), _) => pieces.push((heading.to_owned(), String::new())),
            (None, Some((_, body))) => body.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    pieces.into_iter().map(|(heading, body)| (heading, body.trim().to_owned())).collect()
}

#[test]
fn both_start_sqls_share_their_pieces_but_those_that_depend_on_the_image() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/stacks/shared/2/postgres");
    let read = |name| pieces(&fs::read_to_string(folder.join(name)).unwrap());
    let (local, official) = (read("start.sql"), read("official-start.sql"));
    let both = || local.iter().filter_map(|(heading, body)| Some((heading, body, official.get(heading)?)));
    let other: Vec<_> =
        both().filter(|(_, local, official)| local != official).map(|(heading, ..)| &heading[..9]).collect();
    assert_eq!(other, ["A lock fo", "Jobs: eac", "Membershi", "Membershi", "The lists", "pg_cron w"]);
    assert!(both().count() >= 15);
}

#[test]
fn function_secrets_arrive_byte_for_byte_and_hold_no_placement_token() {
    let printable: String = (' '..='~').collect();
    let values = BTreeMap::from([
        ("PRINTABLE".to_owned(), printable),
        ("LINES".to_owned(), "one\ntwo\r\n\ttabbed\u{1}\u{7f}".to_owned()),
        ("TOKEN".to_owned(), "${placement.api_url} {{ secrets.jwt_secret }}".to_owned()),
        ("UNICODE".to_owned(), "grün \u{1f980}".to_owned()),
        ("LONG".to_owned(), "'\"$".repeat(64 * 1024)),
    ]);
    let settings = ProjectSettings { function_secrets: values.clone(), ..ProjectSettings::default() };
    let secrets = secrets();
    let releases = Releases::embedded().unwrap();
    for name in releases.names() {
        let spec = render(releases.get(name).unwrap(), &input(&secrets, &settings)).unwrap();
        let json = file(service(&spec, "functions"), "secrets.json");
        assert!(!json.contains('$'), "{name}");
        assert_eq!(serde_json::from_str::<BTreeMap<String, String>>(&json).unwrap(), values, "{name}");
    }
}

#[test]
fn a_service_that_is_switched_off_is_not_rendered_and_the_gateway_says_so() {
    let release = official();
    let optional: Vec<&str> = release.optional_services().collect();
    assert_eq!(optional, ["auth", "api", "realtime", "storage", "functions"]);
    let disabled_services = ["realtime", "storage"].map(str::to_owned).into();
    let settings = ProjectSettings { disabled_services, ..ProjectSettings::default() };
    let spec = render(&release, &input(&secrets(), &settings)).unwrap();
    let services: Vec<&str> = spec.services.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(services, ["postgres", "auth", "api", "functions", "gateway"]);
    let conf = file(service(&spec, "gateway"), "gateway.conf");
    assert!(conf.contains(r#"{"code":"service_not_enabled","service":"storage","#));
    assert!(conf.contains("set $upstream auth:9999;") && !conf.contains("set $upstream storage:"));
    assert!(spec.volumes.iter().any(|volume| volume.name == "storage"), "its data stays");
}

#[test]
fn mail_server_and_oauth_providers_reach_auth_exactly_and_are_absent_without_settings() {
    let releases = Releases::embedded().unwrap();
    let release = releases.get("supabase-2025.12-3").unwrap();
    let secrets = secrets();
    let prefixes = ["GOTRUE_SMTP_", "GOTRUE_EXTERNAL_"];
    let found = |settings: &ProjectSettings| -> BTreeMap<String, String> {
        let spec = render(release, &input(&secrets, settings)).unwrap();
        let env = service(&spec, "auth").env.clone().into_iter();
        let env = env.filter(|one| prefixes.iter().any(|prefix| one.name.starts_with(prefix)));
        env.map(|one| (one.name, one.value)).collect()
    };
    let before = found(&ProjectSettings::default());
    assert_eq!(before.len(), 3, "e-mail, phone and anonymous users: {:?}", before.keys());

    let password: String = (' '..='~').chain(['\n', '"', '$']).collect();
    let settings = ProjectSettings {
        smtp: Some(Smtp {
            host: "mail.example.com".to_owned(),
            port: 465,
            user: "sender".to_owned(),
            password: password.clone(),
            sender_email: "shop@example.com".to_owned(),
            sender_name: "The Shop".to_owned(),
        }),
        oauth_providers: BTreeMap::from([(
            "github".to_owned(),
            OAuthProvider {
                client_id: "id-1".to_owned(),
                client_secret: password.clone(),
                url: String::new(),
            },
        )]),
        ..ProjectSettings::default()
    };
    let mut after = found(&settings);
    after.retain(|name, _| !before.contains_key(name));
    let expected = [
        ("GOTRUE_SMTP_HOST", "mail.example.com"),
        ("GOTRUE_SMTP_PORT", "465"),
        ("GOTRUE_SMTP_USER", "sender"),
        ("GOTRUE_SMTP_PASS", &password),
        ("GOTRUE_SMTP_ADMIN_EMAIL", "shop@example.com"),
        ("GOTRUE_SMTP_SENDER_NAME", "The Shop"),
        ("GOTRUE_EXTERNAL_GITHUB_ENABLED", "true"),
        ("GOTRUE_EXTERNAL_GITHUB_CLIENT_ID", "id-1"),
        ("GOTRUE_EXTERNAL_GITHUB_SECRET", &password),
        ("GOTRUE_EXTERNAL_GITHUB_REDIRECT_URI", "${placement.api_url}/auth/v1/callback"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(after, BTreeMap::from(expected));
}

#[test]
fn the_newest_official_release_knows_every_provider() {
    let releases = Releases::embedded().unwrap();
    let release = releases.get("supabase-2025.12-3").unwrap();
    for name in OAUTH_PROVIDERS {
        let provider = OAuthProvider { client_id: "id".to_owned(), ..OAuthProvider::default() };
        let oauth_providers = BTreeMap::from([(name.to_owned(), provider)]);
        let settings = ProjectSettings { oauth_providers, ..ProjectSettings::default() };
        let spec = render(release, &input(&secrets(), &settings)).unwrap();
        let variable = format!("GOTRUE_EXTERNAL_{}_CLIENT_ID", name.to_ascii_uppercase());
        assert_eq!(env(service(&spec, "auth"), &variable).value, "id");
    }
}

/// Limits of a service.
fn limits_of(spec: &node::StackSpec, name: &str) -> (u32, u32) {
    let limits = service(spec, name).limits.unwrap();
    (limits.cpu_millis, limits.memory_mib)
}

fn with_size(release: &Release, secrets: &ProjectSecrets, size: Size) -> node::StackSpec {
    render(release, &input(secrets, &ProjectSettings { size, ..ProjectSettings::default() })).unwrap()
}

#[test]
fn a_size_concerns_the_database_alone_and_the_smallest_changes_nothing() {
    let releases = Releases::embedded().unwrap();
    let secrets = secrets();
    let small = Size { cpu_millis: 600, memory_mib: 1024, disk_mib: 4096, connections: 90 };
    for name in releases.names() {
        let release = releases.get(name).unwrap();
        let own = render(release, &input(&secrets, &ProjectSettings::default())).unwrap();
        assert!(own.services.iter().all(|one| one.postgres.is_none()), "{name}");
        let resized = with_size(release, &secrets, small);
        let (cpu, memory) = limits_of(&own, "postgres");
        assert_eq!(limits_of(&resized, "postgres"), (4 * cpu, 4 * memory), "{name}");
        let settings = service(&resized, "postgres").postgres.unwrap();
        assert_eq!((settings.max_connections, settings.tenant_connections), (130, 90));
        assert_eq!(settings.shared_buffers_mib, 512);
        for (one, other) in own.services.iter().zip(&resized.services) {
            assert_eq!(one == other, one.name != "postgres", "{name}: {}", one.name);
        }
        let before = release.resources(&Size::default());
        let after = release.resources(&small);
        assert_eq!(after.cpu_millis, before.cpu_millis + 450);
        assert_eq!(after.memory_mib, before.memory_mib + 768);
        assert_eq!(after.disk_mib, before.disk_mib + 3072);
        // The first releases bound no volume.
        let grown = if own.volumes[0].size_mib > 0 { 3072 } else { 0 };
        for (one, other) in own.volumes.iter().zip(&resized.volumes) {
            let more = if one.name == "db_data" { grown } else { 0 };
            assert_eq!(other.size_mib, one.size_mib + more, "{name}: {}", one.name);
        }
    }
}

#[test]
fn a_release_that_needs_more_than_a_size_gives_gets_what_it_needs() {
    let secrets = secrets();
    let tiny = TINY.replace("stop: { signal", "sized: true\n    stop: { signal");
    let releases = load(&tiny, "").unwrap();
    let tiny = releases.get("tiny").unwrap();
    let size = Size { cpu_millis: 10, memory_mib: 64, disk_mib: 1, connections: 1000 };
    let spec = with_size(tiny, &secrets, size);
    assert_eq!(limits_of(&spec, "web"), (100, 128), "twice the memory, and the cpu that it asks for");
    assert_eq!(spec.services[0].postgres, None, "it is no database");
    assert_eq!(tiny.resources(&size), Resources { cpu_millis: 50, memory_mib: 64, disk_mib: 16 });
    let most = Size { cpu_millis: u32::MAX, memory_mib: u32::MAX, ..size };
    assert_eq!(limits_of(&with_size(tiny, &secrets, most), "web"), (1_024_000, 16_777_216));

    let two = TINY.replace("launch: image_default", "launch: postgres").replace("name: web", "name: one");
    let second = two
        .split("services:")
        .nth(1)
        .unwrap()
        .replace("name: one", "name: two")
        .replace("ports:\n      - { container: 80, name: api, exposure: published }", "ports: []");
    let refused = load(&format!("{two}{second}"), "").unwrap_err().to_string();
    assert!(refused.contains("services.*.sized: is true of several services"), "{refused}");
}
