//! What the tenant of a project can do in its database, and what stays out of reach.

use std::collections::{BTreeMap, BTreeSet};
use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use sqlx::{
    Connection as _, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use supalove_certs::DatabaseAuthority;
use supalove_proto::v1::{ProjectEventType, ProjectState};
use supalove_system_tests::{CORE, Fleet, Options, SLACK, Tenant, docker, verified_certificate, wait_for};
use tokio_postgres::{Client, Config, NoTls, error::SqlState};

const OWNER: &str = "11111111-1111-4111-8111-111111111111";
const STRANGER: &str = "22222222-2222-4222-8222-222222222222";

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_logs_in_as_postgres_and_never_becomes_superuser() {
    let fleet = Fleet::start(Options::default()).await;
    let tenant = fleet.project("first", CORE).await;
    the_url_logs_in_as_postgres_who_is_no_superuser(&tenant).await;
    the_tenants_password_opens_no_other_role(&tenant).await;
    no_statement_makes_the_tenant_a_superuser(&tenant).await;
    the_servers_files_and_programs_are_out_of_reach(&tenant).await;
    clients_verify_the_database_with_the_projects_ca(&fleet, &tenant).await;
    the_certificate_is_renewed_while_the_database_runs(&fleet, &tenant).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_and_schemas_are_those_of_supabase_and_policies_hold() {
    let fleet = Fleet::start(Options::default()).await;
    let tenant = fleet.project("first", CORE).await;
    every_role_is_there_with_its_attributes(&tenant).await;
    every_schema_is_there(&tenant).await;
    row_level_security_holds_for_each_kind_of_request(&tenant).await;
    statements_of_requests_have_time_limits(&tenant).await;
    a_table_can_be_published_for_realtime(&tenant).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_or_key_of_one_project_opens_another() {
    let fleet = Fleet::start(Options::default()).await;
    let tenant = fleet.project("first", CORE).await;
    let other = fleet.project("second", CORE).await;
    all_secrets_differ(&tenant, &other);
    secrets_of_another_project_are_refused(&tenant, &other).await;
    let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'";
    as_tenant(&tenant).await.batch_execute("CREATE TABLE public.mine ()").await.unwrap();
    assert!(texts(&as_tenant(&other).await, tables).await.is_empty(), "the other project sees no table");
}

/// Logs in to a project's database, as the tenant unless changed.
async fn log_in(tenant: &Tenant, change: impl Fn(&mut Config)) -> Result<Client, tokio_postgres::Error> {
    let mut config: Config = tenant.db_url.parse().unwrap();
    change(&mut config);
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn as_tenant(tenant: &Tenant) -> Client {
    log_in(tenant, |_| {}).await.unwrap()
}

/// The SQLSTATE that a call failed with.
fn state<T>(result: Result<T, tokio_postgres::Error>, what: &str) -> SqlState {
    match result {
        Ok(_) => panic!("{what}: it worked"),
        Err(error) => error.code().unwrap_or_else(|| panic!("{what}: {error}")).clone(),
    }
}

/// The one column of a query's rows.
async fn texts(client: &Client, query: &str) -> Vec<String> {
    let rows = client.query(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    rows.iter().map(|row| row.get(0)).collect()
}

fn port(tenant: &Tenant) -> u16 {
    tenant.db_url.parse::<Config>().unwrap().get_ports()[0]
}

/// Logs in with this sslmode and CA; returns the version of TLS.
async fn over_tls(tenant: &Tenant, mode: PgSslMode, ca_pem: Option<&str>) -> Result<String, sqlx::Error> {
    let mut options: PgConnectOptions = tenant.db_url.parse::<PgConnectOptions>()?.ssl_mode(mode);
    if let Some(ca_pem) = ca_pem {
        options = options.ssl_root_cert_from_pem(ca_pem.as_bytes().to_vec());
    }
    let mut connection = PgConnection::connect_with(&options).await?;
    let version = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    sqlx::query_scalar(version).fetch_one(&mut connection).await
}

fn database_container(tenant: &Tenant) -> String {
    let project = format!("label=supalove.project={}", tenant.project_ref);
    let filters = ["--filter", &project, "--filter", "label=supalove.service=postgres"];
    docker(None, &[&["ps", "--quiet", "--no-trunc"], &filters[..]].concat())
}

/// libpq's own check, with the psql of the image.
fn psql_verifies(tenant: &Tenant, ca_pem: &str) -> bool {
    let login: Config = tenant.db_url.parse().unwrap();
    let password = format!("PGPASSWORD={}", String::from_utf8_lossy(login.get_password().unwrap()));
    let container = database_container(tenant);
    let script = "cat >/tmp/ca.pem && exec psql -Xqc '' \
        'host=127.0.0.1 user=postgres dbname=postgres sslmode=verify-full sslrootcert=/tmp/ca.pem'";
    let mut command = Command::new("docker");
    command.args(["exec", "--interactive", "--env", &password, &container, "sh", "-c", script]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(ca_pem.as_bytes()).unwrap();
    child.wait().unwrap().success()
}

async fn clients_verify_the_database_with_the_projects_ca(fleet: &Fleet, tenant: &Tenant) {
    let connection = fleet.api.connection(&tenant.project_ref).await;
    let ca = connection.db_ca_certificate.as_str();
    assert_eq!(over_tls(tenant, PgSslMode::Require, None).await.unwrap(), "TLSv1.3");
    assert_eq!(over_tls(tenant, PgSslMode::VerifyFull, Some(ca)).await.unwrap(), "TLSv1.3");
    let other = DatabaseAuthority::create("abcdefghijklmnopqrst", chrono::Utc::now()).unwrap();
    for wrong in [other.cert_pem(), &fleet.controller.database.rows().await.newest_root().await] {
        over_tls(tenant, PgSslMode::VerifyFull, Some(wrong)).await.unwrap_err();
        assert!(!psql_verifies(tenant, wrong));
    }
    assert!(psql_verifies(tenant, ca));
    // The address that the API gives, and what a tunnel makes of it.
    for name in [connection.db_host.as_str(), "localhost"] {
        verified_certificate(port(tenant), ca, name).unwrap();
    }
    verified_certificate(port(tenant), ca, "db.example.org").unwrap_err();
}

async fn the_certificate_is_renewed_while_the_database_runs(fleet: &Fleet, tenant: &Tenant) {
    let project_ref = tenant.project_ref.as_str();
    let ca = fleet.api.connection(project_ref).await.db_ca_certificate;
    let rows = fleet.controller.database.rows().await;
    let before = verified_certificate(port(tenant), &ca, "localhost").unwrap();
    let container = database_container(tenant);
    let started = docker(None, &["inspect", "--format", "{{.State.StartedAt}}", &container]);
    let events = fleet.api.events(project_ref).await.len();
    let open = as_tenant(tenant).await;
    let backend = texts(&open, "SELECT pg_backend_pid()::text").await;
    let limit = Duration::from_secs(20) * SLACK;

    rows.end_certificate(project_ref).await;
    wait_for("another certificate", limit, async || {
        (verified_certificate(port(tenant), &ca, "localhost").unwrap() != before).then_some(())
    })
    .await;
    rows.set_database_host(project_ref, "db.example.org").await;
    wait_for("a certificate for another host", limit, async || {
        verified_certificate(port(tenant), &ca, "db.example.org").ok()
    })
    .await;
    verified_certificate(port(tenant), &ca, "localhost").unwrap();

    assert_eq!(texts(&open, "SELECT pg_backend_pid()::text").await, backend, "an open session stays");
    assert_eq!(database_container(tenant), container);
    let still = docker(None, &["inspect", "--format", "{{.State.StartedAt}}", &container]);
    assert_eq!(still, started, "nothing was restarted");
    assert_eq!(fleet.api.connection(project_ref).await.db_ca_certificate, ca, "the CA stays");
    fleet.api.wait_state(project_ref, ProjectState::ActiveHealthy, limit).await;
    let since = fleet.api.events(project_ref).await.split_off(events);
    let kinds: BTreeSet<&str> = since.iter().map(|event| event.r#type().as_str_name()).collect();
    assert!(kinds.contains(ProjectEventType::CertificateRenewed.as_str_name()), "{kinds:?}");
    assert!(!kinds.contains(ProjectEventType::StateChanged.as_str_name()), "{since:#?}");
}

/// The password of the service roles, which no API tells: from the container's environment.
pub fn internal_password(tenant: &Tenant) -> String {
    let project = format!("label=supalove.project={}", tenant.project_ref);
    let filters = ["--filter", &project, "--filter", "label=supalove.service=postgres"];
    let id = docker(None, &[&["ps", "--quiet"], &filters[..]].concat());
    let environment = docker(None, &["inspect", "--format", "{{join .Config.Env \"\\n\"}}", &id]);
    let password = environment.lines().find_map(|line| line.strip_prefix("POSTGRES_PASSWORD="));
    password.unwrap().to_owned()
}

async fn the_url_logs_in_as_postgres_who_is_no_superuser(tenant: &Tenant) {
    let client = as_tenant(tenant).await;
    let who = texts(&client, "SELECT concat(current_user, ' ', current_database())").await;
    assert_eq!(who, ["postgres postgres"]);
    assert_eq!(texts(&client, "SELECT current_setting('is_superuser')").await, ["off"]);
    let super_roles = "SELECT rolname::text FROM pg_roles WHERE rolsuper AND rolcanlogin";
    assert_eq!(texts(&client, super_roles).await, ["supabase_admin"]);
    let owner = "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = 'postgres'";
    assert_eq!(texts(&client, owner).await, ["postgres"]);
    // What an owner does all day.
    client
        .batch_execute(
            "CREATE SCHEMA shop; CREATE TABLE shop.items (id uuid DEFAULT extensions.gen_random_uuid());
             CREATE EXTENSION citext SCHEMA extensions; CREATE ROLE helper LOGIN; DROP ROLE helper;
             DROP EXTENSION citext; DROP SCHEMA shop CASCADE",
        )
        .await
        .unwrap();
}

async fn the_tenants_password_opens_no_other_role(tenant: &Tenant) {
    let internal = internal_password(tenant);
    for role in ["supalove_probe", "authenticator", "supabase_auth_admin", "supabase_storage_admin"] {
        let refused = log_in(tenant, |config| {
            config.user(role);
        });
        assert_eq!(state(refused.await, role), SqlState::INVALID_PASSWORD, "{role}");
        // It is the password that is wrong: with the internal one the same role gets in.
        let allowed = log_in(tenant, |config| {
            config.user(role).password(&internal);
        });
        assert_eq!(texts(&allowed.await.unwrap(), "SELECT current_user::text").await, [role]);
    }
    // Superusers do not log in over the network, whatever they know.
    let superuser = log_in(tenant, |config| {
        config.user("supabase_admin").password(&internal);
    });
    assert_eq!(state(superuser.await, "supabase_admin"), SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    let swapped = log_in(tenant, |config| {
        config.password(&internal);
    });
    assert_eq!(state(swapped.await, "postgres with the internal one"), SqlState::INVALID_PASSWORD);
}

async fn no_statement_makes_the_tenant_a_superuser(tenant: &Tenant) {
    let statements = [
        "ALTER ROLE postgres SUPERUSER",
        "ALTER ROLE supabase_admin PASSWORD 'known'",
        "ALTER ROLE supabase_admin NOLOGIN",
        "CREATE ROLE evil SUPERUSER",
        "SET ROLE supabase_admin",
        "SET SESSION AUTHORIZATION supabase_admin",
        "GRANT supabase_admin TO postgres",
        "GRANT pg_execute_server_program TO postgres",
        "GRANT pg_read_server_files TO postgres",
        "GRANT pg_write_server_files TO postgres",
        "CREATE ROLE evil ROLE postgres IN ROLE pg_execute_server_program",
        "UPDATE pg_catalog.pg_authid SET rolsuper = true WHERE rolname = 'postgres'",
        "UPDATE cron.job SET username = 'supabase_admin'",
        "SELECT cron.schedule_in_database('evil', '* * * * *', 'SELECT 1', 'postgres', 'supabase_admin')",
        "SELECT cron.alter_job(cron.schedule('evil', '0 0 1 1 *', 'SELECT 1'), username => 'supabase_admin')",
        "CREATE FUNCTION pg_temp.evil() RETURNS int LANGUAGE internal AS 'pg_backend_pid'",
        "CREATE EVENT TRIGGER evil ON ddl_command_end EXECUTE FUNCTION extensions.pgrst_ddl_watch()",
        "CREATE SUBSCRIPTION evil CONNECTION 'host=127.0.0.1 user=supabase_admin' PUBLICATION x",
        "ALTER SYSTEM SET ssl_passphrase_command = 'true'",
        "SET log_statement = 'none'",
        // Extensions that are not marked as trusted.
        "CREATE EXTENSION plpgsql_check",
        "CREATE EXTENSION pgaudit",
        "CREATE EXTENSION bloom",
    ];
    let client = as_tenant(tenant).await;
    for statement in statements {
        let refused = client.batch_execute(statement).await;
        assert_eq!(state(refused, statement), SqlState::INSUFFICIENT_PRIVILEGE, "{statement}");
    }
    assert_eq!(texts(&client, "SELECT current_setting('is_superuser')").await, ["off"]);
}

async fn the_servers_files_and_programs_are_out_of_reach(tenant: &Tenant) {
    let client = as_tenant(tenant).await;
    client.batch_execute("CREATE TEMP TABLE lines (line text)").await.unwrap();
    let statements = [
        "COPY lines FROM PROGRAM 'id'",
        "COPY lines TO PROGRAM 'cat'",
        "COPY lines FROM '/etc/passwd'",
        "COPY lines TO '/tmp/lines'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('/')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT lo_export(1, '/tmp/lines')",
    ];
    for statement in statements {
        let refused = client.batch_execute(statement).await;
        assert_eq!(state(refused, statement), SqlState::INSUFFICIENT_PRIVILEGE, "{statement}");
    }
}

async fn every_role_is_there_with_its_attributes(tenant: &Tenant) {
    // The realtime service makes supabase_realtime_admin itself, in its migrations.
    let expected = BTreeMap::from([
        ("supabase_admin", "super login inherit createdb createrole replication bypassrls"),
        ("postgres", "login inherit createdb createrole replication bypassrls"),
        ("authenticator", "login"),
        ("anon", ""),
        ("authenticated", ""),
        ("service_role", "bypassrls"),
        ("supabase_auth_admin", "login createrole"),
        ("supabase_storage_admin", "login createrole"),
        ("supabase_functions_admin", "login createrole"),
        ("supabase_replication_admin", "login inherit replication"),
        ("supabase_read_only_user", "login inherit bypassrls"),
        ("dashboard_user", "inherit createdb createrole replication"),
        ("pgbouncer", "login inherit"),
        ("supalove_probe", "login"),
    ]);
    let client = as_tenant(tenant).await;
    let query = "SELECT rolname::text, concat_ws(' ',
            CASE WHEN rolsuper THEN 'super' END, CASE WHEN rolcanlogin THEN 'login' END,
            CASE WHEN rolinherit THEN 'inherit' END, CASE WHEN rolcreatedb THEN 'createdb' END,
            CASE WHEN rolcreaterole THEN 'createrole' END, CASE WHEN rolreplication THEN 'replication' END,
            CASE WHEN rolbypassrls THEN 'bypassrls' END)
        FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%'";
    let rows = client.query(query, &[]).await.unwrap();
    let found: BTreeMap<&str, &str> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(found, expected);

    let members = "SELECT r.rolname::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
        WHERE m.member = 'authenticator'::regrole ORDER BY 1";
    assert_eq!(texts(&client, members).await, ["anon", "authenticated", "service_role"]);
}

async fn every_schema_is_there(tenant: &Tenant) {
    let client = as_tenant(tenant).await;
    let query = "SELECT nspname::text FROM pg_namespace
        WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema' ORDER BY nspname COLLATE \"C\"";
    let expected = [
        "_realtime",
        "auth",
        "cron",
        "extensions",
        "graphql",
        "graphql_public",
        "pgbouncer",
        "public",
        "realtime",
        "storage",
        "supabase_functions",
        "supalove",
        "vault",
    ];
    assert_eq!(texts(&client, query).await, expected);
    let search_path = "SELECT concat(rolname, ': ', array_to_string(rolconfig, ', ')) FROM pg_roles
        WHERE rolname IN ('supabase_auth_admin', 'supabase_storage_admin') ORDER BY rolname";
    let [auth, storage] = texts(&client, search_path).await.try_into().unwrap();
    assert!(auth.contains("search_path=auth"), "{auth}");
    assert!(storage.contains("search_path=storage"), "{storage}");
}

/// A table with an open and a private note of the owner, and a private one of a stranger.
async fn make_notes(client: &Client) {
    let statements = format!(
        "CREATE TABLE public.notes (author uuid NOT NULL, open boolean NOT NULL, body text NOT NULL);
         ALTER TABLE public.notes ENABLE ROW LEVEL SECURITY;
         CREATE POLICY open_to_all ON public.notes FOR SELECT USING (open);
         CREATE POLICY own ON public.notes TO authenticated
           USING (auth.uid() = author) WITH CHECK (auth.uid() = author);
         INSERT INTO public.notes VALUES ('{OWNER}', true, 'open'), ('{OWNER}', false, 'own'),
           ('{STRANGER}', false, 'strange')"
    );
    client.batch_execute(&statements).await.unwrap();
}

/// Becomes what a request with this token would be, as PostgREST does.
async fn become_request(client: &Client, role: &str, user: Option<&str>) {
    let claims = serde_json::json!({ "role": role, "sub": user }).to_string();
    client.execute("SELECT set_config('request.jwt.claims', $1, false)", &[&claims]).await.unwrap();
    client.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
}

async fn row_level_security_holds_for_each_kind_of_request(tenant: &Tenant) {
    make_notes(&as_tenant(tenant).await).await;
    let internal = internal_password(tenant);
    let through_api = log_in(tenant, |config| {
        config.user("authenticator").password(&internal);
    });
    let through_api = through_api.await.unwrap();
    let refused = through_api.query("SELECT body FROM public.notes", &[]).await;
    assert_eq!(state(refused, "authenticator itself"), SqlState::INSUFFICIENT_PRIVILEGE);
    let requests: [(&str, Option<&str>, &[&str]); 5] = [
        ("anon", None, &["open"]),
        ("authenticated", Some(OWNER), &["open", "own"]),
        ("authenticated", Some(STRANGER), &["open", "strange"]),
        ("authenticated", None, &["open"]),
        ("service_role", None, &["open", "own", "strange"]),
    ];
    for client in [as_tenant(tenant).await, through_api] {
        for (role, user, bodies) in requests {
            become_request(&client, role, user).await;
            let seen = texts(&client, "SELECT body FROM public.notes ORDER BY body").await;
            assert_eq!(seen, bodies, "{role} {user:?}");
        }
        let insert = |author: &str| format!("INSERT INTO public.notes VALUES ('{author}', false, 'new')");
        become_request(&client, "anon", None).await;
        let refused = client.batch_execute(&insert(OWNER)).await;
        assert_eq!(state(refused, "anon writes"), SqlState::INSUFFICIENT_PRIVILEGE);
        become_request(&client, "authenticated", Some(OWNER)).await;
        let refused = client.batch_execute(&insert(STRANGER)).await;
        assert_eq!(state(refused, "in another's name"), SqlState::INSUFFICIENT_PRIVILEGE);
        client.batch_execute(&insert(OWNER)).await.unwrap();
        let deleted =
            client.execute("DELETE FROM public.notes WHERE NOT open AND body <> 'own'", &[]).await.unwrap();
        assert_eq!(deleted, 1, "the stranger's is not in reach");
    }
}

async fn statements_of_requests_have_time_limits(tenant: &Tenant) {
    let client = as_tenant(tenant).await;
    for (role, limit) in [("anon", "3s"), ("authenticated", "8s"), ("authenticator", "8s")] {
        let settings = format!("SELECT unnest(rolconfig) FROM pg_roles WHERE rolname = '{role}'");
        let expected = format!("statement_timeout={limit}");
        let settings = texts(&client, &settings).await;
        assert!(settings.contains(&expected), "{role}: {settings:?}");
    }
    let internal = internal_password(tenant);
    let authenticator = log_in(tenant, |config| {
        config.user("authenticator").password(&internal);
    });
    let limit = texts(&authenticator.await.unwrap(), "SELECT current_setting('statement_timeout')").await;
    assert_eq!(limit, ["8s"]);
}

async fn a_table_can_be_published_for_realtime(tenant: &Tenant) {
    let client = as_tenant(tenant).await;
    client
        .batch_execute(
            "CREATE TABLE public.messages (id int PRIMARY KEY);
             ALTER PUBLICATION supabase_realtime ADD TABLE public.messages",
        )
        .await
        .unwrap();
    let published = "SELECT concat(schemaname, '.', tablename) FROM pg_publication_tables
        WHERE pubname = 'supabase_realtime'";
    assert_eq!(texts(&client, published).await, ["public.messages"]);
    assert_eq!(texts(&client, "SELECT current_setting('wal_level')").await, ["logical"]);
}

fn tenant_password(tenant: &Tenant) -> String {
    let config: Config = tenant.db_url.parse().unwrap();
    String::from_utf8(config.get_password().unwrap().to_vec()).unwrap()
}

fn all_secrets_differ(tenant: &Tenant, other: &Tenant) {
    let secrets = [tenant, other].map(|one| {
        [tenant_password(one), internal_password(one), one.anon_key.clone(), one.service_role_key.clone()]
    });
    let different: BTreeSet<_> = secrets.iter().flatten().collect();
    assert_eq!(different.len(), 8, "no secret serves twice");
}

async fn secrets_of_another_project_are_refused(tenant: &Tenant, other: &Tenant) {
    for (user, foreign) in [("postgres", tenant_password(other)), ("authenticator", internal_password(other))]
    {
        let refused = log_in(tenant, |config| {
            config.user(user).password(&foreign);
        });
        assert_eq!(state(refused.await, user), SqlState::INVALID_PASSWORD);
    }
    for key in [&other.anon_key, &other.service_role_key] {
        let token = format!("Bearer {key}");
        let headers = [("apikey", key.as_str()), ("Authorization", token.as_str())];
        for (path, refused, opened) in [("/rest/v1/notes", 401, 503), ("/functions/v1/whoami", 401, 200)] {
            assert_eq!(tenant.gateway.get(path, &headers).status, refused, "{path}");
            assert_eq!(other.gateway.get(path, &headers).status, opened, "{path} of its own project");
        }
    }
}
