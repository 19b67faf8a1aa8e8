//! Settings, secrets and passwords of projects as callers see them: what is refused, what a change writes, and what a failure
//! returns to. The agent is a double: what it takes is up at once, and what it refuses fails when its time is up.

use std::{collections::BTreeMap, time::Duration};

use prost_types::FieldMask;
use supalove_proto::node::v1::StackPhase;
use supalove_proto::v1::{
    DeleteProjectRequest, DeleteSecretsRequest, DeleteVariablesRequest, GetProjectSettingsRequest,
    ListSecretsRequest, ListVariablesRequest, OAuthProvider, Operation, OperationKind, OperationState,
    ProjectEvent, ProjectEventType, ProjectSettings, ProjectSmtp, ProjectState, ResetDatabasePasswordRequest,
    RotateJwtSecretRequest, RotateJwtSecretResponse, SecretValue, SetSecretsRequest, SetVariablesRequest,
    StartProjectRequest, StopProjectRequest, UpdateProjectRequest, UpdateProjectSettingsRequest,
    UpdateProjectSettingsResponse, Variable,
};
use supalove_system_tests::{CORE, SLACK, wait_for};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::one_node::World;

const OFFICIAL: &str = "supabase-2025.12-3";

impl World {
    async fn succeed(&self, operation: Option<Operation>) {
        let operation = self.api.wait(&operation.unwrap().id).await;
        assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
        assert_eq!(operation.status_message, "changed");
    }

    async fn settings(&self, project_ref: &str) -> ProjectSettings {
        let request = GetProjectSettingsRequest { project_ref: project_ref.into() };
        self.api.projects().get_project_settings(request).await.unwrap().into_inner().settings.unwrap()
    }

    async fn update(
        &self,
        project_ref: &str,
        settings: ProjectSettings,
        paths: &[&str],
    ) -> Result<UpdateProjectSettingsResponse, Status> {
        let request = UpdateProjectSettingsRequest {
            project_ref: project_ref.into(),
            settings: Some(settings),
            update_mask: Some(FieldMask { paths: paths.iter().map(|path| (*path).into()).collect() }),
            ..Default::default()
        };
        Ok(self.api.projects().update_project_settings(request).await?.into_inner())
    }

    async fn set_secrets(
        &self,
        project_ref: &str,
        secrets: &[(&str, &str)],
    ) -> Result<Option<Operation>, Status> {
        let secret =
            |(name, value): &(&str, &str)| SecretValue { name: (*name).into(), value: (*value).into() };
        let request = SetSecretsRequest {
            project_ref: project_ref.into(),
            secrets: secrets.iter().map(secret).collect(),
            ..Default::default()
        };
        Ok(self.api.projects().set_secrets(request).await?.into_inner().operation)
    }

    async fn delete_secrets(&self, project_ref: &str, names: &[&str]) -> Option<Operation> {
        let request = DeleteSecretsRequest {
            project_ref: project_ref.into(),
            names: names.iter().map(|name| (*name).into()).collect(),
            ..Default::default()
        };
        self.api.projects().delete_secrets(request).await.unwrap().into_inner().operation
    }

    /// Digests by name, read page by page.
    async fn digests(&self, project_ref: &str) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut page_token = String::new();
        loop {
            let request = ListSecretsRequest { project_ref: project_ref.into(), page_size: 2, page_token };
            let page = self.api.projects().list_secrets(request).await.unwrap().into_inner();
            assert!(page.secrets.iter().all(|one| one.update_time.is_some()));
            all.extend(page.secrets.into_iter().map(|one| (one.name, one.sha256)));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return all;
            }
        }
    }

    async fn rotate(&self, project_ref: &str, confirm: &str) -> Result<RotateJwtSecretResponse, Status> {
        let request = RotateJwtSecretRequest {
            project_ref: project_ref.into(),
            confirm: confirm.into(),
            ..Default::default()
        };
        Ok(self.api.projects().rotate_jwt_secret(request).await?.into_inner())
    }
}

fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    violations.into_iter().map(|one| one.field).collect()
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}

