//! The master key is replaced while the platform runs: nothing that is sealed is lost, whoever lacks a key is told so, and a sealed
//! value opens only in its place.

use std::{collections::BTreeSet, fs, time::Duration};

use supalove_controller::sealed_columns;
use supalove_core::vault::{Scope, Vault};
use supalove_proto::v1::{
    CreateOrganizationRequest, CreateProjectRequest, GetVaultStatusRequest, GetVaultStatusResponse,
    ListJobsRequest, MasterKeyState, ProjectSettings, RequestPasswordResetRequest,
    RevealProjectSecretsRequest, SecretValue, SetRegistryCredentialsRequest, SetSecretsRequest,
    UpdateProjectSettingsRequest, UpgradeProjectRequest,
};
use supalove_system_tests::{Api, Controller, Database, EMAIL, Options, PREVIOUS_KEY, Rows, SLACK, wait_for};
use tonic::Code;

use super::audit::is_whole;

/// Columns of bytes that are not sealed, because they are hashes, signatures or public.
const NOT_SEALED: &[&str] = &[
    "account_links.token_hash",
    "audit_chains.chain_hash",
    "audit_chains.signature",
    "audit_checkpoints.chain_hash",
    "audit_checkpoints.signature",
    "audit_digests.signature",
    "audit_log.chain_hash",
    "audit_repairs.signature",
    "authorities.ca_sha256",
    "certificates.ca_sha256",
    "certificates.key_sha256",
    "invitations.token_hash",
    "join_tokens.secret_hash",
    "nodes.key_sha256",
    "personal_access_tokens.token_hash",
    "platform.setup_token_hash",
    "rate_limits.key",
    "requests.body_sha256",
    "signing_keys.public_key",
    "used_recovery_nonces.nonce_sha256",
    "user_sessions.refresh_hash",
];

async fn status(api: &Api) -> GetVaultStatusResponse {
    api.platform().get_vault_status(GetVaultStatusRequest {}).await.unwrap().into_inner()
}

/// State and number of values of each key, the newest first.
async fn keys(api: &Api) -> Vec<(MasterKeyState, i64)> {
    status(api).await.keys.iter().map(|key| (key.state(), key.sealed_values)).collect()
}

async fn password(api: &Api, project: &str) -> Result<String, Code> {
    let request = RevealProjectSecretsRequest { project_ref: project.into() };
    let revealed = api.projects().reveal_project_secrets(request).await.map_err(|status| status.code())?;
    Ok(revealed.into_inner().db_password)
}

/// A client of the operator.
async fn operator(controller: &Controller) -> Api {
    let mut api = controller.api();
    api.sign_in(EMAIL).await;
    api
}

/// Projects of "acme" with their passwords; the first one is being upgraded.
async fn projects(api: &Api, rows: &Rows) -> Vec<(String, String)> {
    rows.add_node("roomy", 10, 10).await;
    let mut projects = Vec::new();
    for number in 0..3 {
        let project = api.create(&format!("sealed{number}"), "core").await.project.unwrap().r#ref;
        projects.push((project.clone(), password(api, &project).await.unwrap()));
    }
    let upgraded = projects[0].0.clone();
    rows.set_state(&upgraded, "ACTIVE_HEALTHY").await;
    let request =
        UpgradeProjectRequest { project_ref: upgraded, release: "core-2".into(), ..Default::default() };
    api.projects().upgrade_project(request).await.unwrap();
    projects
}

/// Settings and a secret of projects, a password of a registry, and a mail that waits: nothing listens where the mail server
/// should.
async fn settings_secret_and_mail(api: &Api, rows: &Rows, projects: &[(String, String)]) {
    let [_, (with_secret, _), (with_settings, _)] = projects else { panic!("three projects") };
    for project in [with_secret, with_settings] {
        rows.set_state(project, "ACTIVE_HEALTHY").await;
    }
    let secrets = vec![SecretValue { name: "KEY".into(), value: "value".into() }];
    let request = SetSecretsRequest { project_ref: with_secret.clone(), secrets, ..Default::default() };
    api.projects().set_secrets(request).await.unwrap();
    let request = UpdateProjectSettingsRequest {
        project_ref: with_settings.clone(),
        settings: Some(ProjectSettings { max_rows: 7, ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["max_rows".into()] }),
        ..Default::default()
    };
    api.projects().update_project_settings(request).await.unwrap();
    let request = SetRegistryCredentialsRequest {
        cluster: "default".into(),
        registry: "registry.example.com".into(),
        username: "puller".into(),
        password: "value".into(),
    };
    api.registries().set_registry_credentials(request).await.unwrap();
    api.auth().request_password_reset(RequestPasswordResetRequest { email: EMAIL.into() }).await.unwrap();
}

