//! How people come and go: sign-up by a mailed link, invitations, forgotten passwords, new addresses, deleted accounts. Mails go
//! to a real mail server, and the tests follow the links in them.

use std::time::{Duration, Instant};

use supalove_proto::v1::{
    AcceptInvitationRequest, ConfirmEmailChangeRequest, CreateInvitationRequest, CreateInvitationResponse,
    CreatePersonalAccessTokenRequest, DeleteAccountRequest, EndOtherSessionsRequest, GetInvitationRequest,
    GetMeRequest, GetSignUpPolicyRequest, Invitation, ListInvitationsRequest, ListMembersRequest,
    ListOrganizationsRequest, Organization, PersonalAccessTokenScope, RequestEmailChangeRequest,
    RequestPasswordResetRequest, ResendInvitationRequest, ResetPasswordRequest, RevokeInvitationRequest,
    Role, SignInRequest, SignUpPolicy, SignUpRequest, StartSignUpRequest, User,
};
use supalove_system_tests::{Api, Controller, MailSink, Options, PASSWORD};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const NEW: &str = "staple-tractor-violin";
const ADA: &str = "ada@example.com";

fn reason(refused: &Status) -> String {
    refused.get_details_error_info().unwrap().reason
}

/// A controller that sends mail to the sink.
async fn mailing(sink: &MailSink, more: &[&str]) -> Controller {
    let mut arguments = sink.arguments();
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    Controller::start_with(Options { arguments, ..Options::default() }).await
}

/// The token of the only link in the newest mail to an address.
async fn token(sink: &MailSink, to: &str, page: &str) -> String {
    nth_token(sink, to, 1, page).await
}

async fn nth_token(sink: &MailSink, to: &str, count: usize, page: &str) -> String {
    let link = sink.wait_for_count(to, count).await.link();
    let start = format!("https://dashboard.example.com/{page}#token=");
    link.strip_prefix(&start).unwrap_or_else(|| panic!("{link}")).to_owned()
}

async fn start_sign_up(api: &Api, email: &str) -> Result<(), Status> {
    api.auth().start_sign_up(StartSignUpRequest { email: email.into() }).await.map(|_| ())
}

/// Signs up; the client then acts as the new user.
async fn sign_up(api: &mut Api, token: &str) -> Result<User, Status> {
    let request = SignUpRequest {
        token: token.into(),
        password: PASSWORD.into(),
        display_name: "Ada Lovelace".into(),
        ..Default::default()
    };
    let answer = api.auth().sign_up(request).await?.into_inner();
    api.use_token(&answer.tokens.unwrap().access_token);
    Ok(answer.user.unwrap())
}

async fn sign_in(api: &Api, email: &str, password: &str) -> Result<(), Status> {
    let request = SignInRequest { email: email.into(), password: password.into(), ..Default::default() };
    api.auth().sign_in(request).await.map(|_| ())
}

async fn organizations(api: &Api) -> Vec<Organization> {
    let request = ListOrganizationsRequest::default();
    api.organizations().list_organizations(request).await.unwrap().into_inner().organizations
}

async fn invite(api: &Api, email: &str, role: Role) -> Result<CreateInvitationResponse, Status> {
    let request =
        CreateInvitationRequest { organization: "acme".into(), email: email.into(), role: role.into() };
    Ok(api.invitations().create_invitation(request).await?.into_inner())
}

async fn invitations(api: &Api) -> Vec<Invitation> {
    let request = ListInvitationsRequest { organization: "acme".into(), ..Default::default() };
    api.invitations().list_invitations(request).await.unwrap().into_inner().invitations
}

async fn accept(api: &Api, token: &str) -> Result<Organization, Status> {
    let request = AcceptInvitationRequest { token: token.into() };
    Ok(api.invitations().accept_invitation(request).await?.into_inner().organization.unwrap())
}

async fn roles(api: &Api) -> Vec<(String, Role)> {
    let request = ListMembersRequest { organization: "acme".into(), ..Default::default() };
    let members = api.organizations().list_members(request).await.unwrap().into_inner().members;
    members.into_iter().map(|member| (member.email.clone(), member.role())).collect()
}

/// Somebody with an account, signed in.
async fn user(controller: &Controller, email: &str) -> Api {
    controller.database.rows().await.add_user(email).await;
    let mut api = controller.api();
    api.sign_in(email).await;
    api
}

