//! Personal access tokens: how long they work, what they are told when they do not, and how many there may be. What each
//! scope allows is in the authorization table.

use std::time::Duration;

use supalove_proto::v1::{
    CreatePersonalAccessTokenRequest, ErrorReason, GetMeRequest, ListPersonalAccessTokensRequest,
    PersonalAccessToken, PersonalAccessTokenScope as Scope, RevokePersonalAccessTokenRequest, WatchRequest,
    WatchResponse, WatchSubscription, watch_response::Message, watch_subscription::Stream,
};
use supalove_system_tests::{Api, Controller, SLACK, wait_for};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

const DAY: i64 = 24 * 3600;

fn request(name: &str, scopes: &[i32], days: Option<i64>) -> CreatePersonalAccessTokenRequest {
    let ttl = days.map(|days| prost_types::Duration { seconds: days * DAY, nanos: 0 });
    CreatePersonalAccessTokenRequest { name: name.into(), scopes: scopes.into(), ttl }
}

async fn create(
    api: &Api,
    request: CreatePersonalAccessTokenRequest,
) -> Result<(String, PersonalAccessToken), Status> {
    let created = api.personal_access_tokens().create_personal_access_token(request).await?.into_inner();
    Ok((created.token, created.personal_access_token.unwrap()))
}

async fn list(api: &Api) -> Vec<PersonalAccessToken> {
    let request = ListPersonalAccessTokensRequest {};
    let listed = api.personal_access_tokens().list_personal_access_tokens(request).await.unwrap();
    listed.into_inner().personal_access_tokens
}

async fn revoke(api: &Api, id: &str) -> Result<(), Status> {
    let request = RevokePersonalAccessTokenRequest { personal_access_token_id: id.into() };
    api.personal_access_tokens().revoke_personal_access_token(request).await.map(|_| ())
}

fn with(controller: &Controller, token: &str) -> Api {
    let mut api = controller.api();
    api.use_token(token);
    api
}

async fn email_of(api: &Api) -> Result<String, Status> {
    Ok(api.auth().get_me(GetMeRequest {}).await?.into_inner().user.unwrap().email)
}

fn reason(refused: &Status) -> String {
    refused.get_details_error_info().unwrap().reason
}

/// Why a watch ends.
async fn end_of(watched: &mut Streaming<WatchResponse>) -> String {
    let ended = tokio::time::timeout(Duration::from_secs(15) * SLACK, async {
        loop {
            match watched.message().await {
                Ok(message) => drop(message.expect("it ends with an error")),
                Err(status) => return reason(&status),
            }
        }
    });
    ended.await.unwrap()
}

