//! A user's own account: name, password, sessions.

use std::time::Duration;

use supalove_proto::v1::{
    ChangePasswordRequest, EndOtherSessionsRequest, EndSessionRequest, GetMeRequest, ListSessionsRequest,
    RefreshRequest, Session, SetUpRequest, SignInRequest, UpdateMeRequest,
};
use supalove_system_tests::{Api, Controller, PASSWORD, SLACK, wait_for};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const EMAIL: &str = "operator@example.com";
const NEW: &str = "staple-tractor-violin";

async fn sessions(api: &Api) -> Vec<Session> {
    api.auth().list_sessions(ListSessionsRequest {}).await.unwrap().into_inner().sessions
}

async fn signed_in(controller: &Controller, email: &str) -> Api {
    let mut api = controller.api();
    api.sign_in(email).await;
    api
}

async fn sign_in(api: &Api, password: &str) -> Result<String, Status> {
    let request = SignInRequest { email: EMAIL.into(), password: password.into(), ..Default::default() };
    Ok(api.auth().sign_in(request).await?.into_inner().tokens.unwrap().refresh_token)
}

async fn change(api: &Api, present: &str, new: &str) -> Result<u32, Status> {
    let request = ChangePasswordRequest { current_password: present.into(), new_password: new.into() };
    Ok(api.auth().change_password(request).await?.into_inner().sessions_ended)
}

async fn end(api: &Api, session_id: &str) -> Result<(), Status> {
    let request = EndSessionRequest { session_id: session_id.into() };
    api.auth().end_session(request).await.map(|_| ())
}

/// Why a session's call is refused; `None` while the session lives.
async fn ended(api: &Api) -> Option<String> {
    let refused = api.auth().get_me(GetMeRequest {}).await.err()?;
    Some(refused.get_details_error_info().unwrap().reason)
}

fn wrong_field(refused: &Status) -> (String, String) {
    let violation = refused.get_details_bad_request().unwrap().field_violations.remove(0);
    (violation.field, violation.description)
}

#[tokio::test]
async fn users_see_their_own_sessions_and_end_one_or_all_others() {
    let controller = Controller::start().await;
    let first = controller.operator().await;
    let second = signed_in(&controller, EMAIL).await;
    let refresh_token = sign_in(&first, PASSWORD).await.unwrap();
    controller.database.rows().await.add_user("other@example.com").await;
    let other = signed_in(&controller, "other@example.com").await;

    let listed = sessions(&second).await;
    let current: Vec<bool> = listed.iter().map(|session| session.current).collect();
    assert_eq!(current, [false, true, false], "newest first, and not those of others: {listed:#?}");
    for session in &listed {
        assert_eq!(session.client_address, "127.0.0.1");
        assert!(session.user_agent.starts_with("tonic/"), "{session:?}");
        assert!(session.create_time.is_some() && session.refresh_time.is_some());
        assert!(session.expire_time.unwrap().seconds > session.create_time.unwrap().seconds);
    }

    assert_eq!(end(&other, &listed[0].id).await.unwrap_err().code(), Code::NotFound, "another user's");
    let malformed = end(&other, "ses_1").await.unwrap_err();
    assert_eq!(wrong_field(&malformed).0, "session_id");
    end(&second, &listed[0].id).await.unwrap();
    assert_eq!(end(&second, &listed[0].id).await.unwrap_err().code(), Code::NotFound, "it has ended");
    let refused = first.auth().refresh(RefreshRequest { refresh_token }).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(sessions(&second).await.len(), 2);

    let others = second.auth().end_other_sessions(EndOtherSessionsRequest {}).await.unwrap().into_inner();
    assert_eq!(others.sessions_ended, 1);
    assert_eq!(ended(&first).await.as_deref(), Some("SESSION_ENDED"));
    assert_eq!(ended(&second).await, None);
    assert_eq!(ended(&other).await, None);
    let left = sessions(&second).await;
    assert!(matches!(&left[..], [only] if only.current), "{left:?}");
}

