//! Owners and administrators read and export what happened in their organization, and operators what happened on the platform.

use std::time::Duration;

use supalove_proto::v1::{
    AuditCredential, AuditEvent, AuditExportFormat, AuditFilter, CreatePersonalAccessTokenRequest,
    CreateProjectRequest, ExportAuditEventsRequest, ExportPlatformAuditEventsRequest, GetMeRequest,
    ListAuditEventsRequest, ListAuditEventsResponse, ListPlatformAuditEventsRequest,
    PersonalAccessTokenScope, RevealProjectSecretsRequest, StopProjectRequest, UpdateMeRequest,
    UpdateOrganizationRequest,
};
use supalove_system_tests::{Api, Controller, Rows, SLACK, wait_for};
use tonic::Code;

use super::audit::is_whole;

async fn user(controller: &Controller, rows: &Rows, email: &str) -> (Api, String) {
    rows.add_user(email).await;
    let mut api = controller.api();
    api.sign_in(email).await;
    let id = api.auth().get_me(GetMeRequest {}).await.unwrap().into_inner().user.unwrap().id;
    (api, id)
}

fn filter(change: impl FnOnce(&mut AuditFilter)) -> AuditFilter {
    let mut filter = AuditFilter::default();
    change(&mut filter);
    filter
}

async fn list(api: &Api, organization: &str, filter: Option<AuditFilter>) -> ListAuditEventsResponse {
    let request = ListAuditEventsRequest { organization: organization.into(), filter, ..Default::default() };
    api.audit().list_audit_events(request).await.unwrap().into_inner()
}

/// "Method outcome" of each row.
fn lines(events: &[AuditEvent]) -> Vec<String> {
    events
        .iter()
        .map(|event| format!("{} {}", event.method.rsplit('/').next().unwrap(), event.outcome))
        .collect()
}

