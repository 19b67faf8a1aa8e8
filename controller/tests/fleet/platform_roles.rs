//! The platform's roles in a project's database. A tenant cannot spoil them; what a superuser has spoilt, the next start sets
//! right; and the status tells a role that cannot log in from a server that is down.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use supalove_proto::v1::{OperationState, ProjectState, RestartProjectRequest, ServiceState};
use supalove_system_tests::{Api, CORE, Fleet, Options, SLACK, Tenant, docker, wait_for};

use crate::database::internal_password;

/// Until a probe that fails, or that works again, is seen.
const SEEN: Duration = Duration::from_secs(40);

/// The roles, what they may, and whose members they are; without passwords, which nobody can read.
const ROLES: &str = "SELECT concat_ws(' ', r.rolname, r.rolcanlogin, r.rolinherit, r.rolcreaterole, r.rolreplication, \
                     r.rolbypassrls, r.rolconnlimit, r.rolconfig, r.rolvaliduntil, (SELECT array_agg(g.rolname \
                     ORDER BY g.rolname) FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid \
                     WHERE m.member = r.oid)) FROM pg_roles AS r WHERE r.rolname !~ '^pg_' ORDER BY r.rolname";

/// What a tenant might try, for its own ends or by mistake.
const TRIED: [&str; 8] = [
    "ALTER ROLE authenticator PASSWORD 'spoilt'",
    "ALTER ROLE authenticator NOLOGIN",
    "ALTER ROLE supalove_probe CONNECTION LIMIT 0",
    "DROP ROLE supalove_probe",
    "DROP OWNED BY authenticator; DROP ROLE authenticator",
    "REVOKE anon, authenticated, service_role FROM authenticator",
    "ALTER ROLE supabase_auth_admin RENAME TO mine",
    "REVOKE CONNECT ON DATABASE postgres FROM supalove_probe, authenticator",
];

/// What somebody does who has found a way to be a superuser. Settings of authenticator are the tenant's own: PostgREST reads
/// some of them.
const SPOILT: &str = "ALTER ROLE authenticator NOLOGIN INHERIT PASSWORD 'spoilt' VALID UNTIL '2000-01-01';
    REVOKE anon, authenticated, service_role FROM authenticator;
    ALTER ROLE supabase_auth_admin NOCREATEROLE CONNECTION LIMIT 0;
    ALTER ROLE anon LOGIN PASSWORD 'known'; GRANT pg_write_all_data TO anon;
    REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
    ALTER ROLE supalove_probe PASSWORD 'spoilt'";

fn container(tenant: &Tenant) -> String {
    format!("supalove_{}_postgres", tenant.project_ref)
}

/// Runs SQL as the superuser, over the server's socket.
fn as_superuser(tenant: &Tenant, sql: &str) {
    let psql = ["psql", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--host", "/var/run/postgresql"];
    let mut command = Command::new("docker");
    command.args(["exec", "--interactive", &container(tenant)]).args(psql);
    command.args(["--username", "supabase_admin", "--dbname", "postgres", "--file", "-"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn as_tenant(tenant: &Tenant) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&tenant.db_url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn roles(tenant: &Tenant) -> Vec<String> {
    let rows = as_tenant(tenant).await.query(ROLES, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// What is wrong with the database, once it is.
async fn complaint(api: &Api, tenant: &Tenant) -> String {
    wait_for("the database to be unhealthy", SEEN * SLACK, async || {
        let services = api.project(&tenant.project_ref).await.services;
        let database = services.into_iter().find(|service| service.name == "postgres").unwrap();
        (database.state() == ServiceState::Unhealthy && !database.message.is_empty())
            .then_some(database.message)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn spoilt_roles_are_named_and_set_right_at_the_next_start() {
    let fleet = Fleet::start(Options::default()).await;
    let api = &fleet.api;
    let tenant = fleet.project("roles", CORE).await;
    let before = roles(&tenant).await;
    assert!(before.len() > 8, "{before:#?}");
    let internal = internal_password(&tenant);
    let client = as_tenant(&tenant).await;
    for statement in TRIED {
        // A statement that takes nothing away may be answered with a warning.
        let answered = client.batch_execute(statement).await;
        assert_eq!(roles(&tenant).await, before, "{statement}: {answered:?}");
        authenticator_gets_in(&tenant, &internal, statement).await;
    }
    drop(client);

    docker(None, &["pause", &container(&tenant)]);
    let down = complaint(api, &tenant).await;
    docker(None, &["unpause", &container(&tenant)]);
    assert!(!down.contains("the database server is up"), "{down}");
    api.wait_state(&tenant.project_ref, ProjectState::ActiveHealthy, SEEN * SLACK).await;

    as_superuser(&tenant, SPOILT);
    let spoilt = complaint(api, &tenant).await;
    assert!(
        spoilt.starts_with("the database server is up, but the role supalove_probe cannot log in"),
        "{spoilt}"
    );
    let request = RestartProjectRequest { project_ref: tenant.project_ref.clone(), ..Default::default() };
    let restarted = api.projects().restart_project(request).await.unwrap().into_inner();
    let operation = api.wait(&restarted.operation.unwrap().id).await;
    assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
    assert_eq!(api.project(&tenant.project_ref).await.state(), ProjectState::ActiveHealthy);
    assert_eq!(roles(&tenant).await, before, "all of them are as before");
    authenticator_gets_in(&tenant, &internal, "the next start").await;
}

/// What the roles' rows do not show: its password is the platform's, and it may connect.
async fn authenticator_gets_in(tenant: &Tenant, password: &str, after: &str) {
    let mut config: tokio_postgres::Config = tenant.db_url.parse().unwrap();
    config.user("authenticator").password(password);
    let connected = config.connect(tokio_postgres::NoTls).await;
    let (client, connection) = connected.unwrap_or_else(|error| panic!("{after}: {error}"));
    tokio::spawn(connection);
    client.batch_execute("SELECT 1").await.unwrap();
}