#[tokio::test]
async fn a_new_password_needs_the_old_one_and_ends_the_other_sessions() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let elsewhere = signed_in(&controller, EMAIL).await;

    let refused = change(&api, "not-the-password", NEW).await.unwrap_err();
    assert_eq!(wrong_field(&refused), ("current_password".into(), "is wrong".into()));
    for (poor, why) in
        [("short", "must have at least"), ("password1234", "is easy to guess"), (EMAIL, "is easy")]
    {
        let (field, description) = wrong_field(&change(&api, PASSWORD, poor).await.unwrap_err());
        assert_eq!(field, "new_password");
        assert!(description.starts_with(why), "{poor}: {description}");
    }
    assert_eq!(ended(&elsewhere).await, None, "what is refused ends nothing");

    assert_eq!(change(&api, PASSWORD, NEW).await.unwrap(), 1);
    assert_eq!(ended(&elsewhere).await.as_deref(), Some("SESSION_ENDED"));
    assert_eq!(ended(&api).await, None);
    assert_eq!(sign_in(&api, PASSWORD).await.unwrap_err().code(), Code::Unauthenticated);
    sign_in(&api, NEW).await.unwrap();
    let changes = controller.database.rows().await.audited("ChangePassword").await;
    let outcomes: Vec<&str> = changes.iter().map(|change| change.outcome.as_str()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "OK").count(), 1, "{outcomes:?}");
}

#[tokio::test]
async fn a_sign_in_with_the_old_password_that_overlaps_its_change_begins_no_session() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let change = rows.change_password(EMAIL).await;
    let mut overlapping = tokio::spawn({
        let api = api.clone();
        async move { sign_in(&api, PASSWORD).await }
    });
    wait_for("the sign-in to wait for the change", Duration::from_secs(10) * SLACK, async || {
        rows.is_a_sign_in_waiting().await.then_some(())
    })
    .await;
    assert!(!overlapping.is_finished());
    change.commit().await.unwrap();
    let refused = (&mut overlapping).await.unwrap().unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, "BAD_CREDENTIALS");
    assert_eq!(sessions(&api).await.len(), 1);
}

#[tokio::test]
async fn of_two_changes_of_a_password_at_once_one_wins_and_its_password_is_the_one_that_works() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let passwords = ["staple-tractor-violin", "lantern-gravel-orchid"];
    let [one, other] = passwords.map(|new| change(&api, PASSWORD, new));
    let (one, other) = tokio::join!(one, other);
    let (won, lost) = match (one, other) {
        (Ok(_), Err(refused)) => (0, refused),
        (Err(refused), Ok(_)) => (1, refused),
        both => panic!("{both:?}"),
    };
    // It came before or after the other one's commit.
    assert!(matches!(lost.code(), Code::Aborted | Code::InvalidArgument), "{lost:?}");
    sign_in(&api, passwords[won]).await.unwrap();
    sign_in(&api, passwords[1 - won]).await.unwrap_err();
}

#[tokio::test]
async fn a_user_is_renamed() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rename = async |name: &str| {
        api.auth().update_me(UpdateMeRequest { display_name: name.into(), ..Default::default() }).await
    };
    let renamed = rename(" Ada Lovelace ").await.unwrap().into_inner().user.unwrap();
    assert_eq!(renamed.display_name, "Ada Lovelace");
    for wrong in ["", " ", "a\u{7}b", &"x".repeat(81)] {
        assert_eq!(wrong_field(&rename(wrong).await.unwrap_err()).0, "display_name", "{wrong:?}");
    }
    let mask = |path: &str| Some(prost_types::FieldMask { paths: vec![path.into()] });
    let request = UpdateMeRequest { display_name: "x".into(), update_mask: mask("email") };
    assert_eq!(wrong_field(&api.auth().update_me(request).await.unwrap_err()).0, "update_mask");
    let me = api.auth().get_me(GetMeRequest {}).await.unwrap().into_inner().user.unwrap();
    assert_eq!((me.display_name.as_str(), me.email.as_str()), ("Ada Lovelace", EMAIL));
}

#[tokio::test]
async fn an_easy_password_is_refused_at_set_up_and_the_setup_token_stays_good() {
    let controller = Controller::start().await;
    let token = std::fs::read_to_string(controller.dir.path().join("setup-token")).unwrap();
    let api = controller.api();
    let set_up = async |password: &str| {
        let request = SetUpRequest {
            setup_token: token.trim().into(),
            email: EMAIL.into(),
            password: password.into(),
            display_name: "Xkrzzq Bnmpf".into(),
        };
        api.auth().set_up(request).await
    };
    for easy in ["xkrzzqbnmpf", "1234567890", EMAIL] {
        let (field, description) = wrong_field(&set_up(easy).await.unwrap_err());
        assert_eq!(field, "password");
        assert!(description.starts_with("is easy to guess ("), "{easy}: {description}");
    }
    set_up(PASSWORD).await.unwrap();
}
