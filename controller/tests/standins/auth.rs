//! In place of supabase/gotrue: §5.

use axum::{
    Router,
    http::{HeaderMap, StatusCode, Uri},
    routing::get,
};
use serde_json::json;

use crate::{
    End, account,
    database::{Database, Login},
    network, serve,
    variables::{Look, Variables},
};

/// The image's user.
const UID: u32 = 1000;
/// Where it listens if it is not told otherwise.
const DEFAULT_PORT: u64 = 8081;
const ROLE: &str = "supabase_auth_admin";

/// What it goes by.
pub struct Settings {
    login: Login,
    secret: String,
    port: u16,
}

/// Its variables, and what is not met by them.
pub fn settings(variables: &Variables) -> (Settings, Vec<String>) {
    let mut look = Look::at(variables);
    look.is("GOTRUE_DB_DRIVER", &["postgres"], "§5.1");
    let url = look.text(&["GOTRUE_DB_DATABASE_URL", "DATABASE_URL"], "§5.1");
    look.url("API_EXTERNAL_URL", "§5.1");
    look.url("GOTRUE_SITE_URL", "§5.1");
    let secret = look.jwt_secret(&["GOTRUE_JWT_SECRET"], "§5.1");
    look.is("GOTRUE_API_HOST", &["0.0.0.0"], "§5.1");
    let port = look.number(&["GOTRUE_API_PORT", "PORT"], Some(DEFAULT_PORT), "§5.1");
    for flow in ["INVITE", "CONFIRMATION", "RECOVERY", "EMAIL_CHANGE"] {
        look.is(&format!("GOTRUE_MAILER_URLPATHS_{flow}"), &["/auth/v1/verify"], "§5.1");
    }
    look.is("GOTRUE_JWT_AUD", &["authenticated"], "§5.1");
    look.is("GOTRUE_JWT_DEFAULT_GROUP_NAME", &["authenticated"], "§5.1");
    look.number(&["GOTRUE_JWT_EXP"], Some(3600), "§5.1");
    look.is("GOTRUE_RATE_LIMIT_HEADER", &["X-Real-IP", "X-Forwarded-For"], "§5.1");
    look.number(&["GOTRUE_DB_MAX_POOL_SIZE"], None, "§4.6");
    if let Some(list) = variables.get("GOTRUE_URI_ALLOW_LIST") {
        let closed = list.split(',').all(|one| !matches!(one.trim(), "*" | "**"));
        look.require(closed, "GOTRUE_URI_ALLOW_LIST must not be * (§5.1)");
    }
    // Without a host no mail is sent and the rest has no effect.
    if variables.get("GOTRUE_SMTP_HOST").is_some() {
        look.text(&["GOTRUE_SMTP_HOST"], "§5.1");
        look.number(&["GOTRUE_SMTP_PORT"], Some(587), "§5.1");
        let sender = look.text(&["GOTRUE_SMTP_ADMIN_EMAIL"], "§5.1");
        look.require(sender.contains('@'), "GOTRUE_SMTP_ADMIN_EMAIL is no address (§5.1)");
    }
    look.switch("GOTRUE_DISABLE_SIGNUP", "§5.1");
    look.switch("GOTRUE_EXTERNAL_EMAIL_ENABLED", "§5.1");
    look.switch("GOTRUE_EXTERNAL_PHONE_ENABLED", "§5.1");
    look.switch("GOTRUE_EXTERNAL_ANONYMOUS_USERS_ENABLED", "§5.1");
    let confirmed = look.switch("GOTRUE_MAILER_AUTOCONFIRM", "§5.1");
    let unverified = look.switch("GOTRUE_MAILER_ALLOW_UNVERIFIED_EMAIL_SIGN_INS", "§5.1");
    look.require(!(confirmed && unverified), "AUTOCONFIRM with unverified sign-ins is refused (§5.1)");
    let mut unmet = look.unmet();
    let (login, points) = Login::from_url("GOTRUE_DB_DATABASE_URL", &url, ROLE, "§5.1");
    unmet.extend(points);
    (Settings { login, secret, port: port.try_into().unwrap_or_default() }, unmet)
}

/// Checks, migrates, serves; ends with the database.
pub async fn run(variables: &Variables) -> Result<(), End> {
    let (settings, mut unmet) = settings(variables);
    unmet.extend(account::point(UID, "§2"));
    if !unmet.is_empty() {
        return Err(End::Unmet(unmet));
    }
    let mut database = settings.login.connect().await?;
    let mut unmet = migrate(&database).await?;
    unmet.extend(network::own_name("auth").await);
    if !unmet.is_empty() {
        return Err(End::Unmet(unmet));
    }
    tokio::select! {
        result = serve::serve(settings.port, router(settings.secret)) => result,
        lost = database.lost() => Err(lost),
        asked = serve::asked_to_end() => asked,
    }
}

/// What its migrations need, tried: they make tables in schema auth and grant to the role postgres.
async fn migrate(database: &Database) -> Result<Vec<String>, End> {
    let owns = "select bool_and(owner = current_user::regrole) from (
        select proowner as owner from pg_proc where pronamespace = 'auth'::regnamespace
        union all select relowner from pg_class where relnamespace = 'auth'::regnamespace
        union all select current_user::regrole) as objects";
    let role = "select rolcreaterole and not rolsuper and not rolinherit
        from pg_roles where rolname = current_user";
    let migrations = "create table if not exists auth.schema_migrations (version varchar(14) primary key);
        grant select on auth.schema_migrations to postgres;";
    let points = [
        database.require(role, "the role must be NOINHERIT CREATEROLE and no superuser (§4.6)").await?,
        database.allowed(migrations, "its migrations do not run (§5.2)").await,
        database.require(owns, "an object of schema auth belongs to another role (§5.2)").await?,
    ];
    Ok(points.into_iter().flatten().collect())
}

fn router(secret: String) -> Router {
    let health = || async { serve::answer(StatusCode::OK, "auth", json!({ "name": "GoTrue" })) };
    let any = |uri: Uri, headers: HeaderMap| async move { serve::judged("auth", &secret, &uri, &headers) };
    Router::new().route("/health", get(health)).fallback(any)
}
