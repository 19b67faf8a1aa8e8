//! In place of supabase/realtime: §7. `images/realtime/run.sh` is its start script: root, then nobody.

use std::sync::Arc;

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, StatusCode, Uri, header},
    response::Response,
    routing::get,
};
use serde_json::json;

use crate::{
    End, account,
    database::{Database, Login, is_plain},
    keys, network, serve,
    variables::{Look, Variables},
};

/// Who the start script has become.
const NOBODY: u32 = 65_534;
/// Official constant of many years (§3).
const KNOWN_KEY: &str = "supabaserealtime";

/// What it goes by.
pub struct Settings {
    login: Login,
    after_connect: String,
    secret: String,
    tenant: String,
    port: u16,
}

/// Its variables, and what is not met by them.
pub fn settings(variables: &Variables) -> (Settings, Vec<String>) {
    let mut look = Look::at(variables);
    let port = look.number(&["PORT"], Some(4000), "§7.1");
    let host = look.text(&["DB_HOST"], "§7.1");
    look.require(host == "db", "DB_HOST must be db (§7.1)");
    look.is("DB_PORT", &["5432"], "§7.1");
    look.is("DB_NAME", &["postgres"], "§7.1");
    look.is("DB_USER", &["supabase_admin"], "§7.1");
    let password = look.text(&["DB_PASSWORD"], "§7.1");
    look.require(is_plain(password.as_bytes()), "DB_PASSWORD must be letters and digits (§3)");
    let after_connect = look.text(&["DB_AFTER_CONNECT_QUERY"], "§7.1");
    let key = look.text(&["DB_ENC_KEY"], "§7.1");
    look.require(key.len() == 16 && key.is_ascii(), "DB_ENC_KEY must be exactly 16 ASCII bytes (§7.1)");
    look.require(key != KNOWN_KEY, "DB_ENC_KEY is the constant that everybody knows (§3)");
    let secret = look.jwt_secret(&["API_JWT_SECRET"], "§7.1");
    let base = look.text(&["SECRET_KEY_BASE"], "§7.1");
    look.require(base.len() == 64, "SECRET_KEY_BASE must have 64 characters (§7.1)");
    look.is("ERL_AFLAGS", &["-proto_dist inet_tcp"], "§7.1");
    look.is("DNS_NODES", &["''"], "§7.1");
    look.require(variables.get("RLIMIT_NOFILE").is_some(), "RLIMIT_NOFILE must be defined (§7.1)");
    look.is("APP_NAME", &["realtime"], "§7.1");
    look.is("SEED_SELF_HOST", &["true"], "§7.1");
    look.is("RUN_JANITOR", &["true"], "§7.1");
    look.unset("DASHBOARD_PASSWORD", "§7.1");
    let tenant = variables.get("SELF_HOST_TENANT_NAME").unwrap_or("realtime-dev").to_owned();
    let login = Login::new(&host, 5432, "postgres", "supabase_admin", &password);
    let port = port.try_into().unwrap_or_default();
    (Settings { login, after_connect, secret, tenant, port }, look.unmet())
}

/// The start script's first step as nobody: checks, migrations, the tenant's row.
pub async fn migrate(variables: &Variables) -> Result<(), End> {
    let (settings, mut unmet) = settings(variables);
    unmet.extend(account::point(NOBODY, "§7.2"));
    if !unmet.is_empty() {
        return Err(End::Unmet(unmet));
    }
    let database = settings.login.connect().await?;
    let mut unmet = rights(&database).await?;
    if unmet.is_empty() {
        unmet.extend(seed(&database, &settings).await?);
    }
    unmet.extend(network::own_name("realtime-dev.supabase-realtime").await);
    if unmet.is_empty() { Ok(()) } else { Err(End::Unmet(unmet)) }
}