/// Ends the process and forgets it, as after the 20 s in which a replica counts as live.
async fn stop(controller: &mut Controller, rows: &Rows) {
    controller.process.kill();
    rows.end_leases().await;
    rows.forget_replicas().await;
}

async fn replaced(api: &Api) -> Vec<(MasterKeyState, i64)> {
    wait_for("the old key to be retired", Duration::from_secs(30) * SLACK, async || {
        let keys = keys(api).await;
        (keys.get(1).is_some_and(|(state, _)| *state == MasterKeyState::Retired)).then_some(keys)
    })
    .await
}

async fn still_open(api: &Api, projects: &[(String, String)]) {
    for (project, known) in projects {
        assert_eq!(password(api, project).await.as_ref(), Ok(known));
    }
}

#[tokio::test]
async fn each_column_of_bytes_is_sealed_and_listed_or_known_not_to_be() {
    let rows = Database::create().await.rows().await;
    rows.migrate().await;
    let sealed: BTreeSet<String> =
        sealed_columns().iter().map(|column| format!("{}.{}", column.table, column.column)).collect();
    let known = sealed.iter().cloned().chain(NOT_SEALED.iter().map(|column| (*column).to_owned()));
    let known: BTreeSet<String> = known.collect();
    let present: BTreeSet<String> = rows.columns_of_bytes().await.into_iter().collect();
    let missing: Vec<&String> = present.difference(&known).collect();
    assert!(
        missing.is_empty(),
        "sealed? Then list it in SEALED of its room, so that a new master key wraps it; else in NOT_SEALED: {missing:?}"
    );
    assert_eq!(known.difference(&present).collect::<Vec<_>>(), [""; 0], "there is no such column");
    let guarded: BTreeSet<String> = rows.columns_with_guarded_keys().await.into_iter().collect();
    assert_eq!(guarded, sealed, "a trigger like those of migration 0030 refuses values under a retired key");
}

/// A value that is sealed under the key of this file.
fn sealed_under(controller: &Controller, file: &str, name: &str) -> Vec<u8> {
    let vault = Vault::from_file(&controller.dir.path().join(file)).unwrap();
    let scope = Scope { kind: "platform", id: "", name, version: 1 };
    vault.seal(scope, b"written late").unwrap()
}