#[tokio::test]
async fn a_stranger_signs_up_by_a_mailed_link_once_and_gets_an_organization() {
    let sink = MailSink::start().await;
    let controller = mailing(&sink, &["--sign-up=open"]).await;
    let operator = controller.operator().await;
    let mut api = controller.api();
    let policy = api.auth().get_sign_up_policy(GetSignUpPolicyRequest {}).await.unwrap().into_inner();
    assert_eq!((policy.policy(), policy.mail), (SignUpPolicy::Open, true));

    start_sign_up(&api, " Ada@Example.com").await.unwrap();
    let link = token(&sink, ADA, "sign-up").await;
    let ada = sign_up(&mut api, &link).await.unwrap();
    assert_eq!((ada.email.as_str(), ada.email_verified, ada.operator), (ADA, true, false));
    let own = organizations(&api).await;
    assert!(matches!(&own[..], [only] if only.role() == Role::Owner), "{own:?}");
    assert_eq!(own[0].name, "Ada Lovelace's organization");
    sign_in(&controller.api(), ADA, PASSWORD).await.unwrap();
    let again = sign_up(&mut controller.api(), &link).await.unwrap_err();
    assert_eq!((again.code(), reason(&again).as_str()), (Code::Unauthenticated, "LINK_INVALID"));

    // Whoever asks is not told that there is an account; its owner is, without a link.
    start_sign_up(&api, ADA).await.unwrap();
    let told = sink.wait_for_count(ADA, 2).await;
    assert!(told.header("Subject").contains("account already") && told.links().is_empty(), "{}", told.text);
    // A link for an address that somebody else has taken meanwhile.
    start_sign_up(&api, "late@example.com").await.unwrap();
    let late = token(&sink, "late@example.com", "sign-up").await;
    controller.database.rows().await.add_user("late@example.com").await;
    assert_eq!(sign_up(&mut controller.api(), &late).await.unwrap_err().code(), Code::AlreadyExists);
    let malformed = start_sign_up(&api, "nobody").await.unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);
    operator.assert_consistent(0).await;
}

#[tokio::test]
async fn who_may_sign_up_is_the_operators_choice() {
    let by_invitation = Controller::start().await;
    let operator = by_invitation.operator().await;
    let policy = operator.auth().get_sign_up_policy(GetSignUpPolicyRequest {}).await.unwrap().into_inner();
    assert_eq!((policy.policy(), policy.mail), (SignUpPolicy::Invitation, false));
    let refused = start_sign_up(&operator, ADA).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "SIGN_UP_CLOSED"));
    // The platform sends no mail: the token is shown to who invites, once, and proves nothing about the address.
    let invited = invite(&operator, ADA, Role::Developer).await.unwrap();
    assert!(invited.token.starts_with("sbi_") && !invited.invitation.unwrap().mailed);
    let mut api = by_invitation.api();
    let ada = sign_up(&mut api, &invited.token).await.unwrap();
    assert!(!ada.email_verified);
    let joined = organizations(&api).await;
    let found: Vec<_> = joined.iter().map(|one| (one.slug.as_str(), one.role())).collect();
    assert_eq!(found, [("acme", Role::Developer)], "no other organization");
    for refused in [
        operator.auth().request_password_reset(RequestPasswordResetRequest { email: ADA.into() }).await.err(),
        api.auth()
            .request_email_change(RequestEmailChangeRequest {
                new_email: "new@example.com".into(),
                current_password: PASSWORD.into(),
            })
            .await
            .err(),
    ] {
        assert_eq!(reason(&refused.unwrap()), "MAIL_NOT_SET_UP");
    }

    let arguments = vec!["--sign-up=closed".to_owned()];
    let closed = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let operator = closed.operator().await;
    let invited = invite(&operator, ADA, Role::Developer).await.unwrap();
    let refused = sign_up(&mut closed.api(), &invited.token).await.unwrap_err();
    assert_eq!(reason(&refused), "SIGN_UP_CLOSED");
    // Who has an account may still be invited.
    assert_eq!(accept(&user(&closed, ADA).await, &invited.token).await.unwrap().slug, "acme");
}

