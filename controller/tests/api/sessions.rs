//! Signing in, refreshing, signing out.

use supalove_proto::v1::{
    GetMeRequest, RefreshRequest, RefreshTokenDelivery, SetUpRequest, SignInRequest, SignOutRequest,
};
use supalove_system_tests::{Api, Controller};
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

const EMAIL: &str = "operator@example.com";
const PASSWORD: &str = "correct-horse-battery";

fn sign_in() -> SignInRequest {
    SignInRequest { email: EMAIL.into(), password: PASSWORD.into(), ..Default::default() }
}

async fn refresh(api: &Api, token: &str) -> Result<String, tonic::Status> {
    let answer = api.auth().refresh(RefreshRequest { refresh_token: token.into() }).await?;
    Ok(answer.into_inner().tokens.unwrap().refresh_token)
}

#[tokio::test]
async fn the_setup_token_works_once() {
    let controller = Controller::start().await;
    let token = std::fs::read_to_string(controller.dir.path().join("setup-token")).unwrap();
    let api = controller.api();
    let request = |token: &str| SetUpRequest {
        setup_token: token.into(),
        email: EMAIL.into(),
        password: PASSWORD.into(),
        ..Default::default()
    };
    let wrong = api.auth().set_up(request("wrong")).await.unwrap_err();
    assert_eq!(wrong.get_details_error_info().unwrap().reason, "SETUP_TOKEN_INVALID");
    let user = api.auth().set_up(request(token.trim())).await.unwrap().into_inner().user.unwrap();
    assert!(user.operator);
    let again = api.auth().set_up(request(token.trim())).await.unwrap_err();
    assert_eq!(again.get_details_error_info().unwrap().reason, "SETUP_TOKEN_INVALID");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_get_the_same_answer() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let wrong = api
        .auth()
        .sign_in(SignInRequest { password: "wrong-password".into(), ..sign_in() })
        .await
        .unwrap_err();
    let unknown = SignInRequest { email: "nobody@example.com".into(), ..sign_in() };
    let unknown = api.auth().sign_in(unknown).await.unwrap_err();
    assert_eq!((wrong.code(), wrong.message()), (Code::Unauthenticated, unknown.message()));
    let malformed = SignInRequest { email: "nobody".into(), ..sign_in() };
    let malformed = api.auth().sign_in(malformed).await.unwrap_err();
    assert_eq!(malformed.get_details_bad_request().unwrap().field_violations[0].field, "email");
}

#[tokio::test]
async fn a_refresh_token_works_once_and_its_second_use_ends_the_session() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let mut session = controller.api();
    let tokens = api.auth().sign_in(sign_in()).await.unwrap().into_inner().tokens.unwrap();
    session.use_token(&tokens.access_token);

    let second = refresh(&api, &tokens.refresh_token).await.unwrap();
    assert_ne!(second, tokens.refresh_token);
    session.auth().get_me(GetMeRequest {}).await.unwrap();

    let stolen = refresh(&api, &tokens.refresh_token).await.unwrap_err();
    assert_eq!(stolen.get_details_error_info().unwrap().reason, "REFRESH_TOKEN_INVALID");
    assert_eq!(refresh(&api, &second).await.unwrap_err().code(), Code::Unauthenticated);
    let ended = session.auth().get_me(GetMeRequest {}).await.unwrap_err();
    assert_eq!(ended.get_details_error_info().unwrap().reason, "SESSION_ENDED");
}

#[tokio::test]
async fn signing_out_works_at_once_and_only_for_this_session() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let mut other = controller.api();
    other.sign_in(EMAIL).await;
    other.auth().sign_out(SignOutRequest {}).await.unwrap();
    assert_eq!(other.auth().get_me(GetMeRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(api.auth().get_me(GetMeRequest {}).await.unwrap().into_inner().user.unwrap().email, EMAIL);
}

#[tokio::test]
async fn a_browser_gets_its_refresh_token_in_a_cookie_that_scripts_cannot_read() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let request = SignInRequest { refresh_token_delivery: RefreshTokenDelivery::Cookie.into(), ..sign_in() };
    let answer = api.auth().sign_in(request).await.unwrap();
    let cookie = answer.metadata().get("set-cookie").unwrap().to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("Secure"), "loopback has no TLS");
    assert_eq!(answer.into_inner().tokens.unwrap().refresh_token, "");

    let mut refresh = Request::new(RefreshRequest::default());
    let pair = cookie.split(';').next().unwrap();
    refresh.metadata_mut().insert("cookie", format!("theme=dark; {pair}").parse().unwrap());
    let answer = api.auth().refresh(refresh).await.unwrap();
    assert!(answer.metadata().get("set-cookie").is_some());
    assert_eq!(answer.into_inner().tokens.unwrap().refresh_token, "");
}
