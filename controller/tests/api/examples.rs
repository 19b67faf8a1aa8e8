//! The examples of the SDKs, run as they stand. Those of the READMEs, which need a node, are run by `fleet/examples.rs`.

use std::{path::Path, time::Duration};

use supalove_system_tests::{Controller, EMAIL, SLACK, client, example, lines_of, root, wait_for, with_user};
use tokio::process::Command;

/// For one example.
const LIMIT: Duration = Duration::from_mins(1);

/// An example of an SDK, by its name.
fn program(language: &str, name: &str) -> Command {
    let script = |ending: &str| root().join(format!("sdk/{language}/examples/{name}.{ending}"));
    let interpreted = |program: &Path, script: &Path| {
        let mut command = Command::new(program);
        command.arg(script);
        command
    };
    match language {
        "rust" => Command::new(example(name)),
        "typescript" => interpreted(Path::new("node"), &script("mjs")),
        _ => interpreted(&client("venv/bin/python"), &script("py")),
    }
}

/// What an example prints, in this folder. It must end with 0, in time.
async fn run(controller: &Controller, folder: &Path, language: &str, name: &str) -> Vec<String> {
    let mut command = with_user(program(language, name), controller);
    command.env("SUPALOVE_INVITED", invited(language)).current_dir(folder);
    let mut lines = lines_of(command);
    let mut printed = Vec::new();
    let ended = async {
        while let Some(line) = lines.recv().await {
            printed.push(line);
        }
    };
    let in_time = tokio::time::timeout(LIMIT, ended).await.is_ok();
    assert!(in_time, "{name} in {language} does not end: {printed:#?}");
    assert_eq!(printed.pop().unwrap(), "ended with 0", "{name} in {language}: {printed:#?}");
    printed
}

fn invited(language: &str) -> String {
    format!("{language}@example.com")
}

fn assert_has(printed: &[String], lines: &[String], what: &str) {
    for line in lines {
        assert!(printed.contains(line), "{what}: no {line:?} in {printed:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_an_sdk_does_what_it_says() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let acme = rows.organization_id("acme").await;
    for language in ["rust", "typescript", "python"] {
        let folder = tempfile::tempdir().unwrap();
        let printed = run(&controller, folder.path(), language, "account").await;
        let expected = [
            "signed in from 127.0.0.1, this one",
            "signed in from 127.0.0.1",
            "ended a session",
            &format!("a token reads as {EMAIL}"),
            "revoked it",
        ];
        assert_has(&printed, &expected.map(str::to_owned), language);

        let printed = run(&controller, folder.path(), language, "invitation").await;
        let address = invited(language);
        let expected = [
            format!("operator invites {address}"),
            format!("{address} has signed up"),
            format!("{address} is ROLE_DEVELOPER"),
            format!("{EMAIL} is ROLE_OWNER"),
        ];
        assert_has(&printed, &expected, language);

        let printed = run(&controller, folder.path(), language, "entitlements").await;
        let expected =
            ["the plan is premium", "ENTITLEMENT_PROJECTS: 100, 0 in use", "pro costs 2500 cents a month"];
        assert_has(&printed, &expected.map(str::to_owned), language);

        // Something to be refused: the invited developer may not rename the organization.
        refused_rename(&controller, &address).await;
        // An export has only rows that are chained.
        wait_for("the rows to be chained", Duration::from_secs(5) * SLACK, async || {
            (rows.audit_chain_of(acme).await.2 == 0).then_some(())
        })
        .await;
        let printed = run(&controller, folder.path(), language, "audit").await;
        let refused =
            printed.iter().filter(|line| line.contains("was refused") && line.contains("UpdateOrganization"));
        assert!(refused.count() > 0, "{language}: {printed:#?}");
        let saved = std::fs::read_to_string(folder.path().join("audit.csv")).unwrap();
        assert!(saved.lines().count() > 4 && saved.contains("CreateInvitation"), "{language}: {saved}");
    }
    // The session that an example ends is its own.
    api.auth().get_me(supalove_proto::v1::GetMeRequest {}).await.unwrap();
}

async fn refused_rename(controller: &Controller, email: &str) {
    let rows = controller.database.rows().await;
    rows.give_operators_password(email).await;
    let mut developer = controller.api();
    developer.sign_in(email).await;
    let rename = supalove_proto::v1::UpdateOrganizationRequest {
        organization: "acme".into(),
        name: "Mine".into(),
        ..Default::default()
    };
    developer.organizations().update_organization(rename).await.unwrap_err();
}
