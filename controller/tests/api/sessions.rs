//! Signing in, refreshing, signing out.

use std::time::Duration;

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

/// Signs in; returns the refresh token and a client with the access token.
async fn session(controller: &Controller) -> (String, Api) {
    let mut api = controller.api();
    let tokens = api.auth().sign_in(sign_in()).await.unwrap().into_inner().tokens.unwrap();
    api.use_token(&tokens.access_token);
    (tokens.refresh_token, api)
}

/// The session has ended, and the audit log says why.
async fn ended_for_reuse(controller: &Controller, session: &Api) {
    let ended = session.auth().get_me(GetMeRequest {}).await.unwrap_err();
    assert_eq!(ended.get_details_error_info().unwrap().reason, "SESSION_ENDED");
    let refreshes = controller.database.rows().await.audited("Refresh").await;
    let reuse: Vec<_> = refreshes.iter().filter(|call| call.outcome == "REFRESH_TOKEN_REUSED").collect();
    assert!(
        matches!(reuse[..], [one] if one.actor.starts_with("usr_") && one.target.starts_with("ses_")),
        "{refreshes:?}"
    );
}

#[tokio::test]
async fn a_refresh_token_works_once_and_a_later_use_ends_the_session() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let (first, session) = session(&controller).await;

    let second = refresh(&api, &first).await.unwrap();
    assert_ne!(second, first);
    let (one, other) = tokio::join!(refresh(&api, &second), refresh(&api, &second));
    let third = one.unwrap();
    assert_eq!(third, other.unwrap(), "two tabs get the same token");
    assert_eq!(refresh(&api, &second).await.unwrap(), third, "a call whose answer was lost can be repeated");
    session.auth().get_me(GetMeRequest {}).await.unwrap();

    controller.database.rows().await.age_refresh_tokens(Duration::from_secs(11)).await;
    let stolen = refresh(&api, &second).await.unwrap_err();
    assert_eq!(stolen.get_details_error_info().unwrap().reason, "REFRESH_TOKEN_INVALID");
    assert_eq!(refresh(&api, &third).await.unwrap_err().code(), Code::Unauthenticated);
    ended_for_reuse(&controller, &session).await;
}

#[tokio::test]
async fn a_thief_who_refreshes_twice_is_noticed_by_the_victims_copy() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let (stolen, victim) = session(&controller).await;
    let second = refresh(&api, &stolen).await.unwrap();
    let third = refresh(&api, &second).await.unwrap();
    assert_eq!(refresh(&api, &stolen).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(refresh(&api, &third).await.unwrap_err().code(), Code::Unauthenticated, "the thief is out");
    ended_for_reuse(&controller, &victim).await;
}

#[tokio::test]
async fn a_session_ends_ninety_days_after_the_sign_in_whatever_is_refreshed() {
    const DAY: Duration = Duration::from_hours(24);
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let (first, _) = session(&controller).await;
    let second = refresh(&api, &first).await.unwrap();
    assert!(rows.session_left().await > DAY * 29);
    rows.age_sessions(DAY * 88).await;
    let third = refresh(&api, &second).await.unwrap();
    let left = rows.session_left().await;
    assert!(left > DAY && left <= DAY * 2, "{left:?}");
    assert_ne!(third, second);
}

#[tokio::test]
async fn a_refresh_token_from_before_tokens_had_numbers_works_once() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    rows.add_unnumbered_session("a-token-of-an-older-controller").await;
    let second = refresh(&api, "a-token-of-an-older-controller").await.unwrap();
    let third = refresh(&api, &second).await.unwrap();
    assert_eq!(
        refresh(&api, "a-token-of-an-older-controller").await.unwrap_err().code(),
        Code::Unauthenticated
    );
    assert_eq!(refresh(&api, &third).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(refresh(&api, "no token").await.unwrap_err().code(), Code::Unauthenticated);
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
