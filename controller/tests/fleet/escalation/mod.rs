//! A tenant that attacks reaches no superuser, no other role's data and not the host: everything that could be tried is
//! tried, on a database of the current release, on an old one that was exploited, and on one with a hole planted.

mod enumerate;
mod known;
mod limits;
mod server;
mod starts;

use std::{collections::BTreeSet, process::Command, time::Duration};

use supalove_system_tests::{CORE, SLACK, verified_certificate, wait_for};
use tokio_postgres::error::SqlState;

use enumerate::{Report, enumerate, roles_of};
use server::{Server, spec_of};

/// The two statements by which the tenant of the release "core" becomes a superuser. The job is due once a year, so that
/// the test decides when it has run: see `LEFT_BEHIND`.
const EXPLOIT: &str = "GRANT pg_write_all_data TO postgres;
    INSERT INTO cron.job (schedule, command, nodename, nodeport, database, username, active)
    VALUES ('0 0 1 1 *', 'ALTER ROLE postgres SUPERUSER', '127.0.0.1', 5432, 'postgres', 'supabase_admin', true)";

/// All that can be tried: in SQL and by logging in.
async fn try_everything(server: &Server, what: &str) -> Report {
    let client = server.tenant().await;
    let roles = [roles_of(&client).await, vec!["postgres".to_owned()]].concat();
    let mut report = enumerate(&client).await;
    let (tried, trusted) = server.trusted(&roles);
    *report.tried.entry("login").or_default() += tried;
    report.reached.extend(trusted.into_iter().map(|login| format!("login: {login}")));
    for role in roles.iter().filter(|role| *role == "supabase_admin") {
        let refused = server.log_in(role, &server.internal_password()).await;
        report.edge("login", &format!("{role} over the network"), refused.is_ok());
    }
    println!("{what}: {} edges tried {:?}, {} reached", report.total(), report.tried, report.reached.len());
    report
}