#[tokio::test]
async fn an_invitation_is_for_one_address_and_works_once() {
    let sink = MailSink::start().await;
    let controller = mailing(&sink, &[]).await;
    let operator = controller.operator().await;
    let created = invite(&operator, "Ada@example.com", Role::Administrator).await.unwrap();
    assert_eq!(created.token, "", "the mail has it");
    let shown = created.invitation.unwrap();
    assert_eq!(
        (shown.email.as_str(), shown.invited_by.as_str(), shown.mailed),
        (ADA, "operator@example.com", true)
    );
    let mail = sink.wait_for(ADA).await;
    assert!(mail.text.contains("operator@example.com invites you to the organization acme"), "{}", mail.text);
    let link = token(&sink, ADA, "invitation").await;
    let request = GetInvitationRequest { token: link.clone() };
    let preview = controller.api().invitations().get_invitation(request).await.unwrap().into_inner();
    assert_eq!((preview.email.as_str(), preview.role()), (ADA, Role::Administrator));

    let other = user(&controller, "other@example.com").await;
    let refused = accept(&other, &link).await.unwrap_err();
    assert_eq!(reason(&refused), "INVITATION_FOR_ANOTHER");
    let mut ada = controller.api();
    assert!(sign_up(&mut ada, &link).await.unwrap().email_verified);
    assert_eq!(roles(&operator).await[0], (ADA.into(), Role::Administrator));
    for again in [sign_up(&mut controller.api(), &link).await.err(), accept(&ada, &link).await.err()] {
        assert_eq!(reason(&again.unwrap()), "LINK_INVALID");
    }
    assert_eq!(reason(&invite(&operator, ADA, Role::Developer).await.unwrap_err()), "ALREADY_A_MEMBER");

    // Administrators do not make owners, by no way.
    let denied = invite(&ada, "hopper@example.com", Role::Owner).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    // An owner does; an administrator sees it, but neither revokes nor repeats it.
    invite(&operator, "grace@example.com", Role::Owner).await.unwrap();
    let id = invitations(&ada).await[0].id.clone();
    let revoke = RevokeInvitationRequest { organization: "acme".into(), invitation_id: id.clone() };
    let resend = ResendInvitationRequest { organization: "acme".into(), invitation_id: id };
    for denied in [
        ada.invitations().revoke_invitation(revoke.clone()).await.err(),
        ada.invitations().resend_invitation(resend.clone()).await.err(),
    ] {
        assert_eq!(denied.unwrap().code(), Code::PermissionDenied);
    }
    let replaced = invite(&ada, "grace@example.com", Role::ReadOnly).await.unwrap_err();
    assert_eq!(replaced.code(), Code::PermissionDenied, "that would revoke it");

    let first = token(&sink, "grace@example.com", "invitation").await;
    operator.invitations().resend_invitation(resend.clone()).await.unwrap();
    let second = nth_token(&sink, "grace@example.com", 2, "invitation").await;
    let grace = user(&controller, "grace@example.com").await;
    assert_eq!(reason(&accept(&grace, &first).await.unwrap_err()), "LINK_INVALID", "there is a newer link");
    operator.invitations().revoke_invitation(revoke.clone()).await.unwrap();
    assert_eq!(reason(&accept(&grace, &second).await.unwrap_err()), "LINK_INVALID");
    assert_eq!(operator.invitations().revoke_invitation(revoke).await.unwrap_err().code(), Code::NotFound);

    // What an administrator has invited goes with the administrator.
    invite(&ada, "grace@example.com", Role::ReadOnly).await.unwrap();
    let third = nth_token(&sink, "grace@example.com", 3, "invitation").await;
    let rows = controller.database.rows().await;
    rows.change_role("acme", ADA, Some("DEVELOPER")).await.commit().await.unwrap();
    assert_eq!(reason(&accept(&grace, &third).await.unwrap_err()), "LINK_INVALID");
    rows.change_role("acme", ADA, Some("ADMINISTRATOR")).await.commit().await.unwrap();
    rows.expire_links().await;
    assert_eq!(reason(&accept(&grace, &third).await.unwrap_err()), "LINK_INVALID", "it has expired");
    operator.assert_consistent(0).await;
}

#[tokio::test]
async fn of_parallel_uses_of_one_invitation_one_succeeds() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let invited = invite(&operator, ADA, Role::Developer).await.unwrap();
    let tries = (0..8).map(|_| async {
        let mut api = controller.api();
        sign_up(&mut api, &invited.token).await.is_ok()
    });
    let done = futures::future::join_all(tries).await;
    assert_eq!(done.iter().filter(|done| **done).count(), 1, "{done:?}");
    assert_eq!(roles(&operator).await.len(), 2);
    operator.assert_consistent(0).await;
}