#[tokio::test]
async fn a_token_acts_as_its_user_until_it_is_revoked() {
    let controller = Controller::start().await;
    let user = controller.operator().await;
    let (token, shown) = create(&user, request(" ci ", &[Scope::Projects.into()], None)).await.unwrap();
    assert!(token.starts_with("sbp_") && token.len() == 44, "{token}");
    assert_eq!(shown.name, "ci");
    assert_eq!(shown.scopes, [i32::from(Scope::Read), Scope::Projects.into()]);
    let life = shown.expire_time.unwrap().seconds - shown.create_time.unwrap().seconds;
    assert_eq!((life, shown.last_use_time), (90 * DAY, None));

    let program = with(&controller, &token);
    assert_eq!(email_of(&program).await.unwrap(), "operator@example.com");
    wait_for("its use to be written down", Duration::from_secs(10) * SLACK, async || {
        let listed = list(&user).await;
        assert!(matches!(&listed[..], [one] if one.id == shown.id), "{listed:?}");
        listed[0].last_use_time
    })
    .await;
    let made = controller.database.rows().await.audited("CreatePersonalAccessToken").await;
    assert!(made[0].target.starts_with(&format!("{} READ,PROJECTS until 2", shown.id)), "{made:?}");
    let stream = Some(Stream::Organization("acme".into()));
    let subscriptions = vec![WatchSubscription { stream, after_seq: None }];
    let mut watched = program.watches().watch(WatchRequest { subscriptions }).await.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();

    controller.database.rows().await.add_user("other@example.com").await;
    let mut other = controller.api();
    other.sign_in("other@example.com").await;
    assert_eq!(revoke(&other, &shown.id).await.unwrap_err().code(), Code::NotFound, "another user's");
    assert_eq!(revoke(&program, &shown.id).await.unwrap_err().code(), Code::PermissionDenied);
    let refused = controller.database.rows().await.audited("RevokePersonalAccessToken").await;
    let by_token = refused.iter().filter(|call| call.actor.ends_with(&format!(" {}", shown.id)));
    assert_eq!(by_token.count(), 1, "the token is named beside its user: {refused:?}");
    assert_eq!(email_of(&program).await.unwrap(), "operator@example.com");

    revoke(&user, &shown.id).await.unwrap();
    assert_eq!(reason(&email_of(&program).await.unwrap_err()), "ACCESS_TOKEN_INVALID");
    // It is asked for again at every keep-alive.
    assert_eq!(end_of(&mut watched).await, "ACCESS_TOKEN_INVALID");
    assert!(list(&user).await.is_empty());
    assert_eq!(revoke(&user, &shown.id).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn an_expired_token_is_told_so() {
    let controller = Controller::start().await;
    let user = controller.operator().await;
    let (token, _) = create(&user, request("short", &[Scope::Read.into()], Some(1))).await.unwrap();
    let program = with(&controller, &token);
    email_of(&program).await.unwrap();
    let stream = Some(Stream::Organization("acme".into()));
    let subscriptions = vec![WatchSubscription { stream, after_seq: None }];
    let mut watched = program.watches().watch(WatchRequest { subscriptions }).await.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();
    controller.database.rows().await.age_personal_access_tokens(Duration::from_hours(25)).await;
    assert_eq!(reason(&email_of(&program).await.unwrap_err()), "ACCESS_TOKEN_EXPIRED");
    assert!(list(&user).await.is_empty(), "only those that work are shown");
    assert_eq!(end_of(&mut watched).await, "ACCESS_TOKEN_INVALID");
    let unknown = with(&controller, &format!("sbp_{}", "0".repeat(40)));
    assert_eq!(reason(&email_of(&unknown).await.unwrap_err()), "ACCESS_TOKEN_INVALID");
    let cut = with(&controller, &token[..43]);
    assert_eq!(reason(&email_of(&cut).await.unwrap_err()), "ACCESS_TOKEN_INVALID");
}

#[tokio::test]
async fn wrong_fields_of_a_token_are_named() {
    let controller = Controller::start().await;
    let user = controller.operator().await;
    let read = i32::from(Scope::Read);
    for (wrong, field) in [
        (request("", &[read], None), "name"),
        (request("x", &[], None), "scopes"),
        (request("x", &[read, 0], None), "scopes"),
        (request("x", &[read, 99], None), "scopes"),
        (request("x", &[read], Some(0)), "ttl"),
        (request("x", &[read], Some(-1)), "ttl"),
        (
            CreatePersonalAccessTokenRequest {
                ttl: Some(prost_types::Duration { seconds: 59, nanos: 0 }),
                ..request("x", &[read], None)
            },
            "ttl",
        ),
        (request("x", &[read], Some(367)), "ttl"),
    ] {
        let refused = create(&user, wrong).await.unwrap_err();
        assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, field);
    }
    assert!(list(&user).await.is_empty());
}

#[tokio::test]
async fn a_watch_shows_a_token_only_what_its_scopes_allow() {
    let controller = Controller::start().await;
    let user = controller.operator().await;
    let id = uuid::Uuid::from_u128(1);
    let [root, token] = [2, 3].map(uuid::Uuid::from_u128);
    controller.database.rows().await.add_bare_node_root_and_token(id, root, token).await;
    let stream = Some(Stream::NodeId(format!("nod_{}", id.simple())));
    let subscriptions = vec![WatchSubscription { stream, after_seq: None }];
    for (scope, allowed) in [(Scope::Read, false), (Scope::Platform, true)] {
        let (token, _) = create(&user, request("watches", &[scope.into()], None)).await.unwrap();
        let program = with(&controller, &token);
        let request = WatchRequest { subscriptions: subscriptions.clone() };
        let watched = program.watches().watch(request).await;
        let first = match watched {
            Ok(answer) => answer.into_inner().message().await.map(Option::unwrap),
            Err(refused) => Err(refused),
        };
        match first {
            Ok(WatchResponse { message: Some(Message::Snapshot(_)), .. }) => assert!(allowed),
            Ok(WatchResponse { message: Some(Message::End(end)), .. }) => {
                assert_eq!((allowed, end.reason()), (false, ErrorReason::PermissionDenied));
            }
            Err(refused) => assert_eq!((allowed, refused.code()), (false, Code::PermissionDenied)),
            other => panic!("{other:?}"),
        }
    }
}

/// Its session was there when the call began, and has ended when its turn comes.
#[tokio::test]
async fn a_session_that_ends_while_a_create_waits_leaves_no_token() {
    let controller = Controller::start().await;
    let user = controller.operator().await;
    let rows = controller.database.rows().await;
    let mut thief = controller.api();
    thief.sign_in("operator@example.com").await;
    let change = rows.change_password("operator@example.com").await;
    let waiting = tokio::spawn({
        let thief = thief.clone();
        async move { create(&thief, request("mine", &[1], None)).await }
    });
    wait_for("the create to wait for the change", Duration::from_secs(10) * SLACK, async || {
        rows.is_an_account_waiting().await.then_some(())
    })
    .await;
    rows.end_newest_session().await;
    change.commit().await.unwrap();
    assert_eq!(reason(&waiting.await.unwrap().unwrap_err()), "SESSION_ENDED");
    assert!(list(&user).await.is_empty());
}

#[tokio::test]
async fn a_user_has_fifty_tokens_at_most_however_they_are_made() {
    let controller = Controller::start().await;
    let user = controller.operator().await;
    let made = (0..60).map(|number| create(&user, request(&format!("n{number}"), &[1], None)));
    let made = futures::future::join_all(made).await;
    let refused: Vec<&Status> = made.iter().filter_map(|made| made.as_ref().err()).collect();
    assert_eq!(refused.len(), 10, "{refused:?}");
    assert!(refused.iter().all(|refused| reason(refused) == "QUOTA_EXCEEDED"), "{refused:?}");
    let listed = list(&user).await;
    assert_eq!(listed.len(), 50);
    revoke(&user, &listed[0].id).await.unwrap();
    create(&user, request("one more", &[1], None)).await.unwrap();
}