fn sha256(text: &str) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_have_defaults_and_an_update_is_a_new_generation_with_what_it_restarts() {
    let world = World::start().await;
    let project_ref = world.project("first", OFFICIAL).await;
    let before = world.settings(&project_ref).await;
    assert_eq!((before.site_url.as_str(), before.sign_up_enabled), ("http://localhost:3000", true));
    assert_eq!((before.max_rows, before.etag.as_str()), (1000, "0"));

    let smtp = ProjectSmtp {
        host: "mail.example.com".into(),
        password: "canary-password".into(),
        sender_email: "shop@example.com".into(),
        ..Default::default()
    };
    let github = OAuthProvider {
        name: "github".into(),
        client_id: "id".into(),
        client_secret: "canary-secret".into(),
        ..Default::default()
    };
    let asked = ProjectSettings {
        site_url: "https://shop.example.com".into(),
        smtp: Some(smtp),
        oauth_providers: vec![github],
        ..Default::default()
    };
    world.hold(&project_ref);
    let updated = world.update(&project_ref, asked, &["site_url", "smtp", "oauth_providers"]).await.unwrap();
    assert_eq!(updated.restarted_services, ["auth"]);
    let operation = updated.operation.unwrap();
    assert_eq!(
        (operation.kind(), operation.state()),
        (OperationKind::UpdateSettings, OperationState::Running)
    );
    let after = world.settings(&project_ref).await;
    assert_eq!(Some(&after), updated.settings.as_ref());
    assert_eq!((after.site_url.as_str(), after.max_rows), ("https://shop.example.com", 1000));
    let smtp = after.smtp.as_ref().unwrap();
    assert_eq!((smtp.password.as_str(), smtp.password_set, smtp.port), ("", true, 587));
    let github = &after.oauth_providers[0];
    assert_eq!((github.client_secret.as_str(), github.client_secret_set), ("", true));
    let project = world.api.project(&project_ref).await;
    assert_eq!((project.state(), project.generation), (ProjectState::Restarting, 2));
    world.assert_rows_hold().await;

    // Nothing but a delete interrupts it.
    let stop = StopProjectRequest { project_ref: project_ref.clone(), ..Default::default() };
    let refused = world.api.projects().stop_project(stop).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "WRONG_STATE".to_owned()));
    let refused = world.update(&project_ref, before.clone(), &[]).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "WRONG_STATE".to_owned()));
    world.double.state().refusals.clear();
    world.succeed(Some(operation)).await;
    assert_eq!(world.settings(&project_ref).await, after);
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_and_an_old_etag_are_refused_and_change_nothing() {
    let world = World::start().await;
    let project_ref = world.project("first", CORE).await;
    let before = world.settings(&project_ref).await;
    let wrong = ProjectSettings { max_rows: 0, exposed_schemas: vec!["a b".into()], ..before.clone() };
    let refused = world.update(&project_ref, wrong, &[]).await.unwrap_err();
    assert_eq!(fields(&refused), ["settings.exposed_schemas[0]", "settings.max_rows"]);
    let refused = world.update(&project_ref, before.clone(), &["password"]).await.unwrap_err();
    assert_eq!(fields(&refused), ["update_mask"]);

    let request = |etag: &str, max_rows| UpdateProjectSettingsRequest {
        project_ref: project_ref.clone(),
        settings: Some(ProjectSettings { max_rows, ..before.clone() }),
        etag: etag.into(),
        request_id: "0197a1b2-0000-7000-8000-000000000000".into(),
        ..Default::default()
    };
    let refused = world.api.projects().update_project_settings(request("5", 7)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    assert_eq!(world.settings(&project_ref).await, before);
    assert_eq!(world.api.project(&project_ref).await.generation, 1);

    // core has no service that reads it: it is kept, and nothing restarts.
    let first = world.api.projects().update_project_settings(request("0", 7)).await.unwrap().into_inner();
    assert_eq!(first.restarted_services, [""; 0]);
    assert_eq!(first.settings.as_ref().unwrap().max_rows, 7);
    let again = world.api.projects().update_project_settings(request("0", 7)).await.unwrap().into_inner();
    let id = |operation: Option<Operation>| operation.unwrap().id;
    assert_eq!(id(again.operation), id(first.operation), "a repeated call is the first one");
    let refused = world.api.projects().update_project_settings(request("0", 8)).await.unwrap_err();
    assert_eq!(fields(&refused), ["request_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_are_the_same_already_start_nothing() {
    let world = World::start().await;
    let project_ref = world.project("first", CORE).await;
    let before = world.settings(&project_ref).await;
    let updated = world.update(&project_ref, before, &[]).await.unwrap();
    assert_eq!(updated.operation, None);
    let project = world.api.project(&project_ref).await;
    assert_eq!((project.state(), project.generation), (ProjectState::ActiveHealthy, 1));
    assert_eq!(world.delete_secrets(&project_ref, &["ABSENT"]).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_change_of_settings_returns_to_those_before_and_says_so() {
    let world = World::start().await;
    let project_ref = world.project("first", OFFICIAL).await;
    let before = world.settings(&project_ref).await;
    let asked = ProjectSettings { exposed_schemas: vec!["absent".into()], ..Default::default() };
    world.hold(&project_ref);
    let updated = world.update(&project_ref, asked, &["exposed_schemas"]).await.unwrap();
    assert_eq!(updated.restarted_services, ["api"]);
    let message = world.fail(&updated.operation.unwrap(), ProjectState::ActiveHealthy).await;
    assert!(message.ends_with("; the project returns to the settings before"), "{message}");
    assert_eq!(world.api.project(&project_ref).await.generation, 3);
    assert_eq!(world.settings(&project_ref).await, before);
    let events = world.api.events(&project_ref).await;
    let returned = events.iter().find(|event| event.r#type() == ProjectEventType::ProjectReturned).unwrap();
    assert_eq!(returned.message, "the settings before are desired again");
    let failed = |event: &&ProjectEvent| event.message.contains("the change of settings failed: ");
    assert!(events.iter().find(failed).is_some(), "{events:#?}");
    world.assert_rows_hold().await;

    // Another try is legal, and a delete replaces it: the new settings stay.
    let asked = ProjectSettings { max_rows: 9, ..Default::default() };
    world.hold(&project_ref);
    let second = world.update(&project_ref, asked, &["max_rows"]).await.unwrap().operation.unwrap();
    let delete = DeleteProjectRequest { project_ref: project_ref.clone(), ..Default::default() };
    world.api.projects().delete_project(delete).await.unwrap();
    assert_eq!(world.api.wait(&second.id).await.state(), OperationState::Cancelled);
    assert_eq!(world.settings(&project_ref).await.max_rows, 9);
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_listed_by_digest_and_refused_with_the_field() {
    let world = World::start().await;
    let project_ref = world.project("first", CORE).await;
    for (secrets, field) in [
        (vec![("SUPABASE_URL", "x")], "secrets[0].name"),
        (vec![("GOOD", "x"), ("not a name", "x")], "secrets[1].name"),
        (vec![("NUL", "a\0b")], "secrets[0].value"),
        (vec![], "secrets"),
    ] {
        let refused = world.set_secrets(&project_ref, &secrets).await.unwrap_err();
        assert_eq!(fields(&refused), [field]);
    }
    let long = "x".repeat(64 * 1024);
    let too_long = format!("{long}x");
    let refused = world.set_secrets(&project_ref, &[("LONG", &too_long)]).await.unwrap_err();
    assert_eq!(fields(&refused), ["secrets[0].value"]);
    assert_eq!(world.digests(&project_ref).await, BTreeMap::new());

    let secrets = [("A", "canary-value"), ("B", ""), ("LONG", long.as_str())];
    world.hold(&project_ref);
    let operation = world.set_secrets(&project_ref, &secrets).await.unwrap().unwrap();
    assert_eq!(operation.kind(), OperationKind::ChangeSecrets);
    assert_eq!(operation.status_message, "restarting functions");
    let expected: BTreeMap<_, _> =
        secrets.iter().map(|(name, value)| ((*name).to_owned(), sha256(value))).collect();
    assert_eq!(world.digests(&project_ref).await, expected);
    let message = world.fail(&operation, ProjectState::ActiveHealthy).await;
    assert!(message.ends_with("; the project returns to the secrets and variables before"), "{message}");
    assert_eq!(world.digests(&project_ref).await, BTreeMap::new(), "the functions never had them");
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_delete_of_secrets_keeps_them() {
    let world = World::start().await;
    let project_ref = world.project("first", CORE).await;
    world.succeed(world.set_secrets(&project_ref, &[("A", "1"), ("B", "2")]).await.unwrap()).await;
    assert_eq!(world.set_secrets(&project_ref, &[("A", "1")]).await.unwrap(), None, "it has this value");
    world.hold(&project_ref);
    let operation = world.delete_secrets(&project_ref, &["A", "ABSENT"]).await.unwrap();
    assert_eq!(world.digests(&project_ref).await.keys().collect::<Vec<_>>(), ["B"]);
    world.fail(&operation, ProjectState::ActiveHealthy).await;
    assert_eq!(world.digests(&project_ref).await.keys().collect::<Vec<_>>(), ["A", "B"]);
    world.succeed(world.delete_secrets(&project_ref, &["A"]).await).await;
    world.succeed(world.set_secrets(&project_ref, &[("A", "3"), ("B", "4")]).await.unwrap()).await;
    assert_eq!(world.digests(&project_ref).await["A"], sha256("3"));
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_follows_the_generation_and_an_old_release_cannot_have_one() {
    let world = World::start().await;
    let project_ref = world.project("first", CORE).await;
    let before = world.api.secrets(&project_ref).await.db_password;
    let request = ResetDatabasePasswordRequest { project_ref: project_ref.clone(), ..Default::default() };
    world.hold(&project_ref);
    let reset = world.api.projects().reset_database_password(request.clone()).await.unwrap().into_inner();
    assert_eq!(reset.restarted_services, ["functions", "postgres"]);
    let during = world.api.secrets(&project_ref).await.db_password;
    assert_ne!(during, before);
    let message = world.fail(&reset.operation.unwrap(), ProjectState::ActiveHealthy).await;
    assert!(message.ends_with("; the project returns to the database password before"), "{message}");
    assert_eq!(world.api.secrets(&project_ref).await.db_password, before);
    let reset = world.api.projects().reset_database_password(request).await.unwrap().into_inner();
    world.succeed(reset.operation).await;
    let after = world.api.secrets(&project_ref).await.db_password;
    assert!(after != before && after != during);
    world.assert_rows_hold().await;

    let old = world.project("old", "core").await;
    let request = ResetDatabasePasswordRequest { project_ref: old.clone(), ..Default::default() };
    let refused = world.api.projects().reset_database_password(request).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "RELEASE_TOO_OLD".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_says_first_what_stops_working_and_replaces_all_keys() {
    let world = World::start().await;
    let project_ref = world.project("first", CORE).await;
    let before = (world.api.keys(&project_ref).await, world.api.secrets(&project_ref).await);
    let preview = world.rotate(&project_ref, "").await.unwrap();
    assert_eq!((preview.operation, preview.stops_working.len()), (None, 4));
    assert_eq!(preview.restarted_services, ["functions", "gateway"]);
    let refused = world.rotate(&project_ref, "yes").await.unwrap_err();
    assert_eq!(fields(&refused), ["confirm"]);
    assert_eq!(world.api.project(&project_ref).await.generation, 1, "nothing has changed");

    world.hold(&project_ref);
    let rotated = world.rotate(&project_ref, &project_ref).await.unwrap();
    assert_eq!(rotated.restarted_services, ["functions", "gateway"]);
    let during = (world.api.keys(&project_ref).await, world.api.secrets(&project_ref).await);
    assert_ne!(during.0.anon_key, before.0.anon_key);
    assert_ne!(during.1.service_role_key, before.1.service_role_key);
    assert_eq!(during.1.db_password, before.1.db_password);
    world.fail(&rotated.operation.unwrap(), ProjectState::ActiveHealthy).await;
    assert_eq!((world.api.keys(&project_ref).await, world.api.secrets(&project_ref).await), before);
    world.succeed(world.rotate(&project_ref, &project_ref).await.unwrap().operation).await;
    let after = world.api.keys(&project_ref).await.anon_key;
    assert!(after != before.0.anon_key && after != during.0.anon_key);
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_keeps_settings_and_secrets() {
    let world = World::start().await;
    let project_ref = world.project("first", "core-2").await;
    let asked = ProjectSettings { max_rows: 9, ..Default::default() };
    world.succeed(world.update(&project_ref, asked, &["max_rows"]).await.unwrap().operation).await;
    world.succeed(world.set_secrets(&project_ref, &[("A", "1")]).await.unwrap()).await;
    world.hold(&project_ref);
    let request =
        supalove_proto::v1::UpgradeProjectRequest { project_ref: project_ref.clone(), ..Default::default() };
    let upgrade =
        world.api.projects().upgrade_project(request).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(world.api.project(&project_ref).await.release, CORE);
    world.fail(&upgrade, ProjectState::ActiveHealthy).await;
    assert_eq!(world.api.project(&project_ref).await.release, "core-2");
    assert_eq!(world.settings(&project_ref).await.max_rows, 9);
    assert_eq!(world.digests(&project_ref).await.len(), 1);
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_renamed_unless_the_name_is_taken_or_it_has_changed() {
    let world = World::start().await;
    let project_ref = world.project("first", CORE).await;
    world.project("second", CORE).await;
    let rename = async |name: &str, etag: &str| {
        let request = UpdateProjectRequest {
            project_ref: project_ref.clone(),
            name: name.into(),
            etag: etag.into(),
            ..Default::default()
        };
        world.api.projects().update_project(request).await
    };
    let before = world.api.project(&project_ref).await;
    assert_eq!(rename("other", "999").await.unwrap_err().code(), Code::Aborted);
    assert_eq!(rename("second", "").await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(fields(&rename(" ", "").await.unwrap_err()), ["name"]);
    let renamed = rename("other", &before.etag).await.unwrap().into_inner().project.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.generation), ("other", before.generation));
    assert_ne!(renamed.etag, before.etag);
    assert_eq!(world.api.project(&project_ref).await.name, "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_the_database_or_the_audit_log_unsealed() {
    let world = World::start().await;
    let project_ref = world.project("first", OFFICIAL).await;
    world.succeed(world.set_secrets(&project_ref, &[("A", "canary-value-1")]).await.unwrap()).await;
    let found = world.rows.texts_like("canary-value-1").await;
    assert!(found.is_empty(), "{found:?}");
    assert!(!world.rows.texts_like(&project_ref).await.is_empty(), "the search finds what is there");
}

const LIMIT: Duration = Duration::from_secs(30);

/// Sets or lists variables.
impl World {
    async fn set_variables(
        &self,
        project_ref: &str,
        variables: &[(&str, &str)],
    ) -> Result<Option<Operation>, Status> {
        let variable = |(name, value): &(&str, &str)| Variable {
            name: (*name).into(),
            value: (*value).into(),
            update_time: None,
        };
        let request = SetVariablesRequest {
            project_ref: project_ref.into(),
            variables: variables.iter().map(variable).collect(),
            ..Default::default()
        };
        Ok(self.api.projects().set_variables(request).await?.into_inner().operation)
    }

    async fn delete_variables(&self, project_ref: &str, names: &[&str]) -> Option<Operation> {
        let request = DeleteVariablesRequest {
            project_ref: project_ref.into(),
            names: names.iter().map(|name| (*name).into()).collect(),
            ..Default::default()
        };
        self.api.projects().delete_variables(request).await.unwrap().into_inner().operation
    }

    /// Names and values, read page by page.
    async fn variables(&self, project_ref: &str) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut page_token = String::new();
        loop {
            let request = ListVariablesRequest { project_ref: project_ref.into(), page_size: 2, page_token };
            let page = self.api.projects().list_variables(request).await.unwrap().into_inner();
            assert!(page.variables.iter().all(|one| one.update_time.is_some()));
            all.extend(page.variables.into_iter().map(|one| (one.name, one.value)));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return all;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_read_by_value_and_share_names_and_bounds_with_secrets() {
    let world = World::start().await;
    let project_ref = world.project("first", CORE).await;
    world.succeed(world.set_secrets(&project_ref, &[("KEY", "canary-value")]).await.unwrap()).await;
    for (variables, field) in [
        (vec![("SUPABASE_URL", "x")], "variables[0].name"),
        (vec![("GOOD", "x"), ("not a name", "x")], "variables[1].name"),
        (vec![("NUL", "a\0b")], "variables[0].value"),
        (vec![("KEY", "x")], "variables"),
        (vec![], "variables"),
    ] {
        let refused = world.set_variables(&project_ref, &variables).await.unwrap_err();
        assert_eq!(fields(&refused), [field]);
        assert!(!refused.message().contains("canary"), "{}", refused.message());
    }
    let many: Vec<String> = (0..100).map(|number| format!("A{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).collect();
    let refused = world.set_variables(&project_ref, &many).await.unwrap_err();
    assert!(refused.message().contains("101 secrets and variables"), "{}", refused.message());

    let asked = [("LEVEL", "debug"), ("TEXT", "two\nlines"), ("EMPTY", "")];
    world.hold(&project_ref);
    let operation = world.set_variables(&project_ref, &asked).await.unwrap().unwrap();
    assert_eq!(
        (operation.kind(), operation.status_message.as_str()),
        (OperationKind::ChangeSecrets, "restarting functions")
    );
    let expected: BTreeMap<_, _> =
        asked.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(world.variables(&project_ref).await, expected);
    world.fail(&operation, ProjectState::ActiveHealthy).await;
    assert_eq!(world.variables(&project_ref).await, BTreeMap::new(), "the functions never had them");
    world.succeed(world.set_variables(&project_ref, &asked).await.unwrap()).await;
    assert_eq!(world.set_variables(&project_ref, &asked[..1]).await.unwrap(), None, "it has this value");
    assert_eq!(world.digests(&project_ref).await.keys().collect::<Vec<_>>(), ["KEY"], "each in its own list");
    let refused = world.set_secrets(&project_ref, &[("LEVEL", "x")]).await.unwrap_err();
    assert_eq!(fields(&refused), ["secrets"]);

    // A delete takes what is of its kind.
    assert_eq!(world.delete_variables(&project_ref, &["KEY", "ABSENT"]).await, None);
    assert_eq!(world.delete_secrets(&project_ref, &["LEVEL"]).await, None);
    world.succeed(world.delete_variables(&project_ref, &["LEVEL", "KEY"]).await).await;
    assert_eq!(world.variables(&project_ref).await.keys().collect::<Vec<_>>(), ["EMPTY", "TEXT"]);
    assert_eq!(world.digests(&project_ref).await.len(), 1);
    world.succeed(world.set_secrets(&project_ref, &[("LEVEL", "now a secret")]).await.unwrap()).await;
    let found = world.rows.texts_like("two\nlines").await;
    assert!(found.is_empty(), "they are sealed like secrets: {found:?}");
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_ends_although_another_service_was_red_before_it() {
    let world = World::start().await;
    let project_ref = world.project("first", CORE).await;
    world.double.state().unhealthy.insert(project_ref.clone());
    world.double.report(&project_ref, StackPhase::Unhealthy);
    world.api.wait_state(&project_ref, ProjectState::ActiveUnhealthy, LIMIT * SLACK).await;

    // The functions restart; the double's only service, the database, is red and not touched.
    world.succeed(world.set_secrets(&project_ref, &[("A", "1")]).await.unwrap()).await;
    let project = world.api.project(&project_ref).await;
    assert_eq!((project.state(), project.generation), (ProjectState::ActiveUnhealthy, 2));
    assert!(project.state_reason.contains("postgres"), "{}", project.state_reason);
    assert_eq!(world.digests(&project_ref).await.len(), 1, "it did not return");

    // A new password touches it, so that must get healthy.
    let request = ResetDatabasePasswordRequest { project_ref: project_ref.clone(), ..Default::default() };
    let reset = world.api.projects().reset_database_password(request).await.unwrap().into_inner();
    let operation = reset.operation.unwrap();
    wait_for("the node to have it", LIMIT * SLACK, async || {
        let state = world.double.state();
        (state.records[&project_ref].generation == 3).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.api.project(&project_ref).await.state(), ProjectState::Restarting);
    world.double.state().unhealthy.clear();
    world.fail(&operation, ProjectState::ActiveHealthy).await;
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_control_plane_takes_no_change_back() {
    let mut world = World::start().await;
    let project_ref = world.project("first", CORE).await;
    world.hold(&project_ref);
    let operation = world.set_secrets(&project_ref, &[("A", "1")]).await.unwrap().unwrap();
    world.controller.process.kill();
    world.rows.end_times_long_ago().await;
    world.rows.end_leases().await;
    world.controller.restart().await;
    let mut api = world.controller.api();
    api.use_token(&world.api.token);
    world.api = api;
    wait_for("the job that ends operations", Duration::from_secs(5) * SLACK, async || {
        world.rows.newest_replica_has_run("projects.expire_operations").await.then_some(())
    })
    .await;
    world.double.state().refusals.clear();
    world.succeed(Some(operation)).await;
    assert_eq!(world.digests(&project_ref).await.len(), 1);
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_comes_when_a_change_ends_is_done() {
    let world = World::start().await;
    let project_ref = world.project("first", CORE).await;
    world.hold(&project_ref);
    world.set_secrets(&project_ref, &[("A", "1")]).await.unwrap().unwrap();
    let ends = world.rows.end_change(&project_ref).await;
    let request = DeleteProjectRequest { project_ref: project_ref.clone(), ..Default::default() };
    let delete = async { world.api.projects().delete_project(request).await };
    let meanwhile = async {
        wait_for("the delete to wait", LIMIT * SLACK, async || {
            (world.rows.waiting_for_a_change().await > 0).then_some(())
        })
        .await;
        ends.commit().await.unwrap();
    };
    let (deleted, ()) = tokio::join!(delete, meanwhile);
    assert_eq!(deleted.unwrap().into_inner().operation.unwrap().kind(), OperationKind::DeleteProject);
    assert_eq!(world.api.project(&project_ref).await.state(), ProjectState::GoingDown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_project_that_has_no_room_to_run_waits_for_its_next_start() {
    let world = World::start().await;
    let project_ref = world.project("first", CORE).await;
    let stop = StopProjectRequest { project_ref: project_ref.clone(), ..Default::default() };
    let stop = world.api.projects().stop_project(stop).await.unwrap().into_inner().operation.unwrap();
    world.api.wait(&stop.id).await;
    world.rows.fill_memory().await;
    let start = async || {
        let request = StartProjectRequest { project_ref: project_ref.clone(), ..Default::default() };
        world.api.projects().start_project(request).await.unwrap().into_inner().operation.unwrap()
    };
    let pending = start().await;
    assert_eq!(pending.state(), OperationState::Pending);
    world.rows.age_pending_operations().await;
    assert_eq!(world.api.wait(&pending.id).await.state(), OperationState::Failed);
    let before = world.api.project(&project_ref).await;
    assert_eq!(before.state(), ProjectState::ActiveUnhealthy);
    let calls = world.double.calls_of(&project_ref);

    let asked = ProjectSettings { max_rows: 9, ..Default::default() };
    let updated = world.update(&project_ref, asked, &["max_rows"]).await.unwrap();
    assert_eq!(updated.restarted_services, [""; 0]);
    let operation = updated.operation.unwrap();
    assert_eq!(
        (operation.state(), operation.status_message.as_str()),
        (OperationState::Succeeded, "changed")
    );
    let after = world.api.project(&project_ref).await;
    assert_eq!((after.state(), after.generation), (before.state(), before.generation + 1));
    assert_eq!(after.state_reason, before.state_reason);
    assert_eq!(
        (world.settings(&project_ref).await.max_rows, world.double.calls_of(&project_ref)),
        (9, calls)
    );
    world.assert_rows_hold().await;

    world.rows.set_memory(100_000).await;
    assert_eq!(world.api.wait(&start().await.id).await.state(), OperationState::Succeeded);
    assert_eq!(world.settings(&project_ref).await.max_rows, 9);
    assert!(world.double.calls_of(&project_ref) > calls);
    world.assert_rows_hold().await;
}