#[tokio::test]
async fn a_forgotten_password_is_reset_once_and_all_sessions_end() {
    let sink = MailSink::start().await;
    let controller = mailing(&sink, &[]).await;
    let operator = controller.operator().await;
    let ada = user(&controller, ADA).await;
    let request = async |email: &str| {
        let began = Instant::now();
        let request = RequestPasswordResetRequest { email: email.into() };
        controller.api().auth().request_password_reset(request).await.unwrap();
        began.elapsed()
    };
    let known = request(ADA).await;
    let unknown = request("nobody@example.com").await;
    for took in [known, unknown] {
        assert!(took >= Duration::from_millis(300), "the time tells whether there is an account: {took:?}");
    }
    request(ADA).await;
    let first = nth_token(&sink, ADA, 2, "reset-password").await;
    let create = CreatePersonalAccessTokenRequest {
        name: "ci".into(),
        scopes: vec![PersonalAccessTokenScope::Read.into()],
        ttl: None,
    };
    let token =
        ada.personal_access_tokens().create_personal_access_token(create).await.unwrap().into_inner().token;
    let reset = async |token: &str, password: &str| {
        let request =
            ResetPasswordRequest { token: token.into(), new_password: password.into(), ..Default::default() };
        controller.api().auth().reset_password(request).await.map(tonic::Response::into_inner)
    };
    let poor = reset(&first, "password1234").await.unwrap_err();
    assert_eq!(poor.get_details_bad_request().unwrap().field_violations[0].field, "new_password");
    let parallel = futures::future::join_all((0..4).map(|_| reset(&first, NEW))).await;
    let done: Vec<_> = parallel.iter().filter_map(|done| done.as_ref().ok()).collect();
    let [done] = &done[..] else { panic!("{parallel:?}") };
    assert_eq!((done.sessions_ended, done.personal_access_tokens_ended), (1, 1));
    let mut signed_in = controller.api();
    signed_in.use_token(&done.tokens.as_ref().unwrap().access_token);
    assert!(
        signed_in.auth().get_me(GetMeRequest {}).await.unwrap().into_inner().user.unwrap().email_verified
    );
    signed_in.use_token(&token);
    assert_eq!(reason(&signed_in.auth().get_me(GetMeRequest {}).await.unwrap_err()), "ACCESS_TOKEN_INVALID");
    assert_eq!(reason(&ada.auth().get_me(GetMeRequest {}).await.unwrap_err()), "SESSION_ENDED");
    assert_eq!(sign_in(&controller.api(), ADA, PASSWORD).await.unwrap_err().code(), Code::Unauthenticated);
    sign_in(&controller.api(), ADA, NEW).await.unwrap();
    let told = sink.wait_for_count(ADA, 3).await;
    assert!(told.text.contains("was reset"), "{}", told.text);
    // Both links were for the password before.
    for mail in sink.mails_to(ADA).iter().take(2) {
        let link = mail.link();
        let (_, token) = link.split_once("#token=").unwrap();
        assert_eq!(reason(&reset(token, "another-good-password").await.unwrap_err()), "LINK_INVALID");
    }
    assert!(sink.mails_to("nobody@example.com").is_empty());
    operator.assert_consistent(0).await;
}

