//! A project whose image is in a private registry: without credentials, with wrong ones and with right ones; and the password is on no
//! disk and in no log.

use std::{
    process::Command,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse as _, Response},
};
use supalove_proto::v1::{OperationError, OperationState, SetRegistryCredentialsRequest};
use supalove_system_tests::{Agent, Api, Controller, Options, copy_core, core_image};

const PASSWORD: &str = "canary-55d1c0";
/// "puller" and the password, as a header has them.
const BASIC: &str = "Basic cHVsbGVyOmNhbmFyeS01NWQxYzA=";

/// A fake registry, private and without images. Engines take registries on loopback without TLS.
async fn private_registry() -> (String, Arc<Mutex<Vec<String>>>) {
    let given = Arc::<Mutex<Vec<String>>>::default();
    let noted = given.clone();
    let answer = move |headers: HeaderMap| {
        let header =
            headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        noted.lock().unwrap().push(header.clone());
        async move { answer(&header) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    (address, given)
}

fn answer(given: &str) -> Response {
    let (status, code, message) = if given == BASIC {
        (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown")
    } else {
        (StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required")
    };
    let error = serde_json::json!({"errors": [{"code": code, "message": message}]}).to_string();
    let headers = [
        ("docker-distribution-api-version", "registry/2.0"),
        ("content-type", "application/json"),
        ("www-authenticate", "Basic realm=\"test\""),
    ];
    (status, headers, error).into_response()
}

/// How the create of a project ends.
async fn fails(api: &Api, name: &str) -> OperationError {
    let created = api.create(name, "private").await;
    let operation = api.wait(&created.operation.unwrap().id).await;
    assert_eq!(operation.state(), OperationState::Failed, "{operation:#?}");
    api.delete(&created.project.unwrap().r#ref, 0).await;
    operation.error.unwrap()
}

async fn set(api: &Api, registry: &str, password: &str) {
    let request = SetRegistryCredentialsRequest {
        cluster: "default".into(),
        registry: registry.into(),
        username: "puller".into(),
        password: password.into(),
    };
    api.registries().set_registry_credentials(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_a_private_registry_is_pulled_with_the_credentials_of_the_cluster() {
    let (registry, given) = private_registry().await;
    let image = format!("{registry}/team/functions:1");
    let releases = tempfile::tempdir().unwrap();
    copy_core(releases.path(), "private", |yaml| yaml.replacen(&core_image("functions"), &image, 1));
    let arguments = vec!["--releases-dir".to_owned(), releases.path().display().to_string()];
    let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.operator().await;
    let agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;

    let none = fails(&api, "none").await;
    assert_eq!((none.reason.as_str(), none.service.as_str()), ("IMAGE_REGISTRY_REFUSED", "functions"));
    for words in [registry.as_str(), "a pull without credentials", "supalove clusters registries set"] {
        assert!(none.message.contains(words), "{}", none.message);
    }
    set(&api, &registry, "a wrong one").await;
    let wrong = fails(&api, "wrong").await;
    assert_eq!(wrong.reason, "IMAGE_REGISTRY_REFUSED");
    assert!(wrong.message.contains("puller") && !wrong.message.contains("a wrong one"), "{}", wrong.message);
    assert!(!given.lock().unwrap().iter().any(|header| header == BASIC));

    // The right ones get in, and find that the image is not there.
    set(&api, &registry, PASSWORD).await;
    let right = fails(&api, "right").await;
    assert_eq!(right.reason, "IMAGE_NOT_FOUND", "{}", right.message);
    assert!(given.lock().unwrap().iter().any(|header| header == BASIC));

    for log in [controller.process.log(), agent.process.log()] {
        assert!(!log.contains(PASSWORD) && !log.contains(&BASIC[6..]));
    }
    let found = Command::new("grep").args(["-rl", "--", PASSWORD]).arg(agent.state.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "no file of the agent has it");
}
