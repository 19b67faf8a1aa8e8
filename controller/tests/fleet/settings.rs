//! Settings, secrets and passwords on a real project: only what a change touches restarts, every byte of a secret arrives, and
//! the database's role follows a change that fails.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use prost_types::FieldMask;
use supalove_proto::v1::{
    DeleteSecretsRequest, ListVariablesRequest, Operation, OperationState, ProjectSettings, ProjectSmtp,
    ProjectState, ResetDatabasePasswordRequest, RotateJwtSecretRequest, SecretValue, SetSecretsRequest,
    SetVariablesRequest, UpdateProjectSettingsRequest, Variable,
};
use supalove_system_tests::{
    Answer, Api, CORE, Fleet, Options, SLACK, Tenant, copy_core, try_docker, wait_for,
};
use tempfile::TempDir;

/// How core's functions get the signing secret.
const SIGNING: &str = "JWT_SECRET: \"{{ secrets.jwt_secret }}\"";
/// Without it they end at once: when the password is another one than their secret OLD says.
const FRAGILE: &str = "JWT_SECRET: \"{% if settings.function_secrets.OLD is undefined or settings.function_secrets.OLD \
                       == secrets.tenant_db_password %}{{ secrets.jwt_secret }}{% endif %}\"";
/// As auth of the official release gets the password of the project's mail server.
const MAIL: &str = "MAIL_PASSWORD: { value: \"{{ settings.smtp.password }}\", omit_empty: true }";
const SERVICES: [&str; 3] = ["functions", "gateway", "postgres"];

fn container(tenant: &Tenant, service: &str) -> String {
    format!("supalove_{}_{service}", tenant.project_ref)
}

/// Start times of the containers that exist, by service.
fn started(tenant: &Tenant) -> BTreeMap<&'static str, String> {
    let inspect = |service: &str| {
        try_docker(
            None,
            &["inspect", "--format", "{{.Id}} {{.State.StartedAt}}", &container(tenant, service)],
        )
    };
    SERVICES.into_iter().filter_map(|service| Some((service, inspect(service).ok()?))).collect()
}

/// Services that restarted, came or went between two looks.
fn changed(
    before: &BTreeMap<&'static str, String>,
    after: &BTreeMap<&'static str, String>,
) -> Vec<&'static str> {
    SERVICES.into_iter().filter(|service| before.get(service) != after.get(service)).collect()
}

async fn succeed(api: &Api, operation: Option<Operation>) {
    let operation = api.wait(&operation.unwrap().id).await;
    assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
}

async fn set(api: &Api, tenant: &Tenant, secrets: &[(&str, &str)]) -> Option<Operation> {
    let secret = |(name, value): &(&str, &str)| SecretValue { name: (*name).into(), value: (*value).into() };
    let request = SetSecretsRequest {
        project_ref: tenant.project_ref.clone(),
        secrets: secrets.iter().map(secret).collect(),
        ..Default::default()
    };
    api.projects().set_secrets(request).await.unwrap().into_inner().operation
}

/// Changes one field; what restarts by the answer.
async fn update(api: &Api, tenant: &Tenant, path: &str, settings: ProjectSettings) -> Vec<String> {
    let request = UpdateProjectSettingsRequest {
        project_ref: tenant.project_ref.clone(),
        settings: Some(settings),
        update_mask: Some(FieldMask { paths: vec![path.into()] }),
        ..Default::default()
    };
    let updated = api.projects().update_project_settings(request).await.unwrap().into_inner();
    succeed(api, updated.operation).await;
    updated.restarted_services
}

fn check(tenant: &Tenant, name: &str, key: &str) -> Answer {
    let path = format!("/functions/v1/secret-check?name={name}");
    tenant.gateway.get(&path, &[("Authorization", &format!("Bearer {key}"))])
}

/// The function's answer; the first call after a restart may come before the router.
fn digest(tenant: &Tenant, name: &str) -> (u16, serde_json::Value) {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let answer = check(tenant, name, &tenant.service_role_key);
        if ![502, 503, 504].contains(&answer.status) || Instant::now() > deadline {
            return (answer.status, answer.json());
        }
    }
}

fn sha256(text: &str) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
}

