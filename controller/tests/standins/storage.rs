//! In place of supabase/storage-api: §8.

use std::{fs, path::Path, sync::Arc};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, Uri},
    routing::get,
};
use rustix::fs::XattrFlags;

use crate::{
    End,
    database::{Database, Login},
    keys, network, serve,
    variables::{Look, Variables},
};

const PORT: u16 = 5000;
const ROLE: &str = "supabase_storage_admin";

/// What it goes by.
pub struct Settings {
    login: Login,
    secret: String,
    path: String,
}

/// Its variables, and what is not met by them.
pub fn settings(variables: &Variables) -> (Settings, Vec<String>) {
    let mut look = Look::at(variables);
    let url = look.text(&["DATABASE_URL"], "§8.1");
    let secret = look.jwt_secret(&["AUTH_JWT_SECRET", "PGRST_JWT_SECRET"], "§8.1");
    look.number(&["UPLOAD_FILE_SIZE_LIMIT", "FILE_SIZE_LIMIT"], None, "§8.1");
    look.is("STORAGE_BACKEND", &["file"], "§8.1");
    let path = look.text(&["STORAGE_FILE_BACKEND_PATH", "FILE_STORAGE_BACKEND_PATH"], "§8.1");
    let tenant = look.text(&["PROJECT_REF", "TENANT_ID"], "§8.1");
    look.require(is_ref(&tenant), "TENANT_ID must be the project's ref (§8.1)");
    look.text(&["SERVER_REGION", "STORAGE_S3_REGION", "REGION"], "§8.1");
    look.text(&["STORAGE_S3_BUCKET", "GLOBAL_S3_BUCKET"], "§8.1");
    look.is("REQUEST_ALLOW_X_FORWARDED_PATH", &["true"], "§8.1");
    look.if_set("ENABLE_IMAGE_TRANSFORMATION", &["false"], "§8.1");
    for (name, length) in [("S3_PROTOCOL_ACCESS_KEY_ID", 32), ("S3_PROTOCOL_ACCESS_KEY_SECRET", 64)] {
        let value = look.text(&[name], "§8.1");
        let hex = value.len() == length && value.bytes().all(|byte| byte.is_ascii_hexdigit());
        look.require(hex, format!("{name} must be {length} hex digits (§3)"));
    }
    look.if_set("DB_INSTALL_ROLES", &["false"], "§8.1");
    look.if_set("POSTGREST_URL", &["http://rest:3000"], "§8.1");
    look.require(variables.get("NODE_ENV") != Some("production"), "NODE_ENV must not be production (§8.1)");
    look.unset("MULTI_TENANT", "§8.1");
    let mut unmet = look.unmet();
    for (name, role) in [("ANON_KEY", "anon"), ("SERVICE_KEY", "service_role")] {
        let key = variables.get(name);
        unmet.extend(key.and_then(|key| keys::point(&secret, name, key, role)));
    }
    let (login, points) = Login::from_url("DATABASE_URL", &url, ROLE, "§8.1");
    unmet.extend(points);
    (Settings { login, secret, path }, unmet)
}

fn is_ref(text: &str) -> bool {
    text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// Checks, migrates, serves; ends with the database.
pub async fn run(variables: &Variables) -> Result<(), End> {
    let (settings, mut unmet) = settings(variables);
    if unmet.is_empty() {
        unmet.extend(volume(Path::new(&settings.path)));
    }
    if !unmet.is_empty() {
        return Err(End::Unmet(unmet));
    }
    let mut database = settings.login.connect().await?;
    let mut unmet = migrate(&database).await?;
    unmet.extend(network::own_name("storage").await);
    if !unmet.is_empty() {
        return Err(End::Unmet(unmet));
    }
    // The health page asks the database over a connection of its own.
    let looking = Arc::new(settings.login.connect().await?);
    tokio::select! {
        result = serve::serve(PORT, router(settings.secret, looking)) => result,
        lost = database.lost() => Err(lost),
        asked = serve::asked_to_end() => asked,
    }
}

/// A volume that outlives the container, can be written, and keeps extended attributes (§8.2).
fn volume(path: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let is_mounted = mounts.lines().any(|line| line.split(' ').nth(1) == path.to_str());
    if !is_mounted {
        return Some("FILE_STORAGE_BACKEND_PATH is not on a volume (§8.2)".to_owned());
    }
    // As it lays objects out: bucket, tenant, object, version.
    let folder = path.join("stand-in");
    let file = folder.join("object");
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&file, "content"));
    let tagged = written.and_then(|()| {
        let flags = XattrFlags::empty();
        rustix::fs::setxattr(&file, "user.supabase.content-type", b"text/plain", flags).map_err(Into::into)
    });
    let removed = tagged.and_then(|()| fs::remove_dir_all(&folder));
    removed.err().map(|error| format!("its volume does not take files with attributes: {error} (§8.2)"))
}

/// What its migrations need, tried: tables in schema storage, and grants to the roles of requests.
async fn migrate(database: &Database) -> Result<Vec<String>, End> {
    let role = "select rolcreaterole and not rolsuper and not rolinherit
        from pg_roles where rolname = current_user";
    let migrations = "select pg_advisory_lock(5000);
        create table if not exists storage.migrations (id integer primary key, name varchar(100) unique);
        grant select on storage.migrations to anon, authenticated, service_role, postgres;
        select pg_advisory_unlock(5000);
        listen stand_in;";
    let mut points = vec![
        database.require(role, "the role must be NOINHERIT CREATEROLE and no superuser (§4.6)").await?,
        database.allowed(migrations, "its migrations do not run (§8.2)").await,
    ];
    for role in ["anon", "authenticated", "service_role"] {
        let become_it = format!("begin; set local role {role}; rollback");
        points.push(database.allowed(&become_it, &format!("it cannot become {role} (§4.6)")).await);
    }
    Ok(points.into_iter().flatten().collect())
}

fn router(secret: String, database: Arc<Database>) -> Router {
    let health = || async move {
        let asked = database.client.simple_query("select 1").await;
        if asked.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    };
    let any = |uri: Uri, headers: HeaderMap| async move { serve::judged("storage", &secret, &uri, &headers) };
    Router::new()
        .route("/status", get(|| async { StatusCode::OK }))
        .route("/health", get(health))
        .fallback(any)
}