async fn create(api: &Api, name: &str) -> Result<String, Code> {
    let request =
        CreateProjectRequest { organization: "target".into(), name: name.into(), ..Default::default() };
    let created = api.projects().create_project(request).await.map_err(|status| status.code())?;
    Ok(created.into_inner().project.unwrap().r#ref)
}

#[tokio::test]
async fn what_happens_in_an_organization_is_in_its_log_and_nothing_else() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let (owner, owner_id) = user(&controller, &rows, "owner@example.com").await;
    let (reader, reader_id) = user(&controller, &rows, "reader@example.com").await;
    let (stranger, _) = user(&controller, &rows, "stranger@example.com").await;
    owner.create_organization("target").await;
    owner.create_organization("other").await;
    rows.add_member("target", "reader@example.com", "READ_ONLY").await;
    let project = create(&owner, "first").await.unwrap();
    assert_eq!(create(&reader, "refused").await, Err(Code::PermissionDenied));
    assert_eq!(create(&stranger, "hidden").await, Err(Code::NotFound));
    let reveal = RevealProjectSecretsRequest { project_ref: project.clone() };
    assert_eq!(
        operator.projects().reveal_project_secrets(reveal.clone()).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    assert_eq!(
        stranger.projects().reveal_project_secrets(reveal.clone()).await.unwrap_err().code(),
        Code::NotFound
    );
    // A token of the owner's without the scope.
    let request = CreatePersonalAccessTokenRequest {
        name: "reads".into(),
        scopes: vec![PersonalAccessTokenScope::Read.into()],
        ttl: None,
    };
    let token =
        owner.personal_access_tokens().create_personal_access_token(request).await.unwrap().into_inner();
    let mut program = controller.api();
    program.use_token(&token.token);
    assert_eq!(
        program.projects().reveal_project_secrets(reveal.clone()).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    owner.projects().reveal_project_secrets(reveal).await.unwrap();
    let rename = UpdateMeRequest { display_name: "Ada".into(), ..Default::default() };
    owner.auth().update_me(rename).await.unwrap();

    let all = list(&owner, "target", None).await;
    let expected = [
        "RevealProjectSecrets OK",
        "RevealProjectSecrets PermissionDenied",
        "RevealProjectSecrets PermissionDenied",
        "CreateProject PermissionDenied",
        "CreateProject OK",
        "CreateOrganization OK",
    ];
    assert_eq!(lines(&all.events), expected, "newest first; no act on oneself, no stranger");
    assert!(all.next_page_token.is_empty());
    let newest = &all.events[0];
    assert_eq!((newest.actor.as_str(), newest.target.as_str()), (owner_id.as_str(), project.as_str()));
    assert_eq!(newest.credential(), AuditCredential::Session);
    assert_eq!(newest.client_address, "127.0.0.1");
    assert_eq!(newest.trace_id.len(), 32);
    let of_token = &all.events[1];
    assert_eq!(of_token.credential(), AuditCredential::PersonalAccessToken);
    assert_eq!(of_token.actor, owner_id);
    assert_eq!(of_token.personal_access_token_id, token.personal_access_token.unwrap().id);
    assert_eq!(all.complete_since_time, all.events[5].time);
    assert_eq!(all.retention.unwrap().seconds, 365 * 24 * 3600);
    assert_eq!(lines(&list(&owner, "other", None).await.events), ["CreateOrganization OK"]);

    for (filter, expected) in [
        (Some(filter(|f| f.actor = reader_id.clone())), &expected[3..4]),
        (Some(filter(|f| f.actor = of_token.personal_access_token_id.clone())), &expected[1..2]),
        (Some(filter(|f| f.method = "CreateProject".into())), &expected[3..5]),
        (Some(filter(|f| f.method = "/supalove.v1.ProjectService/CreateProject".into())), &expected[3..5]),
        (Some(filter(|f| f.method = "Project".into())), &[]),
        (Some(filter(|f| f.outcome = "permissiondenied".into())), &expected[1..4]),
        (Some(filter(|f| f.target = "target".into())), &expected[3..4]),
        (Some(filter(|f| f.target = project[..19].into())), &[]),
        (Some(filter(|f| f.start_time = all.events[3].time)), &expected[..4]),
        (Some(filter(|f| f.end_time = all.events[3].time)), &expected[4..]),
        (Some(filter(|f| f.actor = "%".into())), &[]),
    ] {
        assert_eq!(lines(&list(&owner, "target", filter.clone()).await.events), expected, "{filter:?}");
    }
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListAuditEventsRequest {
            organization: "target".into(),
            page_size: 4,
            page_token,
            ..Default::default()
        };
        let page = owner.audit().list_audit_events(request).await.unwrap().into_inner();
        seen.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        assert_eq!(seen.len(), 4);
    }
    assert_eq!(lines(&seen), expected);
    for (request, field) in [
        (ListAuditEventsRequest { page_size: -1, ..Default::default() }, "page_size"),
        (ListAuditEventsRequest { page_token: "x".into(), ..Default::default() }, "page_token"),
        (
            ListAuditEventsRequest { filter: Some(filter(|f| f.actor = "a\0".into())), ..Default::default() },
            "filter.actor",
        ),
    ] {
        let request = ListAuditEventsRequest { organization: "target".into(), ..request };
        let status = owner.audit().list_audit_events(request).await.unwrap_err();
        assert!(status.code() == Code::InvalidArgument && status.message().contains(field), "{status}");
    }

    // The rest is the platform's.
    let request = ListPlatformAuditEventsRequest {
        filter: Some(filter(|f| f.outcome = "NotFound".into())),
        ..Default::default()
    };
    let platform = operator.audit().list_platform_audit_events(request).await.unwrap().into_inner();
    assert_eq!(lines(&platform.events), ["RevealProjectSecrets NotFound", "CreateProject NotFound"]);
    let request = ListPlatformAuditEventsRequest {
        filter: Some(filter(|f| f.actor = owner_id.clone())),
        ..Default::default()
    };
    let platform = operator.audit().list_platform_audit_events(request).await.unwrap().into_inner();
    assert_eq!(lines(&platform.events), ["UpdateMe OK", "CreatePersonalAccessToken OK", "SignIn OK"]);
    assert_eq!(platform.events[2].credential(), AuditCredential::None);
}

#[tokio::test]
async fn acts_of_the_operator_and_of_jobs_on_a_project_are_in_its_organizations_log() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let (owner, _) = user(&controller, &rows, "owner@example.com").await;
    owner.create_organization("target").await;
    rows.add_node("roomy", 10, 10).await;
    let project = create(&owner, "first").await.unwrap();
    rows.set_state(&project, "ACTIVE_HEALTHY").await;
    let stop = StopProjectRequest { project_ref: project.clone(), ..Default::default() };
    operator.projects().stop_project(stop).await.unwrap();
    let rename =
        UpdateOrganizationRequest { organization: "target".into(), name: "New".into(), ..Default::default() };
    operator.organizations().update_organization(rename).await.unwrap();
    let events = list(&owner, "target", None).await.events;
    assert_eq!(
        lines(&events),
        ["UpdateOrganization OK", "StopProject OK", "CreateProject OK", "CreateOrganization OK"]
    );
    let unset = rows.audit_rows_outside_of_their_organization().await;
    assert!(unset.is_empty(), "{unset:?}");
}

