//! In place of postgrest/postgrest: §6. The one that waits for a database that is away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, Uri},
    routing::get,
};
use serde_json::json;
use tokio_postgres::error::SqlState;

use crate::{
    End, account,
    database::{Database, Login, words},
    network, serve,
    variables::{Look, Variables},
};

/// The image's user.
const UID: u32 = 1000;
const PORT: u16 = 3000;
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(32);

/// What it goes by.
pub struct Settings {
    login: Login,
    secret: String,
    schemas: Vec<String>,
    anonymous: String,
    admin_port: u16,
}

/// Its variables, and what is not met by them.
pub fn settings(variables: &Variables) -> (Settings, Vec<String>) {
    let mut look = Look::at(variables);
    let url = look.text(&["PGRST_DB_URI"], "§6.1");
    let schemas = look.text(&["PGRST_DB_SCHEMAS"], "§6.1");
    let schemas: Vec<String> = schemas.split(',').map(|one| one.trim().to_owned()).collect();
    look.require(schemas[0] == "public", "PGRST_DB_SCHEMAS: the first is the default, public (§6.1)");
    look.text(&["PGRST_DB_EXTRA_SEARCH_PATH"], "§6.1");
    look.number(&["PGRST_DB_MAX_ROWS"], None, "§6.1");
    let anonymous = look.text(&["PGRST_DB_ANON_ROLE"], "§6.1");
    look.require(anonymous == "anon", "PGRST_DB_ANON_ROLE must be anon (§6.1)");
    let secret = look.jwt_secret(&["PGRST_JWT_SECRET"], "§6.1");
    look.if_set("PGRST_DB_USE_LEGACY_GUCS", &["false"], "§6.1");
    look.unset("PGRST_APP_SETTINGS_JWT_SECRET", "§6.1");
    look.number(&["PGRST_DB_POOL"], Some(10), "§6.1");
    look.if_set("PGRST_SERVER_PORT", &["3000"], "§2");
    look.if_set("PGRST_DB_CHANNEL_ENABLED", &["true"], "§6.1");
    let admin_port = look.number(&["PGRST_ADMIN_SERVER_PORT"], None, "§6.1");
    let mut unmet = look.unmet();
    let (login, points) = Login::from_url("PGRST_DB_URI", &url, "authenticator", "§6.1");
    unmet.extend(points);
    let admin_port = admin_port.try_into().unwrap_or_default();
    (Settings { login, secret, schemas, anonymous, admin_port }, unmet)
}

/// Checks, serves, and keeps trying to have a database.
pub async fn run(variables: &Variables) -> Result<(), End> {
    let (settings, mut unmet) = settings(variables);
    unmet.extend(account::point(UID, "§2"));
    unmet.extend(shell());
    if !unmet.is_empty() {
        return Err(End::Unmet(unmet));
    }
    if let Some(point) = network::own_name("rest").await {
        return Err(End::Unmet(vec![point]));
    }
    let ready = Arc::new(AtomicBool::new(false));
    tokio::select! {
        result = serve::serve(PORT, requests(settings.secret.clone(), ready.clone())) => result,
        result = serve::serve(settings.admin_port, admin(ready.clone())) => result,
        end = keep_connected(&settings, &ready) => Err(end),
        asked = serve::asked_to_end() => asked,
    }
}

/// The official image is empty but for the program, so this stand-in must be, too.
fn shell() -> Option<String> {
    std::path::Path::new("/bin/sh").exists().then(|| "the image must have no shell (§6.2)".to_owned())
}

/// Returns only when trying again is of no use: a wrong password, or rights that are missing.
async fn keep_connected(settings: &Settings, ready: &AtomicBool) -> End {
    let mut pause = Duration::from_secs(1);
    loop {
        match settings.login.connect().await {
            Ok(mut database) => match schema_cache(&database, settings).await {
                Ok(unmet) if !unmet.is_empty() => return End::Unmet(unmet),
                Ok(_) => {
                    ready.store(true, Ordering::Relaxed);
                    pause = Duration::from_secs(1);
                    eprintln!("connected");
                    let _ = database.lost().await;
                    ready.store(false, Ordering::Relaxed);
                    eprintln!("the connection is lost; trying again");
                }
                Err(error) => eprintln!("the schema cache cannot be loaded: {}", words(&error)),
            },
            Err(error) if error.code() == Some(&SqlState::INVALID_PASSWORD) => return error.into(),
            Err(error) => eprintln!("no connection: {}", words(&error)),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What it needs before it is ready: the roles that requests become, the schemas it shows, and its channel.
async fn schema_cache(
    database: &Database,
    settings: &Settings,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let role = "select not rolinherit and not rolsuper and rolcanlogin
        from pg_roles where rolname = current_user";
    let mut points =
        vec![database.require(role, "authenticator must be NOINHERIT and no superuser (§4.6)").await?];
    for role in [settings.anonymous.as_str(), "authenticated", "service_role"] {
        let become_it = format!("begin; set local role {role}; rollback");
        points.push(database.allowed(&become_it, &format!("it cannot become {role} (§4.6)")).await);
    }
    for schema in &settings.schemas {
        let query = format!("select to_regnamespace('{schema}') is not null");
        points.push(database.require(&query, &format!("there is no schema {schema} (§6.1)")).await?);
    }
    points.push(database.allowed("listen pgrst", "it cannot listen for reloads (§6.1)").await);
    Ok(points.into_iter().flatten().collect())
}

fn requests(secret: String, ready: Arc<AtomicBool>) -> Router {
    let any = |uri: Uri, headers: HeaderMap| async move {
        if ready.load(Ordering::Relaxed) {
            serve::judged("api", &secret, &uri, &headers)
        } else {
            let mut answer = serve::answer(StatusCode::SERVICE_UNAVAILABLE, "api", json!({}));
            answer.headers_mut().insert("retry-after", 1.into());
            answer
        }
    };
    Router::new().fallback(any)
}

fn admin(ready: Arc<AtomicBool>) -> Router {
    let ready = || async move {
        if ready.load(Ordering::Relaxed) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    };
    Router::new().route("/ready", get(ready)).route("/live", get(|| async { StatusCode::OK }))
}