#[tokio::test]
async fn an_address_changes_when_the_new_one_is_confirmed() {
    let sink = MailSink::start().await;
    let controller = mailing(&sink, &[]).await;
    controller.operator().await;
    let ada = user(&controller, ADA).await;
    let elsewhere = user(&controller, "grace@example.com").await;
    let mut second = controller.api();
    second.sign_in(ADA).await;
    let change = async |api: &Api, to: &str, password: &str| {
        let request = RequestEmailChangeRequest { new_email: to.into(), current_password: password.into() };
        api.auth().request_email_change(request).await.map(|_| ())
    };
    let wrong = change(&ada, "new@example.com", "not-the-password").await.unwrap_err();
    assert_eq!(wrong.get_details_bad_request().unwrap().field_violations[0].field, "current_password");
    change(&ada, "grace@example.com", PASSWORD).await.unwrap();
    assert!(sink.wait_for("grace@example.com").await.links().is_empty(), "it has an account");

    change(&ada, "new@example.com", PASSWORD).await.unwrap();
    let link = token(&sink, "new@example.com", "confirm-email").await;
    let me = ada.auth().get_me(GetMeRequest {}).await.unwrap().into_inner().user.unwrap();
    assert_eq!(me.email, ADA, "nothing has changed yet");
    let confirm = async |api: &Api| {
        let request = ConfirmEmailChangeRequest { token: link.clone() };
        api.auth().confirm_email_change(request).await.map(tonic::Response::into_inner)
    };
    let stranger = confirm(&controller.api()).await.unwrap_err();
    assert_eq!(stranger.code(), Code::Unauthenticated);
    assert_eq!(reason(&confirm(&elsewhere).await.unwrap_err()), "LINK_INVALID", "nobody confirms for others");
    let confirmed = confirm(&ada).await.unwrap();
    assert_eq!((confirmed.email.as_str(), confirmed.sessions_ended), ("new@example.com", 1));
    assert_eq!(reason(&confirm(&ada).await.unwrap_err()), "LINK_INVALID");
    let me = ada.auth().get_me(GetMeRequest {}).await.unwrap().into_inner().user.unwrap();
    assert_eq!((me.email.as_str(), me.email_verified), ("new@example.com", true));
    assert_eq!(reason(&second.auth().get_me(GetMeRequest {}).await.unwrap_err()), "SESSION_ENDED");
    // The old address hears of the request, and of the change.
    assert!(sink.wait_for_count(ADA, 2).await.text.contains("has another address now: new@example.com"));
    assert!(sink.mails_to(ADA)[0].text.contains("wants to change the address"));
    change(&ada, "third@example.com", PASSWORD).await.unwrap();
    let late = token(&sink, "third@example.com", "confirm-email").await;
    let mut other = controller.api();
    other.sign_in("new@example.com").await;
    other.auth().end_other_sessions(EndOtherSessionsRequest {}).await.unwrap();
    let request = ConfirmEmailChangeRequest { token: late };
    let refused = other.auth().confirm_email_change(request).await.unwrap_err();
    assert_eq!(reason(&refused), "LINK_INVALID", "the session that asked for it has ended");
    assert!(sign_in(&controller.api(), ADA, PASSWORD).await.is_err());
    sign_in(&controller.api(), "new@example.com", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_deleted_account_leaves_no_access_and_its_address_is_free() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let invited = invite(&operator, ADA, Role::Developer).await.unwrap();
    let mut ada = controller.api();
    sign_up(&mut ada, &invited.token).await.unwrap();
    ada.create_organization("adas").await;
    let delete = async |api: &Api, password: &str| {
        let request = DeleteAccountRequest { current_password: password.into() };
        api.auth().delete_account(request).await.map(|_| ())
    };
    assert_eq!(delete(&ada, "not-the-password").await.unwrap_err().code(), Code::InvalidArgument);
    let needed = delete(&ada, PASSWORD).await.unwrap_err();
    assert_eq!(reason(&needed), "ONLY_OWNER");
    assert!(needed.message().contains("adas") && !needed.message().contains("acme"), "{needed:?}");
    assert_eq!(reason(&delete(&operator, PASSWORD).await.unwrap_err()), "ONLY_OWNER");

    let rows = controller.database.rows().await;
    rows.add_member("adas", "operator@example.com", "OWNER").await;
    delete(&ada, PASSWORD).await.unwrap();
    assert_eq!(reason(&ada.auth().get_me(GetMeRequest {}).await.unwrap_err()), "SESSION_ENDED");
    assert!(sign_in(&controller.api(), ADA, PASSWORD).await.is_err());
    assert_eq!(roles(&operator).await.len(), 1, "no member of any organization");
    let again = invite(&operator, ADA, Role::ReadOnly).await.unwrap();
    sign_up(&mut controller.api(), &again.token).await.unwrap();
    assert_eq!(roles(&operator).await[0], (ADA.into(), Role::ReadOnly));

    // The platform needs an operator.
    rows.add_member("acme", ADA, "OWNER").await;
    rows.add_member("adas", ADA, "OWNER").await;
    assert_eq!(reason(&delete(&operator, PASSWORD).await.unwrap_err()), "LAST_OPERATOR");
    operator.assert_consistent(0).await;
}