async fn connects(db_url: &str) -> bool {
    let Ok((client, connection)) = tokio_postgres::connect(db_url, tokio_postgres::NoTls).await else {
        return false;
    };
    tokio::spawn(connection);
    client.query_one("SELECT 1", &[]).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_of_a_secret_arrives_and_only_what_a_change_touches_restarts() {
    let fleet = Fleet::start(Options::default()).await;
    let api = &fleet.api;
    let mut tenant = fleet.project("first", CORE).await;

    let printable: String = (' '..='~').collect();
    let lines = "one\ntwo\r\n\t\u{1}\u{7f} grün \u{1f980}";
    let token = "${placement.api_url} $HOME `id` {{ secrets.jwt_secret }} '\"\\";
    let long = "'\"$\\\n<&>".repeat(8 * 1024);
    let secrets = [
        ("PRINTABLE", printable.as_str()),
        ("LINES", lines),
        ("TOKEN", token),
        ("LONG", &long),
        ("EMPTY", ""),
    ];
    assert_eq!(long.len(), 64 * 1024);
    let before = started(&tenant);
    succeed(api, set(api, &tenant, &secrets).await).await;
    assert_eq!(changed(&before, &started(&tenant)), ["functions"]);
    for (name, value) in secrets {
        let (status, said) = digest(&tenant, name);
        assert_eq!((status, &said["sha256"]), (200, &sha256(value).into()), "{name}: {said}");
        assert_eq!(said["bytes"], value.len());
    }
    assert_eq!(check(&tenant, "EMPTY", &tenant.anon_key).status, 403, "only a server may ask");
    assert_eq!(tenant.gateway.get("/functions/v1/secret-check?name=EMPTY", &[]).status, 401);
    assert_eq!(digest(&tenant, "ABSENT").0, 404);

    let request = DeleteSecretsRequest {
        project_ref: tenant.project_ref.clone(),
        names: vec!["TOKEN".into()],
        ..Default::default()
    };
    let deleted = api.projects().delete_secrets(request).await.unwrap().into_inner();
    succeed(api, deleted.operation).await;
    assert_eq!(digest(&tenant, "TOKEN").0, 404);
    assert_eq!(digest(&tenant, "LONG").0, 200);

    variables_arrive_like_secrets(api, &tenant).await;
    settings_restart_what_reads_them(api, &tenant).await;
    a_service_is_switched_off_and_on(api, &tenant).await;
    a_rotation_replaces_the_keys(api, &mut tenant).await;
    assert_eq!(digest(&tenant, "LONG").0, 200);
    let broken = fleet.controller.database.rows().await.broken_of_all().await;
    assert!(broken.is_empty(), "{broken:#?}");
}

async fn variables_arrive_like_secrets(api: &Api, tenant: &Tenant) {
    let before = started(tenant);
    let value: String = (' '..='~').chain("\n\t$HOME `id` ${placement.api_url} grün".chars()).collect();
    let variable = |value: &str| Variable { name: "LEVEL".into(), value: value.into(), update_time: None };
    let request = |value: &str| SetVariablesRequest {
        project_ref: tenant.project_ref.clone(),
        variables: vec![variable(value)],
        ..Default::default()
    };
    let set = api.projects().set_variables(request(&value)).await.unwrap().into_inner();
    succeed(api, set.operation).await;
    assert_eq!(changed(&before, &started(tenant)), ["functions"]);
    let (status, said) = digest(tenant, "LEVEL");
    assert_eq!((status, &said["sha256"]), (200, &sha256(&value).into()), "{said}");
    let listed = ListVariablesRequest { project_ref: tenant.project_ref.clone(), ..Default::default() };
    let listed = api.projects().list_variables(listed).await.unwrap().into_inner().variables;
    assert_eq!(listed[0].value, value);
}

async fn a_mail_password_reaches_the_environment_exactly(api: &Api, tenant: &Tenant) {
    let environment = || -> Vec<String> {
        let format = ["inspect", "--format", "{{json .Config.Env}}"];
        let inspected =
            try_docker(None, &[&format[..], &[&container(tenant, "functions")]].concat()).unwrap();
        serde_json::from_str(&inspected).unwrap()
    };
    assert!(!environment().iter().any(|one| one.starts_with("MAIL_PASSWORD=")), "there is no mail server");
    let password: String = (' '..='~').chain("\n\t$HOME `id` ${placement} grün".chars()).collect();
    let smtp = ProjectSmtp {
        host: "mail.example.com".into(),
        password: password.clone(),
        sender_email: "shop@example.com".into(),
        ..Default::default()
    };
    let restarted =
        update(api, tenant, "smtp", ProjectSettings { smtp: Some(smtp), ..Default::default() }).await;
    assert_eq!(restarted, ["functions"]);
    let expected = format!("MAIL_PASSWORD={password}");
    assert!(environment().contains(&expected), "the password has changed on its way");
}

async fn settings_restart_what_reads_them(api: &Api, tenant: &Tenant) {
    let before = started(tenant);
    let restarted =
        update(api, tenant, "max_rows", ProjectSettings { max_rows: 7, ..Default::default() }).await;
    assert_eq!(restarted, [""; 0], "no service of core reads it");
    assert_eq!(started(tenant), before);

    let jwt_lifetime = Some(prost_types::Duration { seconds: 1234, nanos: 0 });
    let restarted =
        update(api, tenant, "jwt_lifetime", ProjectSettings { jwt_lifetime, ..Default::default() }).await;
    assert_eq!(restarted, ["postgres"]);
    assert_eq!(changed(&before, &started(tenant)), ["postgres"]);
    let (client, connection) = tokio_postgres::connect(&tenant.db_url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = client.query_one("SELECT current_setting('app.settings.jwt_exp')", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "1234");
}

async fn a_service_is_switched_off_and_on(api: &Api, tenant: &Tenant) {
    let before = started(tenant);
    let off = ProjectSettings { disabled_services: vec!["functions".into()], ..Default::default() };
    assert_eq!(update(api, tenant, "disabled_services", off).await, ["functions", "gateway"]);
    let after = started(tenant);
    assert_eq!(changed(&before, &after), ["functions", "gateway"]);
    assert!(!after.contains_key("functions"), "{after:?}");
    let answer = tenant.gateway.get("/functions/v1/hello", &[("apikey", &tenant.anon_key)]);
    assert_eq!((answer.status, &answer.json()["code"]), (503, &"service_not_enabled".into()), "{answer:?}");
    update(api, tenant, "disabled_services", ProjectSettings::default()).await;
    assert_eq!(digest(tenant, "LINES").0, 200, "its secrets are still there");
    assert_eq!(started(tenant)["postgres"], before["postgres"]);
}

async fn a_rotation_replaces_the_keys(api: &Api, tenant: &mut Tenant) {
    let before = started(tenant);
    let old = std::mem::take(&mut tenant.service_role_key);
    let request = RotateJwtSecretRequest {
        project_ref: tenant.project_ref.clone(),
        confirm: tenant.project_ref.clone(),
        ..Default::default()
    };
    let rotated = api.projects().rotate_jwt_secret(request).await.unwrap().into_inner();
    succeed(api, rotated.operation).await;
    assert_eq!(changed(&before, &started(tenant)), ["functions", "gateway"]);
    tenant.service_role_key = api.secrets(&tenant.project_ref).await.service_role_key;
    tenant.anon_key = api.keys(&tenant.project_ref).await.anon_key;
    assert_eq!(digest(tenant, "LINES").0, 200);
    assert_eq!(check(tenant, "LINES", &old).status, 401, "the old key is refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_replaces_the_old_one_and_a_failure_brings_the_old_one_back() {
    let releases = TempDir::new().unwrap();
    copy_core(releases.path(), "fragile", |yaml| {
        assert!(yaml.contains(SIGNING), "{yaml}");
        yaml.replace(SIGNING, &format!("{FRAGILE}\n      {MAIL}"))
    });
    let arguments = vec!["--releases-dir".to_owned(), releases.path().display().to_string()];
    let fleet = Fleet::start(Options { arguments, ..Options::default() }).await;
    let api = &fleet.api;
    let tenant = fleet.project("first", "fragile").await;
    let reset = async || {
        let request =
            ResetDatabasePasswordRequest { project_ref: tenant.project_ref.clone(), ..Default::default() };
        api.projects().reset_database_password(request).await.unwrap().into_inner().operation.unwrap()
    };
    let (client, connection) = tokio_postgres::connect(&tenant.db_url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("CREATE TABLE notes AS SELECT 'kept' AS body").await.unwrap();
    drop(client);

    a_mail_password_reaches_the_environment_exactly(api, &tenant).await;
    let gateway = started(&tenant)["gateway"].clone();
    succeed(api, Some(reset().await)).await;
    assert_eq!(started(&tenant)["gateway"], gateway);
    let second = api.secrets(&tenant.project_ref).await.db_url;
    assert!(second != tenant.db_url && connects(&second).await);
    assert!(!connects(&tenant.db_url).await, "the old password is refused");

    // The functions never come up, so the reset fails although the database has the new password already.
    let password = api.secrets(&tenant.project_ref).await.db_password;
    succeed(api, set(api, &tenant, &[("OLD", &password)]).await).await;
    let operation = reset().await;
    let limit = Duration::from_mins(1) * SLACK;
    let third = api.secrets(&tenant.project_ref).await.db_url;
    assert_ne!(third, second);
    wait_for("the third password", limit, async || connects(&third).await.then_some(())).await;
    fleet.controller.database.rows().await.end_times().await;
    let failed = api.wait(&operation.id).await;
    assert_eq!(failed.state(), OperationState::Failed, "{failed:#?}");
    let message = failed.error.unwrap().message;
    assert!(message.ends_with("; the project returns to the database password before"), "{message}");
    api.wait_state(&tenant.project_ref, ProjectState::ActiveHealthy, limit).await;
    assert_eq!(api.secrets(&tenant.project_ref).await.db_url, second);
    assert!(connects(&second).await && !connects(&third).await, "the role follows");
    let (client, connection) = tokio_postgres::connect(&second, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = client.query_one("SELECT body FROM notes", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "kept");
}
