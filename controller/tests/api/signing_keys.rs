//! The keys of access tokens: the public set, their replacement with and without notice, and what forgers try.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use supalove_proto::v1::{GetMeRequest, RefreshRequest, RotateSigningKeyRequest, SignInRequest};
use supalove_system_tests::{Api, Controller, PASSWORD, SLACK, Server, wait_for};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// How long other replicas take to learn a key, by a hint.
const LEARNED: Duration = Duration::from_secs(1);

fn key_set(controller: &Controller) -> Vec<Value> {
    let server = Server::new(&format!("http://127.0.0.1:{}", controller.public_port));
    let answer = server.get("/.well-known/jwks.json", &[]);
    assert_eq!(answer.status, 200);
    let set: Value = serde_json::from_slice(&answer.body).unwrap();
    set["keys"].as_array().unwrap().clone()
}

fn ids(controller: &Controller) -> Vec<String> {
    key_set(controller).iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn header(token: &str) -> Value {
    let part = token.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

async fn rotate(api: &Api, at_once: bool) -> String {
    let request = RotateSigningKeyRequest { at_once };
    api.auth().rotate_signing_key(request).await.unwrap().into_inner().key_id
}

async fn get_me(controller: &Controller, token: &str) -> Result<(), Status> {
    let mut api = controller.api();
    api.use_token(token);
    api.auth().get_me(GetMeRequest {}).await.map(|_| ())
}

fn reason(refused: &Status) -> String {
    refused.get_details_error_info().unwrap().reason
}

/// Access and refresh token of a new session.
async fn tokens(controller: &Controller) -> (String, String) {
    let request = SignInRequest {
        email: "operator@example.com".into(),
        password: PASSWORD.into(),
        ..Default::default()
    };
    let tokens = controller.api().auth().sign_in(request).await.unwrap().into_inner().tokens.unwrap();
    (tokens.access_token, tokens.refresh_token)
}

#[tokio::test]
async fn the_next_key_is_known_before_it_signs_and_a_key_in_wrong_hands_is_replaced_at_once() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let replica = controller.replica().await;
    let first = ids(&controller);
    let [key] = &key_set(&controller)[..] else { panic!("one key") };
    assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA")));
    assert_eq!(header(&operator.token)["kid"], key["kid"]);

    // With notice: it is known everywhere, and does not sign yet.
    let next = rotate(&operator, false).await;
    wait_for("the replica to know the next key", LEARNED * SLACK, async || {
        ids(&replica).contains(&next).then_some(())
    })
    .await;
    let (access, refresh) = tokens(&controller).await;
    assert_eq!(header(&access)["kid"], first[0].as_str());
    for controller in [&controller, &replica] {
        get_me(controller, &access).await.unwrap();
    }

    // At once: tokens of the other keys end on each replica, sessions do not.
    let urgent = rotate(&operator, true).await;
    assert_eq!(ids(&controller), std::slice::from_ref(&urgent));
    assert_eq!(reason(&get_me(&controller, &access).await.unwrap_err()), "ACCESS_TOKEN_EXPIRED");
    wait_for("the replica to refuse the old key", LEARNED * SLACK, async || {
        get_me(&replica, &access).await.err().filter(|refused| reason(refused) == "ACCESS_TOKEN_EXPIRED")
    })
    .await;
    let request = RefreshRequest { refresh_token: refresh };
    let renewed = replica.api().auth().refresh(request).await.unwrap().into_inner().tokens.unwrap();
    assert_eq!(header(&renewed.access_token)["kid"], urgent.as_str());
    get_me(&controller, &renewed.access_token).await.unwrap();
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let (head, rest) = operator.token.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let kid = header(&operator.token)["kid"].clone();
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = encoded(&json!({"alg": "none", "typ": "JWT", "kid": kid}));
    let symmetric = encoded(&json!({"alg": "HS256", "typ": "JWT", "kid": kid}));
    let public = URL_SAFE_NO_PAD.decode(key_set(&controller)[0]["x"].as_str().unwrap()).unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &public);
    let mac = aws_lc_rs::hmac::sign(&key, format!("{symmetric}.{claims}").as_bytes());
    let unknown = encoded(&json!({"alg": "EdDSA", "typ": "JWT", "kid": "another"}));
    for (forged, why) in [
        (format!("{none}.{claims}."), "ACCESS_TOKEN_INVALID"),
        (format!("{none}.{claims}.{signature}"), "ACCESS_TOKEN_INVALID"),
        (format!("{symmetric}.{claims}.{}", URL_SAFE_NO_PAD.encode(mac)), "ACCESS_TOKEN_INVALID"),
        (format!("{head}.{}.{signature}", encoded(&json!({"sid": "x"}))), "ACCESS_TOKEN_INVALID"),
        (format!("{unknown}.{claims}.{signature}"), "ACCESS_TOKEN_EXPIRED"),
        ("no token".to_owned(), "ACCESS_TOKEN_INVALID"),
    ] {
        let refused = get_me(&controller, &forged).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, why), "{forged}");
    }
    get_me(&controller, &operator.token).await.unwrap();
}
