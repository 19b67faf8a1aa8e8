//! Reflection, as grpcurl uses it: what the port serves, in both versions, and the error details.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use supalove_system_tests::{Api, Controller, SLACK, wait_for};
use tonic_reflection::pb::{v1, v1alpha};

/// The services that reflection v1 lists.
async fn services_v1(api: &Api) -> Vec<String> {
    use v1::{server_reflection_request::MessageRequest, server_reflection_response::MessageResponse};
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(api.channel.clone());
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = v1::ServerReflectionRequest { host: String::new(), message_request };
    let mut answers = client.server_reflection_info(stream::iter([request])).await.unwrap().into_inner();
    match answers.next().await.unwrap().unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => list.service.into_iter().map(|s| s.name).collect(),
        other => panic!("{other:?}"),
    }
}

/// Whether reflection v1alpha has a symbol.
async fn knows_v1alpha(api: &Api, symbol: &str) -> bool {
    use v1alpha::{server_reflection_request::MessageRequest, server_reflection_response::MessageResponse};
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(api.channel.clone());
    let message_request = Some(MessageRequest::FileContainingSymbol(symbol.to_owned()));
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request };
    let answer = client.server_reflection_info(stream::iter([request])).await;
    let Ok(answers) = answer else { return false };
    let response = answers.into_inner().next().await.and_then(Result::ok).and_then(|r| r.message_response);
    matches!(response, Some(MessageResponse::FileDescriptorResponse(_)))
}

#[tokio::test]
async fn reflection_shows_the_public_services_and_the_error_details() {
    let controller = Controller::start().await;
    let api = controller.api();
    let services = services_v1(&api).await;
    for public in ["supalove.v1.AuthService", "supalove.v1.ProjectService", "grpc.health.v1.Health"] {
        assert!(services.iter().any(|s| s == public), "{services:?}");
    }
    assert!(
        !services.iter().any(|s| s.starts_with("supalove.node")),
        "agents are not reached here: {services:?}"
    );
    assert!(knows_v1alpha(&api, "supalove.v1.ProjectService").await);
    assert!(knows_v1alpha(&api, "google.rpc.BadRequest").await);
    assert!(!knows_v1alpha(&api, "supalove.v1.NoService").await);
}

#[tokio::test]
async fn a_json_post_is_told_what_listens_here() {
    let controller = Controller::start().await;
    let address = format!("http://127.0.0.1:{}", controller.public_port);
    let http = reqwest::Client::new();
    let method = format!("{address}/supalove.v1.AuthService/GetMe");
    let json = http.post(&method).header("content-type", "application/json").body("{}").send().await.unwrap();
    assert_eq!(json.status(), 415);
    assert!(json.text().await.unwrap().contains("grpcurl"));
    wait_for("health", Duration::from_secs(5) * SLACK, async || {
        let health = http.get(format!("{address}/healthz")).send().await.unwrap();
        (health.text().await.unwrap() == "ok\n").then_some(())
    })
    .await;

    let call = http.post(&method).header("content-type", "application/grpc-web+proto").body(vec![0; 5]);
    let answer = call.send().await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "16");
    assert_eq!(answer.headers()["supalove-version"], env!("CARGO_PKG_VERSION"), "a refusal tells it, too");
}
