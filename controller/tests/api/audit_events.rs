//! Owners and administrators read and export what happened in their organization, and operators what happened on the platform.

use std::time::Duration;

use supalove_proto::v1::{
    AuditCredential, AuditEvent, AuditExportEnd, AuditExportFormat, AuditFilter,
    CreatePersonalAccessTokenRequest, CreateProjectRequest, DeleteAccountRequest, DeleteOrganizationRequest,
    ExportAuditEventsRequest, ExportPlatformAuditEventsRequest, GetMeRequest, ListAuditEventsRequest,
    ListAuditEventsResponse, ListPlatformAuditEventsRequest, PersonalAccessTokenScope,
    RevealProjectSecretsRequest, StopProjectRequest, UpdateMeRequest, UpdateOrganizationRequest,
};
use supalove_system_tests::{Api, Controller, PASSWORD, Rows, SLACK, wait_for};
use tonic::Code;
use tonic_types::StatusExt as _;

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
    let (file, events, _) = export_to_its_end(api, format, filter).await;
    (file, events)
}

/// The same with what the file is complete up to.
async fn export_to_its_end(
    api: &Api,
    format: AuditExportFormat,
    filter: Option<AuditFilter>,
) -> (String, usize, AuditExportEnd) {
    let request = ExportAuditEventsRequest { organization: "acme".into(), filter, format: format.into() };
    let mut parts = api.audit().export_audit_events(request).await.unwrap().into_inner();
    let mut file = Vec::new();
    let mut events = 0;
    let mut end = None;
    while let Some(part) = parts.message().await.unwrap() {
        assert!(part.data.len() < 1_000_000, "{}", part.data.len());
        assert!(end.is_none(), "the end is the last message");
        file.extend(part.data);
        events += usize::try_from(part.events).unwrap();
        end = part.end;
    }
    (String::from_utf8(file).unwrap(), events, end.unwrap())
}

#[tokio::test]
async fn an_act_that_is_committed_late_is_in_the_next_export_if_not_in_this_one() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let chain = rows.organization_id("acme").await;
    let chained = async |least: i64| {
        wait_for("the rows to be chained", Duration::from_secs(10) * SLACK, async || {
            let (_, newest, waiting) = rows.audit_chain_of(chain).await;
            (newest >= least && waiting == 0).then_some(())
        })
        .await;
    };
    let late = rows.audit_late(chain).await;
    api.create("meanwhile", "").await;
    chained(2).await;
    let format = AuditExportFormat::JsonLines;
    let (first, events, end) = export_to_its_end(&api, format, None).await;
    assert_eq!((events, end.last_sequence), (2, 2));
    assert!(first.contains("CreateProject") && !first.contains("late"), "{first}");
    late.commit().await.unwrap();
    chained(3).await;
    // It is older than what the first one has.
    let next = Some(filter(|f| f.start_time = end.complete_until_time));
    let (second, events, end) = export_to_its_end(&api, format, next).await;
    assert!(second.contains("\"late\"") && second.contains("CreateProject"), "{second}");
    assert_eq!((events, end.last_sequence), (2, 3));
}

#[tokio::test]
async fn reads_of_the_log_leave_the_database_to_others() {
    const OLD: i32 = 20_000;
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let (other, _) = user(&controller, &rows, "other@example.com").await;
    rows.add_member("acme", "other@example.com", "ADMINISTRATOR").await;
    let chain = rows.organization_id("acme").await;
    rows.begin_audit_chain_long_ago(chain, OLD, 2).await;
    wait_for("the rows to be chained", Duration::from_secs(20) * SLACK, async || {
        (rows.audit_chain_of(chain).await.1 >= i64::from(OLD)).then_some(())
    })
    .await;
    let export = async |api: &Api| {
        let request = ExportAuditEventsRequest { organization: "acme".into(), ..Default::default() };
        api.audit().export_audit_events(request).await.map(tonic::Response::into_inner)
    };
    // Nobody reads them, so they do not end.
    let open = [export(&operator).await.unwrap(), export(&operator).await.unwrap()];
    let refused = export(&operator).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()), "{refused:?}");
    let others = [export(&other).await.unwrap(), export(&other).await.unwrap()];
    assert_eq!(list(&other, "acme", None).await.events.len(), 100, "lists have a part of their own");
    drop((open, others));
    wait_for("the exports to end", Duration::from_secs(10) * SLACK, async || export(&operator).await.ok())
        .await;
}