/// A superuser that makes roles and replication slots; the schemas and the publication that others made for it.
async fn rights(database: &Database) -> Result<Vec<String>, End> {
    let superuser = "select rolsuper from pg_roles where rolname = current_user";
    let private = "select pg_get_userbyid(nspowner) = 'supabase_admin' from pg_namespace
        where nspname = '_realtime'";
    let public = "select to_regnamespace('realtime') is not null";
    let publication = "select true from pg_publication where pubname = 'supabase_realtime'";
    let slots = "select pg_create_logical_replication_slot('stand_in_wal2json', 'wal2json', true);
        select pg_create_logical_replication_slot('stand_in_pgoutput', 'pgoutput', true);
        select pg_drop_replication_slot('stand_in_wal2json');
        select pg_drop_replication_slot('stand_in_pgoutput');";
    let points = [
        database.require(superuser, "its role must be a superuser (§7.1)").await?,
        database.require(private, "there is no schema _realtime of supabase_admin (§4.4)").await?,
        database.require(public, "there is no schema realtime (§4.3)").await?,
        database.require(publication, "there is no publication supabase_realtime (§4.3)").await?,
        database.allowed("begin; create role stand_in; rollback", "it cannot make roles (§7.1)").await,
        database.allowed(slots, "it cannot make replication slots (§7.2)").await,
    ];
    Ok(points.into_iter().flatten().collect())
}

/// Its own tables lie where the after-connect query says; the tenant is made anew at each start.
async fn seed(database: &Database, settings: &Settings) -> Result<Option<String>, End> {
    database.client.batch_execute(&settings.after_connect).await?;
    let tables = "create table if not exists tenants (external_id text primary key, seeded timestamptz);";
    if let Some(point) = database.allowed(tables, "its migrations do not run (§7.2)").await {
        return Ok(Some(point));
    }
    let query = "insert into _realtime.tenants values ($1, now())
        on conflict (external_id) do update set seeded = now()";
    let seeded = database.client.execute(query, &[&settings.tenant]).await;
    Ok(seeded.is_err().then(|| "DB_AFTER_CONNECT_QUERY does not lead to _realtime (§7.1)".to_owned()))
}

/// Serves as nobody; ends with the database.
pub async fn run(variables: &Variables) -> Result<(), End> {
    let (settings, unmet) = settings(variables);
    if !unmet.is_empty() {
        return Err(End::Unmet(unmet));
    }
    let mut database = settings.login.connect().await?;
    let row = database
        .client
        .query_opt("select 1 from _realtime.tenants where external_id = $1", &[&settings.tenant])
        .await?;
    if row.is_none() {
        return Err(End::Unmet(vec!["the tenant was not seeded (§7.2)".to_owned()]));
    }
    tokio::select! {
        result = serve::serve_v6(settings.port, router(settings.secret, settings.tenant)) => result,
        lost = database.lost() => Err(lost),
        asked = serve::asked_to_end() => asked,
    }
}

fn router(secret: String, tenant: String) -> Router {
    let secret = Arc::new(secret);
    let tenant = Arc::new(tenant);
    let known = (secret.clone(), tenant.clone());
    let health = |Path(asked): Path<String>, headers: HeaderMap| async move {
        let (secret, tenant) = known;
        tenant_health(&secret, &tenant, &asked, &headers)
    };
    let any = |uri: Uri, headers: HeaderMap| async move { request(&secret, &tenant, &uri, &headers) };
    Router::new()
        .route("/healthcheck", get(|| async { StatusCode::OK }))
        .route("/api/tenants/{tenant}/health", get(health))
        .fallback(any)
}

/// §7.2, §12: any token that the secret signed will do.
fn tenant_health(secret: &str, tenant: &str, asked: &str, headers: &HeaderMap) -> Response {
    let signed = serve::token(headers).and_then(|token| keys::role(secret, token));
    let status = match signed {
        None => StatusCode::FORBIDDEN,
        Some(_) if asked != tenant => StatusCode::NOT_FOUND,
        Some(_) => StatusCode::OK,
    };
    serve::answer(status, "realtime", json!({ "healthy": status == StatusCode::OK }))
}

/// §7.3: the tenant is the first label of the Host, the token the header x-api-key, else the query's apikey, else the
/// bearer.
fn request(secret: &str, tenant: &str, uri: &Uri, headers: &HeaderMap) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST.as_str()).unwrap_or_default();
    if host.split(['.', ':']).next() != Some(tenant) {
        return serve::answer(
            StatusCode::FORBIDDEN,
            "realtime",
            json!({ "message": "tenant not found by Host" }),
        );
    }
    let query = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("apikey="));
    let token = text("x-api-key").or(query).or_else(|| serve::token(headers)).unwrap_or_default();
    match keys::role(secret, token) {
        Some(role) => serve::answer(StatusCode::OK, "realtime", json!({ "path": uri.path(), "role": role })),
        None => serve::answer(StatusCode::FORBIDDEN, "realtime", json!({ "message": "no token" })),
    }
}