/// The file of an export, and how many rows its parts say they have.
async fn export(api: &Api, format: AuditExportFormat, filter: Option<AuditFilter>) -> (String, usize) {
    let request = ExportAuditEventsRequest { organization: "acme".into(), filter, format: format.into() };
    let mut parts = api.audit().export_audit_events(request).await.unwrap().into_inner();
    let mut file = Vec::new();
    let mut events = 0;
    while let Some(part) = parts.message().await.unwrap() {
        assert!(part.data.len() < 1_000_000, "{}", part.data.len());
        file.extend(part.data);
        events += usize::try_from(part.events).unwrap();
    }
    (String::from_utf8(file).unwrap(), events)
}

#[tokio::test]
async fn the_log_is_exported_in_parts_as_json_lines_or_csv() {
    const OLD: i32 = 1800;
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let chain = rows.organization_id("acme").await;
    rows.begin_audit_chain_long_ago(chain, OLD, 2).await;
    let all = usize::try_from(OLD).unwrap() + 1;
    wait_for("the rows to be chained", Duration::from_secs(10) * SLACK, async || {
        let (_, newest, waiting) = rows.audit_chain_of(chain).await;
        (newest == i64::from(OLD) + 1 && waiting == 0).then_some(())
    })
    .await;

    let (json, counted) = export(&api, AuditExportFormat::Unspecified, None).await;
    let read: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((read.len(), counted), (all, all));
    assert_eq!(read[all - 1]["method"], "/supalove.v1.OrganizationService/CreateOrganization");
    let times: Vec<&str> = read.iter().map(|row| row["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "oldest first");
    assert!(read.iter().all(|row| row["chain_hash"].as_str().unwrap().len() == 64));

    let (csv, counted) = export(&api, AuditExportFormat::Csv, None).await;
    assert_eq!((csv.lines().count(), counted), (all + 1, all));
    assert!(csv.starts_with("id,time,actor,credential,") && csv.ends_with("\r\n"));
    let some = Some(filter(|f| f.method = "CreateOrganization".into()));
    let (csv, counted) = export(&api, AuditExportFormat::Csv, some).await;
    assert_eq!((csv.lines().count(), counted), (2, 1));
    let none = Some(filter(|f| f.method = "Nothing".into()));
    assert_eq!(export(&api, AuditExportFormat::JsonLines, none).await, (String::new(), 0));

    let request =
        ExportPlatformAuditEventsRequest { filter: None, format: AuditExportFormat::JsonLines.into() };
    let mut parts = api.audit().export_platform_audit_events(request).await.unwrap().into_inner();
    let first = String::from_utf8(parts.message().await.unwrap().unwrap().data).unwrap();
    assert!(first.contains("SetUp") && !first.contains("CreateOrganization"), "{first}");
}

#[tokio::test]
async fn an_export_ends_when_its_reader_may_no_longer_read() {
    const OLD: i32 = 20_000;
    let controller = Controller::start().await;
    controller.operator().await;
    let rows = controller.database.rows().await;
    let (owner, _) = user(&controller, &rows, "owner@example.com").await;
    let (administrator, _) = user(&controller, &rows, "administrator@example.com").await;
    owner.create_organization("target").await;
    rows.add_member("target", "administrator@example.com", "ADMINISTRATOR").await;
    rows.begin_audit_chain_long_ago(rows.organization_id("target").await, OLD, 2).await;
    let request = ExportAuditEventsRequest { organization: "target".into(), ..Default::default() };
    let mut parts = administrator.audit().export_audit_events(request).await.unwrap().into_inner();
    parts.message().await.unwrap().unwrap();
    rows.add_member("target", "administrator@example.com", "DEVELOPER").await;
    let end = loop {
        match parts.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the export went on"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::PermissionDenied, "{end}");
}

#[tokio::test]
async fn old_rows_of_an_organization_are_cut_and_its_log_says_since_when_it_has_rows() {
    const OLD: i32 = 1200;
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let chain = rows.organization_id("acme").await;
    rows.begin_audit_chain_long_ago(chain, OLD, 400).await;
    let newest = i64::from(OLD) + 1;
    wait_for("the rows to be chained", Duration::from_secs(10) * SLACK, async || {
        let (_, last, waiting) = rows.audit_chain_of(chain).await;
        (last == newest && waiting == 0).then_some(())
    })
    .await;
    let before = list(&api, "acme", None).await;
    assert_ne!(before.complete_since_time, before.events[0].time, "the old rows are there");
    controller.process.kill();
    rows.end_leases().await;
    controller.restart().await;
    wait_for("the log to be cut", Duration::from_secs(15) * SLACK, async || {
        let (first, last, _) = rows.audit_chain_of(chain).await;
        (first == last && last == newest).then_some(())
    })
    .await;
    let after = list(&api, "acme", None).await;
    assert_eq!(lines(&after.events), ["CreateOrganization OK"]);
    assert_eq!(after.complete_since_time, after.events[0].time);
    assert_eq!(after.events[0].sequence, newest);
    is_whole(&controller, None);
}