#[tokio::test]
async fn an_operator_reads_the_log_of_a_deleted_organization() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let ask = async |named: &str| {
        let request =
            ListPlatformAuditEventsRequest { deleted_organization: named.into(), ..Default::default() };
        operator.audit().list_platform_audit_events(request).await.map(tonic::Response::into_inner)
    };
    let delete = async || {
        let request = DeleteOrganizationRequest { organization: "gone".into() };
        operator.organizations().delete_organization(request).await.unwrap();
    };
    operator.create_organization("gone").await;
    let first = format!("org_{}", rows.organization_id("gone").await.simple());
    assert_eq!(ask("gone").await.unwrap_err().code(), Code::NotFound);
    let live = ask(&first).await.unwrap_err();
    assert!(live.code() == Code::InvalidArgument && live.message().contains("is not deleted"), "{live}");
    delete().await;
    for named in ["gone", &first] {
        let found = ask(named).await.unwrap();
        assert_eq!(lines(&found.events), ["DeleteOrganization OK", "CreateOrganization OK"], "{named}");
        assert_eq!(found.retention.unwrap().seconds, 365 * 24 * 3600);
    }
    let request =
        ExportPlatformAuditEventsRequest { deleted_organization: first.clone(), ..Default::default() };
    wait_for("the rows to be exported", Duration::from_secs(10) * SLACK, async || {
        let parts =
            operator.audit().export_platform_audit_events(request.clone()).await.unwrap().into_inner();
        let parts: Vec<_> = futures::StreamExt::collect::<Vec<_>>(parts).await;
        let events: i32 = parts.into_iter().map(|part| part.unwrap().events).sum();
        (events == 2).then_some(())
    })
    .await;
    operator.create_organization("gone").await;
    delete().await;
    let several = ask("gone").await.unwrap_err();
    assert!(several.code() == Code::InvalidArgument && several.message().contains(&first), "{several}");
}

#[tokio::test]
async fn an_organizations_log_says_that_a_member_deleted_their_account() {
    let controller = Controller::start().await;
    controller.operator().await;
    let rows = controller.database.rows().await;
    let (owner, _) = user(&controller, &rows, "owner@example.com").await;
    let (leaving, id) = user(&controller, &rows, "leaving@example.com").await;
    let mut chains = Vec::new();
    for slug in ["one", "two"] {
        owner.create_organization(slug).await;
        rows.add_member(slug, "leaving@example.com", "DEVELOPER").await;
        chains.push(rows.organization_id(slug).await);
    }
    let delete = async |password: &str| {
        let request = DeleteAccountRequest { current_password: password.into() };
        leaving.auth().delete_account(request).await
    };
    let refused = delete("not-the-password").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    delete(PASSWORD).await.unwrap();
    let outcomes: Vec<String> =
        rows.audited("DeleteAccount").await.into_iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, ["WRONG_PASSWORD", "OK", "OK", "OK"], "a guess is told from other wrong fields");
    let mut expected: Vec<_> =
        chains.iter().map(|chain| (*chain, format!("org_{}/{id}", chain.simple()))).collect();
    expected.push((uuid::Uuid::nil(), id.clone()));
    let mut written = rows.audited_in("DeleteAccount").await;
    written.retain(|(_, target)| !target.is_empty());
    written.sort();
    expected.sort();
    assert_eq!(written, expected);
    assert_eq!(lines(&list(&owner, "one", None).await.events)[0], "DeleteAccount OK");
}

#[tokio::test]
async fn a_user_whose_calls_are_refused_without_end_does_not_fill_the_log() {
    const CALLS: i64 = 200;
    let controller = Controller::start().await;
    controller.operator().await;
    let rows = controller.database.rows().await;
    let (stranger, id) = user(&controller, &rows, "stranger@example.com").await;
    let before = rows.acts_on_record().await;
    for _ in 0..CALLS {
        let reveal = RevealProjectSecretsRequest { project_ref: "abcdefghijklmnopqrst".into() };
        assert_eq!(
            stranger.projects().reveal_project_secrets(reveal).await.unwrap_err().code(),
            Code::NotFound
        );
    }
    let written = rows.acts_on_record().await - before;
    assert!((60..=80).contains(&written), "{written}");
    wait_for("the rest to be counted", Duration::from_secs(6) * SLACK, async || {
        let counts = rows.refused_calls().await.into_iter();
        let of_user: i64 = counts.filter(|(_, _, client, _)| *client == id).map(|(.., calls)| calls).sum();
        (of_user + written == CALLS).then_some(())
    })
    .await;
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

    let request = ExportPlatformAuditEventsRequest {
        format: AuditExportFormat::JsonLines.into(),
        ..Default::default()
    };
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
    let chain = rows.organization_id("target").await;
    rows.begin_audit_chain_long_ago(chain, OLD, 2).await;
    // An export has only rows that are chained.
    wait_for("the rows to be chained", Duration::from_secs(20) * SLACK, async || {
        let (_, last, waiting) = rows.audit_chain_of(chain).await;
        (last > i64::from(OLD) && waiting == 0).then_some(())
    })
    .await;
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