fn assert_nothing(report: &Report) {
    assert!(report.total() > 3000, "{:?}", report.tried);
    assert!(report.reached.is_empty(), "{:#?}", report.reached);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_tenant_can_try_reaches_beyond_its_own_and_a_planted_hole_is_found() {
    let mut server = Server::start(CORE).await;
    assert_nothing(&try_everything(&server, CORE).await);
    assert_eq!(known::try_each(&server).await, Vec::<&str>::new());
    starts::no_password_can_be_read(&server).await;
    starts::nobody_copies_the_whole_server(&server).await;
    starts::nothing_of_the_tenant_comes_before_or_into_a_start(&mut server).await;
    the_platform_gets_in_while_the_tenant_holds_all_its_connections(&server).await;
    limits::what_a_tenant_writes_beside_its_data_is_bounded(&server).await;
    each_planted_hole_is_found(&server).await;
    the_official_releases_sql_gives_a_server_its_certificate(&server).await;
    starts::a_database_with_foreign_code_in_the_catalog_does_not_start(&mut server).await;
}

/// Here on the local image: nobody has run it on the official one.
async fn the_official_releases_sql_gives_a_server_its_certificate(server: &Server) {
    let ca = server.secret("db_ca_certificate");
    verified_certificate(server.port(), &ca, "localhost").unwrap_err();
    let spec = spec_of("supabase-2025.12-3", server.secrets());
    let files =
        spec.services.iter().flat_map(|service| &service.config_mounts).flat_map(|mount| &mount.files);
    let sql = files.clone().find(|file| file.path == "tls.sql").unwrap();
    let sql = String::from_utf8(sql.content.clone()).unwrap();
    for _ in 0..2 {
        server.as_superuser(&sql).unwrap();
        wait_for("the server's certificate", Duration::from_secs(5) * SLACK, async || {
            verified_certificate(server.port(), &ca, "localhost").ok()
        })
        .await;
    }
    let key = server.secret("db_certificate_key");
    let log = Command::new("docker").args(["logs", server.container()]).output().unwrap();
    let log = String::from_utf8_lossy(&[log.stdout, log.stderr].concat()).into_owned();
    assert!(log.contains("database system is ready"), "{log}");
    assert!(!log.contains(key.lines().nth(1).unwrap()), "the key is in the log");
}

/// Holes of each kind, and how the edge begins by which it must be found. An extension that should not be there and trust
/// on loopback are in the old release, on which the other test finds them.
const PLANTS: [(&str, &str); 6] = [
    (
        "CREATE ROLE hidden SUPERUSER; CREATE ROLE between; GRANT hidden TO between",
        "become: hidden",
    ),
    (
        "CREATE FUNCTION public.planted(text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
         AS $$ BEGIN EXECUTE $1; END $$",
        "security definer: planted(text)",
    ),
    (
        "ALTER ROLE supabase_admin SET search_path = public, pg_catalog",
        "search path: role supabase_admin looks into public",
    ),
    (
        "ALTER TABLE cron.job DISABLE TRIGGER supalove_check_job; GRANT INSERT ON cron.job TO postgres;
         GRANT USAGE ON SEQUENCE cron.jobid_seq TO postgres",
        "job: supabase_admin: INSERT INTO",
    ),
    ("GRANT UPDATE ON cron.job_run_details TO postgres", "relation: UPDATE cron.job_run_details"),
    ("GRANT SET ON PARAMETER log_statement TO postgres", "parameter: SET LOCAL \"log_statement\""),
];

async fn each_planted_hole_is_found(server: &Server) {
    for (plant, _) in PLANTS {
        server.as_superuser(plant).unwrap();
    }
    let report = try_everything(server, "with holes planted").await;
    for (plant, found) in PLANTS {
        assert!(
            report.reached.iter().any(|edge| edge.starts_with(found)),
            "{plant}: not among {:#?}",
            report.reached
        );
    }
}

async fn the_platform_gets_in_while_the_tenant_holds_all_its_connections(server: &Server) {
    let mut held = Vec::new();
    let refused = loop {
        match server.log_in("postgres", &server.tenant_password()).await {
            Ok(client) => held.push(client),
            Err(error) => break error,
        }
        assert!(held.len() < 100, "nothing limits the tenant");
    };
    assert_eq!(refused.code(), Some(&SqlState::TOO_MANY_CONNECTIONS));
    // Whatever name a tenant has found a way to log in with.
    server.as_superuser("ALTER ROLE anon LOGIN PASSWORD 'known'").unwrap();
    let refused = server.log_in("anon", "known").await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::TOO_MANY_CONNECTIONS));
    server.as_superuser("ALTER ROLE anon NOLOGIN PASSWORD NULL").unwrap();
    for role in ["supalove_probe", "authenticator", "supabase_auth_admin"] {
        let client = server.log_in(role, &server.internal_password()).await.unwrap();
        client.batch_execute("SELECT 1").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_statements_exploit_core_and_its_data_under_core_2_cannot_be_exploited() {
    let server = Server::start("core").await;
    let client = server.tenant().await;
    client.batch_execute("CREATE TABLE public.kept AS SELECT 7 AS number").await.unwrap();
    client.batch_execute(EXPLOIT).await.unwrap();
    drop(client);
    let report = try_everything(&server, "core").await;
    for found in [
        "grant: pg_write_all_data",
        "job: supabase_admin",
        "login: supabase_admin@127.0.0.1",
        "extension: plpgsql_check",
        "spoil: DROP ROLE \"supabase_read_only_user\"",
        "password hashes",
    ] {
        assert!(
            report.reached.iter().any(|edge| edge.starts_with(found)),
            "{found}: not among {:#?}",
            report.reached
        );
    }
    // What the job does within a minute, and what such a tenant leaves behind.
    server.as_superuser(LEFT_BEHIND).unwrap();
    server.as_superuser(starts::PLANTED).unwrap();

    let server = server.upgrade(CORE).await;
    let client = server.tenant().await;
    let kept = client.query_one("SELECT number FROM public.kept", &[]).await.unwrap();
    assert_eq!(kept.get::<_, i32>(0), 7, "the tenant's data is untouched");
    assert!(client.batch_execute(EXPLOIT).await.is_err());
    drop(client);
    starts::nothing_planted_works(&server).await;
    assert_nothing(&try_everything(&server, "core, upgraded").await);
    let left = server.as_superuser("SELECT rolname FROM pg_roles WHERE rolsuper AND oid >= 16384").unwrap();
    assert_eq!(left, "");
    assert_eq!(server.as_superuser("SHOW archive_command").unwrap(), "(disabled)");
    server.log_in("authenticator", &server.internal_password()).await.unwrap();
}

/// Run as the superuser that the exploit makes of the tenant.
const LEFT_BEHIND: &str = r"
    CREATE ROLE hidden SUPERUSER LOGIN PASSWORD 'x'; GRANT pg_execute_server_program TO postgres; GRANT hidden TO postgres;
    CREATE FUNCTION public.root(q text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN EXECUTE q; END $$;
    CREATE FUNCTION public.again() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
      IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN ALTER ROLE postgres SUPERUSER; END IF; END $$;
    CREATE OR REPLACE FUNCTION extensions.pgrst_ddl_watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
      ALTER ROLE postgres SUPERUSER; EXCEPTION WHEN OTHERS THEN NULL; END $$;
    CREATE EVENT TRIGGER evil ON ddl_command_end EXECUTE FUNCTION public.again();
    CREATE EXTENSION dblink; CREATE EXTENSION file_fdw; CREATE EXTENSION adminpack;
    GRANT INSERT ON cron.job TO anon; CREATE SCHEMA supabase_admin AUTHORIZATION postgres;
    ALTER DATABASE postgres SET role = 'anon'; ALTER ROLE supabase_admin SET search_path = 'public';
    DROP ROLE authenticator; ALTER ROLE supabase_admin PASSWORD 'mine';
    ALTER SYSTEM SET archive_command = 'id'; ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'";

#[test]
fn the_official_release_runs_the_same_rules_and_trusts_no_loopback() {
    // By the rendered text: no engine here has the official image.
    let secrets = supalove_stack::ProjectSecrets::generate("abcdefghijklmnopqrst").unwrap();
    let spec = spec_of("supabase-2025.12-3", &secrets);
    let postgres = spec.services.iter().find(|service| service.name == "postgres").unwrap();
    let file = |name: &str| {
        let mut files = postgres.config_mounts.iter().flat_map(|mount| &mount.files);
        let file = files.find(|file| file.path == name).unwrap_or_else(|| panic!("no file {name}"));
        String::from_utf8(file.content.clone()).unwrap()
    };
    let rules: Vec<Vec<String>> = file("pg_hba.conf")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect();
    // pg_cron of the image logs in over loopback as the role that made a job: the tenant's, and no other.
    let trusted: Vec<&Vec<String>> = rules.iter().filter(|rule| rule.last().unwrap() == "trust").collect();
    assert!(
        trusted
            .iter()
            .all(|rule| rule[2] == "postgres" && ["127.0.0.1/32", "::1/128"].contains(&rule[3].as_str())),
        "{trusted:?}"
    );
    let of_superuser =
        |rule: &&Vec<String>| ["supabase_admin", "all"].contains(&rule[2].as_str()) && rule[0] == "host";
    let first = rules.iter().filter(|rule| rule[1] == "all").find(of_superuser).unwrap();
    assert_eq!(first.last().unwrap(), "reject", "a superuser on loopback: {first:?}");
    let start = file("start.sql");
    let own: BTreeSet<&str> = start.lines().collect();
    let local = std::fs::read_to_string(
        supalove_system_tests::root().join("deploy/stacks/shared/2/postgres/start.sql"),
    )
    .unwrap();
    for rule in ["('supalove_probe', 'login", "supalove_check_job", "update pg_authid set rolsuper = true"] {
        assert!(local.contains(rule) && own.iter().any(|line| line.contains(rule)), "{rule}");
    }
}