#[tokio::test]
async fn a_value_that_is_written_late_keeps_its_key_from_being_retired() {
    let mut controller = Controller::start().await;
    controller.operator().await;
    let rows = controller.database.rows().await;
    controller.new_master_key();
    stop(&mut controller, &rows).await;
    // Sealed before the new key, by a call that takes its time.
    let late = sealed_under(&controller, PREVIOUS_KEY, "late");
    let late = rows.write_secret("late", &late).await.unwrap();
    controller.restart().await;
    let api = operator(&controller).await;
    wait_for("the other values to be wrapped", Duration::from_secs(30) * SLACK, async || {
        keys(&api).await.get(1).is_some_and(|(_, left)| *left == 0).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(keys(&api).await[1], (MasterKeyState::Previous, 0), "somebody is writing under it");
    late.commit().await.unwrap();
    let keys_now = replaced(&api).await;
    assert_eq!(keys_now[1], (MasterKeyState::Retired, 0));
    // By a replica that stood still all the time.
    let too_late = sealed_under(&controller, PREVIOUS_KEY, "too-late");
    let refused = rows.write_secret("too-late", &too_late).await.err().unwrap();
    assert!(refused.contains("is retired: no value is written under it"), "{refused}");
    rows.write_secret("new", &sealed_under(&controller, "master.key", "new")).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_nobody_could_see_while_the_database_was_away_is_waited_for() {
    let mut controller = Controller::start().await;
    controller.operator().await;
    let rows = controller.database.rows().await;
    let behind = controller.replica().await;
    rows.no_replica_is_seen().await;
    controller.new_master_key();
    controller.process.kill();
    rows.end_leases().await;
    controller.restart().await;
    let api = operator(&controller).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        keys(&api).await[0].0,
        MasterKeyState::Next,
        "the other replica could not open what this one seals"
    );
    rows.replicas_are_seen().await;
    wait_for("the replica to be named", Duration::from_secs(40) * SLACK, async || {
        let shown = status(&api).await;
        assert_eq!(shown.keys[0].state(), MasterKeyState::Next);
        shown.waits_for.iter().any(|replica| replica.address == behind.node_address).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_new_master_key_wraps_all_that_is_sealed_and_the_old_one_can_go() {
    let mail =
        ["--smtp-url=smtp://127.0.0.1:9", "--mail-from=a@example.com", "--public-url=http://127.0.0.1:3000"];
    let arguments = mail.map(str::to_owned).to_vec();
    let mut controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let projects = projects(&api, &rows).await;
    settings_secret_and_mail(&api, &rows, &projects).await;
    let mut all = 0;
    for column in sealed_columns() {
        let values = rows.count_of_bytes(column.table, column.column).await;
        assert!(values > 0, "{column:?} has values, so that the test covers it");
        all += values;
    }
    assert_eq!(keys(&api).await, [(MasterKeyState::Current, all)]);
    let first = status(&api).await.keys[0].id.clone();

    controller.new_master_key();
    stop(&mut controller, &rows).await;
    controller.restart().await;
    let api = operator(&controller).await;
    let keys_now = replaced(&api).await;
    assert_eq!(keys_now, [(MasterKeyState::Current, all), (MasterKeyState::Retired, 0)]);
    assert_eq!(status(&api).await.keys[1].id, first);
    assert!(status(&api).await.waits_for.is_empty());
    still_open(&api, &projects).await;
    let outcomes: Vec<String> =
        rows.audited("rotate_master_key").await.into_iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, ["STARTED", "RETIRED"]);

    // Without the old key, and not with it alone.
    fs::rename(controller.dir.path().join(PREVIOUS_KEY), controller.dir.path().join("old.key")).unwrap();
    stop(&mut controller, &rows).await;
    controller.restart().await;
    let api = operator(&controller).await;
    still_open(&api, &projects).await;
    let later = api.create("later", "core").await.project.unwrap().r#ref;
    password(&api, &later).await.unwrap();
    is_whole(&controller, None);
    stop(&mut controller, &rows).await;
    let new = fs::read(controller.dir.path().join("master.key")).unwrap();
    fs::copy(controller.dir.path().join("old.key"), controller.dir.path().join("master.key")).unwrap();
    let log = controller.refused_start();
    assert!(log.contains("an old master key that") && log.contains("--previous-master-key-file"), "{log}");
    assert!(!log.contains(std::str::from_utf8(&new).unwrap()), "{log}");
}

#[tokio::test]
async fn a_wrong_key_is_refused_at_the_start() {
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let projects = projects(&api, &rows).await;
    let file = |name: &str| controller.dir.path().join(name);
    let (key, previous) = (file("master.key"), file(PREVIOUS_KEY));
    let (right, other, third) = (fs::read(&key).unwrap(), "b".repeat(42) + "A=", "d".repeat(42) + "A=");
    stop(&mut controller, &rows).await;
    for (given, old, says) in [
        (other.as_bytes(), None, "which is not the master key of this control database"),
        (other.as_bytes(), Some(third.as_bytes()), "previous_master_key_file"),
        (&right[..], Some(other.as_bytes()), "is no earlier master key"),
        (&right[..], Some(&right[..]), "has the same key"),
        (b"short", None, "32 bytes in base64"),
    ] {
        fs::write(&key, given).unwrap();
        match old {
            Some(old) => fs::write(&previous, old).unwrap(),
            None => drop(fs::remove_file(&previous)),
        }
        let log = controller.refused_start();
        assert!(log.contains(says), "{says}: {log}");
    }
    drop(fs::remove_file(&previous));
    fs::write(&key, &right).unwrap();
    controller.restart().await;
    let api = operator(&controller).await;
    still_open(&api, &projects).await;
    assert_eq!(keys(&api).await.len(), 1, "no attempt left a key");
}

#[tokio::test]
async fn the_new_key_seals_only_when_every_replica_has_it() {
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let projects = projects(&api, &rows).await;
    let mut behind = controller.replica().await;
    let api_behind = operator(&behind).await;

    controller.new_master_key();
    controller.process.kill();
    controller.restart().await;
    let api = operator(&controller).await;
    let waiting = wait_for("the replica to be named", Duration::from_mins(1) * SLACK, async || {
        let jobs = api.platform().list_jobs(ListJobsRequest {}).await.unwrap().into_inner().jobs;
        let job = jobs.into_iter().find(|job| job.name == "vault.rotate").unwrap();
        job.last_error.contains("does not have it: restart it").then_some(job.last_error)
    })
    .await;
    assert!(waiting.contains(&behind.node_address), "{waiting}");
    let shown = status(&api).await;
    assert!(shown.waits_for.iter().any(|replica| replica.address == behind.node_address), "{shown:?}");
    assert_eq!(shown.keys[0].state(), MasterKeyState::Next);
    assert_eq!(shown.keys[0].sealed_values, 0);
    // What one seals, the other opens.
    let made = api.create("meanwhile", "core").await.project.unwrap().r#ref;
    let known = password(&api_behind, &made).await.unwrap();
    assert_eq!(password(&api, &made).await, Ok(known));

    for file in ["master.key", PREVIOUS_KEY] {
        fs::copy(controller.dir.path().join(file), behind.dir.path().join(file)).unwrap();
    }
    behind.kill_and_restart().await;
    let api_behind = operator(&behind).await;
    wait_for("the old key to be retired", Duration::from_secs(90) * SLACK, async || {
        (keys(&api_behind).await[1] == (MasterKeyState::Retired, 0)).then_some(())
    })
    .await;
    still_open(&api, &projects).await;
    still_open(&api_behind, &projects).await;
}

#[tokio::test]
async fn a_death_in_the_middle_of_the_replacement_loses_nothing() {
    let points = tempfile::tempdir().unwrap();
    let environment = vec![("SUPALOVE_FAILPOINTS".to_owned(), points.path().display().to_string())];
    let mut controller = Controller::start_with(Options { environment, ..Options::default() }).await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let projects = projects(&api, &rows).await;
    let all = keys(&api).await[0].1;
    for (number, point) in
        ["controller.rotation.begun", "controller.rotation.wrapped", "controller.rotation.wrapped_committed"]
            .into_iter()
            .enumerate()
    {
        controller.new_master_key();
        fs::write(points.path().join("armed"), format!("{point} 1 -")).unwrap();
        stop(&mut controller, &rows).await;
        controller.restart().await;
        let limit = Duration::from_secs(30) * SLACK;
        wait_for("the controller to die", limit, async || controller.process.ended()).await;
        assert!(points.path().join("fired").exists(), "{point}");
        fs::remove_file(points.path().join("fired")).unwrap();
        rows.end_leases().await;
        rows.forget_replicas().await;
        controller.restart().await;
        let api = operator(&controller).await;
        wait_for("the old key to be retired", limit, async || {
            let keys = keys(&api).await;
            let rest = keys.iter().skip(1).all(|key| *key == (MasterKeyState::Retired, 0));
            (keys.len() == number + 2 && keys[0] == (MasterKeyState::Current, all) && rest).then_some(())
        })
        .await;
        still_open(&api, &projects).await;
    }
    is_whole(&controller, None);
}

#[tokio::test]
async fn a_sealed_value_opens_in_its_own_place_only() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let request =
        CreateOrganizationRequest { name: "Other".into(), slug: "other".into(), ..Default::default() };
    api.organizations().create_organization(request).await.unwrap();
    let mine = api.create("mine", "core").await.project.unwrap().r#ref;
    let neighbour = api.create("neighbour", "core").await.project.unwrap().r#ref;
    let request =
        CreateProjectRequest { organization: "other".into(), name: "other".into(), ..Default::default() };
    let foreign = api.projects().create_project(request).await.unwrap().into_inner().project.unwrap().r#ref;
    let known = password(&api, &mine).await.unwrap();
    let name = "tenant_db_password";
    let moved = |from: &str, what: &str| {
        format!(
            "UPDATE project_secrets SET sealed = (SELECT sealed FROM project_secrets o WHERE {from})
             WHERE project_ref = '{mine}' AND name = '{name}'{what}"
        )
    };
    for (what, change) in [
        ("of a project", moved(&format!("o.project_ref = '{neighbour}' AND o.name = '{name}'"), "")),
        ("of another organization's", moved(&format!("o.project_ref = '{foreign}' AND o.name = '{name}'"), "")),
        ("of another name", moved(&format!("o.project_ref = '{mine}' AND o.name = 'service_role_key'"), "")),
        (
            "of another version",
            format!("UPDATE project_secrets SET version = version + 1 WHERE project_ref = '{mine}' AND name = '{name}'"),
        ),
        (
            "of a specification",
            format!(
                "UPDATE project_secrets SET sealed = (SELECT sealed FROM project_specs WHERE project_ref = '{mine}' LIMIT 1)
                 WHERE project_ref = '{mine}' AND name = '{name}'"
            ),
        ),
        (
            "of the platform",
            format!(
                "UPDATE project_secrets SET sealed = (SELECT sealed FROM platform_secrets ORDER BY name LIMIT 1)
                 WHERE project_ref = '{mine}' AND name = '{name}'"
            ),
        ),
    ] {
        rows.falsify("CREATE TABLE kept AS TABLE project_secrets").await;
        rows.falsify(&change).await;
        assert_eq!(password(&api, &mine).await, Err(Code::Internal), "{what}");
        rows.falsify(
            "UPDATE project_secrets s SET sealed = k.sealed, version = k.version FROM kept k
             WHERE k.project_ref = s.project_ref AND k.name = s.name; DROP TABLE kept",
        )
        .await;
        assert_eq!(password(&api, &mine).await.as_ref(), Ok(&known), "{what}, taken back");
    }
}
