//! Settings of a project of the newest official release as a whole: each arrives in the environment of the service that reads
//! it, exactly, and no other service restarts.

use std::collections::BTreeMap;

use prost_types::FieldMask;
use supalove_proto::v1::{
    OAuthProvider, OperationState, ProjectSettings, ProjectSmtp, ProjectState, UpdateProjectSettingsRequest,
};
use supalove_system_tests::{Api, Fleet, Options, Tenant};

use super::{NEWEST, SERVICES, containers::Container};

type Values = BTreeMap<String, String>;

/// What a container has of the variables whose names begin like this.
fn variables(tenant: &Tenant, service: &str, start: &str) -> Values {
    let mut values = Container::inspect(&tenant.project_ref, service).environment();
    values.retain(|name, _| name.starts_with(start));
    values
}

fn values<const N: usize>(pairs: [(&str, &str); N]) -> Values {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Container and start of each service.
fn starts(tenant: &Tenant) -> BTreeMap<&'static str, (String, String)> {
    let of = |service: &'static str| {
        let container = Container::inspect(&tenant.project_ref, service);
        (service, (container.get("Id").to_string(), container.started_at()))
    };
    SERVICES.into_iter().map(of).collect()
}

/// Changes these fields, and checks that the answer says what restarts, and that just that did.
async fn update(api: &Api, tenant: &Tenant, paths: &[&str], settings: ProjectSettings, restarts: &[&str]) {
    let before = starts(tenant);
    let request = UpdateProjectSettingsRequest {
        project_ref: tenant.project_ref.clone(),
        settings: Some(settings),
        update_mask: Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
        ..Default::default()
    };
    let updated = api.projects().update_project_settings(request).await.unwrap().into_inner();
    assert_eq!(updated.restarted_services, restarts, "{paths:?}");
    let operation = api.wait(&updated.operation.unwrap().id).await;
    assert_eq!(operation.state(), OperationState::Succeeded, "{paths:?}: {operation:#?}");
    assert_eq!(api.project(&tenant.project_ref).await.state(), ProjectState::ActiveHealthy);
    let after = starts(tenant);
    let restarted: Vec<&str> =
        SERVICES.into_iter().filter(|service| before[service] != after[service]).collect();
    assert_eq!(restarted, restarts, "{paths:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_of_a_project_reach_the_service_that_reads_them_and_no_other_restarts() {
    super::require_images();
    let fleet = Fleet::start(Options::default()).await;
    let api = &fleet.api;
    let tenant = fleet.project("settings", NEWEST).await;
    assert_eq!(variables(&tenant, "auth", "GOTRUE_SMTP_"), Values::new(), "there is no mail server yet");

    let password: String = (' '..='~').chain("\n\t\\ $HOME `id` ${placement} grün".chars()).collect();
    let smtp = ProjectSmtp {
        host: "mail.example.com".into(),
        port: 2525,
        user: "shop".into(),
        password: password.clone(),
        sender_email: "shop@example.com".into(),
        sender_name: "The \"Shop\" & more".into(),
        ..Default::default()
    };
    let settings = ProjectSettings { smtp: Some(smtp), ..Default::default() };
    update(api, &tenant, &["smtp"], settings, &["auth"]).await;
    let mail = values([
        ("GOTRUE_SMTP_HOST", "mail.example.com"),
        ("GOTRUE_SMTP_PORT", "2525"),
        ("GOTRUE_SMTP_USER", "shop"),
        ("GOTRUE_SMTP_PASS", &password),
        ("GOTRUE_SMTP_ADMIN_EMAIL", "shop@example.com"),
        ("GOTRUE_SMTP_SENDER_NAME", "The \"Shop\" & more"),
    ]);
    assert_eq!(variables(&tenant, "auth", "GOTRUE_SMTP_"), mail);

    what_auth_reads(api, &tenant).await;
    assert_eq!(variables(&tenant, "auth", "GOTRUE_SMTP_"), mail, "what a change does not name stays");
    what_other_services_read(api, &tenant).await;

    update(api, &tenant, &["smtp"], ProjectSettings::default(), &["auth"]).await;
    assert_eq!(variables(&tenant, "auth", "GOTRUE_SMTP_"), Values::new(), "and none again");
}

async fn what_auth_reads(api: &Api, tenant: &Tenant) {
    let github = OAuthProvider {
        name: "github".into(),
        client_id: "the id".into(),
        client_secret: "the $ecret".into(),
        ..Default::default()
    };
    let settings = ProjectSettings {
        site_url: "https://shop.example.com".into(),
        redirect_urls: vec!["https://*.example.com/back".into(), "shop://done".into()],
        sign_up_enabled: false,
        oauth_providers: vec![github],
        ..Default::default()
    };
    let paths = ["site_url", "redirect_urls", "sign_up_enabled", "oauth_providers"];
    update(api, tenant, &paths, settings, &["auth"]).await;
    let has = variables(tenant, "auth", "GOTRUE_");
    for (name, value) in [
        ("GOTRUE_SITE_URL", "https://shop.example.com"),
        ("GOTRUE_URI_ALLOW_LIST", "https://*.example.com/back,shop://done"),
        ("GOTRUE_DISABLE_SIGNUP", "true"),
    ] {
        assert_eq!(has[name], value, "{name}");
    }
    let callback = format!("http://{}/auth/v1/callback", tenant.gateway.address);
    let expected = values([
        ("GOTRUE_EXTERNAL_GITHUB_ENABLED", "true"),
        ("GOTRUE_EXTERNAL_GITHUB_CLIENT_ID", "the id"),
        ("GOTRUE_EXTERNAL_GITHUB_SECRET", "the $ecret"),
        ("GOTRUE_EXTERNAL_GITHUB_REDIRECT_URI", &callback),
    ]);
    let providers = |values: Values| -> Values {
        let of_ours = ["EMAIL", "PHONE", "ANONYMOUS"];
        let is_ours =
            |name: &str| of_ours.iter().any(|one| name.starts_with(&format!("GOTRUE_EXTERNAL_{one}")));
        values.into_iter().filter(|(name, _)| !is_ours(name)).collect()
    };
    assert_eq!(providers(variables(tenant, "auth", "GOTRUE_EXTERNAL_")), expected, "one provider is on");
}

async fn what_other_services_read(api: &Api, tenant: &Tenant) {
    let (client, connection) = tokio_postgres::connect(&tenant.db_url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("CREATE SCHEMA shop").await.unwrap();
    let settings = ProjectSettings {
        max_rows: 77,
        exposed_schemas: vec!["public".into(), "shop".into()],
        ..Default::default()
    };
    update(api, tenant, &["max_rows", "exposed_schemas"], settings, &["api"]).await;
    let has = variables(tenant, "api", "PGRST_DB_");
    let read = (has["PGRST_DB_MAX_ROWS"].as_str(), has["PGRST_DB_SCHEMAS"].as_str());
    assert_eq!(read, ("77", "public,shop"));
    let settings = ProjectSettings { file_size_limit_bytes: 12_345_678, ..Default::default() };
    update(api, tenant, &["file_size_limit_bytes"], settings, &["storage"]).await;
    assert_eq!(variables(tenant, "storage", "FILE_SIZE")["FILE_SIZE_LIMIT"], "12345678");
}
