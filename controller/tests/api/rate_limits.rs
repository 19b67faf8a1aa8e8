//! How often strangers may try, and that nobody is locked out by them.

use supalove_proto::v1::{
    CreateInvitationRequest, GetInvitationRequest, GetMeRequest, RequestPasswordResetRequest,
    ResendInvitationRequest, ResetPasswordRequest, Role, SignInRequest, StartSignUpRequest,
};
use supalove_system_tests::{Api, Controller, MailSink, Options, PASSWORD};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

const OPERATOR: &str = "operator@example.com";

/// A call from this address, as the proxy in front of the controller reports it.
fn from<T>(address: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-forwarded-for", address.parse().unwrap());
    request
}

async fn sign_in(api: &Api, address: &str, email: &str, password: &str) -> Result<(), Status> {
    let request = SignInRequest { email: email.into(), password: password.into(), ..Default::default() };
    api.auth().sign_in(from(address, request)).await.map(|_| ())
}

fn reason(refused: &Status) -> String {
    refused.get_details_error_info().unwrap().reason
}

/// Signs in with a wrong password until that is too often; returns how many were tried, and the refusal.
async fn guess(api: &Api, email: &str, addresses: impl Iterator<Item = String>) -> (u32, Status) {
    let mut tried = 0;
    for address in addresses.take(400) {
        let refused = sign_in(api, &address, email, "not-the-password").await.unwrap_err();
        if refused.code() == Code::ResourceExhausted {
            return (tried, refused);
        }
        assert_eq!(reason(&refused), "BAD_CREDENTIALS");
        tried += 1;
    }
    panic!("{tried} guesses, and no end");
}

async fn behind_a_proxy(sink: Option<&MailSink>) -> Controller {
    let mut arguments = vec!["--trusted-proxy=127.0.0.1/32".to_owned()];
    arguments.extend(sink.map(MailSink::arguments).unwrap_or_default());
    Controller::start_with(Options { arguments, ..Options::default() }).await
}

#[tokio::test]
async fn guesses_from_one_address_end_and_stay_ended_over_restarts_and_replicas() {
    let mut controller = behind_a_proxy(None).await;
    controller.operator().await;
    controller.database.rows().await.add_user("grace@example.com").await;
    let api = controller.api();
    let (tried, refused) = guess(&api, "grace@example.com", std::iter::repeat("192.0.2.1".to_owned())).await;
    assert_eq!(tried, 20);
    assert_eq!(reason(&refused), "TOO_OFTEN");
    let retry = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!((1..=60).contains(&retry.as_secs()), "{retry:?}");
    // The right password is not tried either: a guesser would learn from it.
    assert!(sign_in(&api, "192.0.2.1", "grace@example.com", PASSWORD).await.is_err());
    // An account that does not exist is no different.
    let (tried, refused) = guess(&api, "nobody@example.com", std::iter::repeat("192.0.2.9".to_owned())).await;
    assert_eq!((tried, reason(&refused).as_str()), (20, "TOO_OFTEN"));

    let replica = controller.replica().await;
    controller.kill_and_restart().await;
    for api in [controller.api(), replica.api()] {
        let refused = sign_in(&api, "192.0.2.1", "grace@example.com", PASSWORD).await.unwrap_err();
        assert_eq!(reason(&refused), "TOO_OFTEN");
        sign_in(&api, "192.0.2.2", "grace@example.com", PASSWORD).await.unwrap();
        sign_in(&api, "192.0.2.1", OPERATOR, PASSWORD).await.unwrap();
    }
}

#[tokio::test]
async fn guesses_from_everywhere_lock_nobody_out_who_was_here_before() {
    let sink = MailSink::start().await;
    let controller = behind_a_proxy(Some(&sink)).await;
    controller.operator().await;
    let api = controller.api();
    sign_in(&api, "198.51.100.7", OPERATOR, PASSWORD).await.unwrap();
    let everywhere = (0..200).map(|number| format!("2001:db8:0:{number:x}::1"));
    let (tried, refused) = guess(&api, OPERATOR, everywhere).await;
    assert_eq!((tried, reason(&refused).as_str()), (100, "TOO_OFTEN"));
    assert!(refused.message().contains("reset its password"), "{refused:?}");
    // From where the user has signed in before.
    sign_in(&api, "198.51.100.7", OPERATOR, PASSWORD).await.unwrap();
    // From elsewhere: by mail.
    assert!(sign_in(&api, "203.0.113.1", OPERATOR, PASSWORD).await.is_err());
    let request = RequestPasswordResetRequest { email: OPERATOR.into() };
    api.auth().request_password_reset(from("203.0.113.1", request)).await.unwrap();
    let link = sink.wait_for(OPERATOR).await.link();
    let (_, token) = link.split_once("#token=").unwrap();
    let new = "staple-tractor-violin";
    let request =
        ResetPasswordRequest { token: token.into(), new_password: new.into(), ..Default::default() };
    let tokens = api.auth().reset_password(from("203.0.113.1", request)).await.unwrap().into_inner().tokens;
    let mut signed_in = controller.api();
    signed_in.use_token(&tokens.unwrap().access_token);
    signed_in.auth().get_me(GetMeRequest {}).await.unwrap();
    // That is a place now from where the user has signed in.
    sign_in(&api, "203.0.113.1", OPERATOR, new).await.unwrap();
}

#[tokio::test]
async fn wrong_tokens_and_requested_mails_end_too() {
    let sink = MailSink::start().await;
    let controller = behind_a_proxy(Some(&sink)).await;
    let operator = controller.operator().await;
    let invitation = |email: &str| CreateInvitationRequest {
        organization: "acme".into(),
        email: email.into(),
        role: Role::Developer.into(),
    };
    let api = controller.api();
    let mut tried = 0;
    let refused = loop {
        let request = GetInvitationRequest { token: format!("sbi_{tried}") };
        let refused = api.invitations().get_invitation(from("192.0.2.1", request)).await.unwrap_err();
        if refused.code() == Code::ResourceExhausted {
            break refused;
        }
        assert_eq!(reason(&refused), "LINK_INVALID");
        tried += 1;
    };
    assert_eq!((tried, reason(&refused).as_str()), (30, "TOO_OFTEN"));
    // A right one is not refused for the wrong ones before it.
    let invited = operator.invitations().create_invitation(invitation("ada@example.com")).await.unwrap();
    assert_eq!(invited.into_inner().token, "", "it is mailed");
    let link = sink.wait_for("ada@example.com").await.link();
    let request = GetInvitationRequest { token: link.split_once("#token=").unwrap().1.into() };
    api.invitations().get_invitation(from("192.0.2.1", request)).await.unwrap();
    // Whoever invites does not send mails without end, whatever is revoked in between.
    let mut mailed = 1;
    let refused = loop {
        match operator.invitations().create_invitation(invitation("ada@example.com")).await {
            Ok(_) => mailed += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!((mailed, reason(&refused).as_str()), (5, "TOO_OFTEN"));

    // Six are answered alike; five mails go out.
    let request = || RequestPasswordResetRequest { email: OPERATOR.into() };
    for _ in 0..6 {
        api.auth().request_password_reset(from("192.0.2.2", request())).await.unwrap();
    }
    sink.wait_for_count(OPERATOR, 5).await;
    let mut requested = 6;
    let refused = loop {
        match api.auth().request_password_reset(from("192.0.2.2", request())).await {
            Ok(_) => requested += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!((requested, reason(&refused).as_str()), (30, "TOO_OFTEN"));
    assert_eq!(sink.mails_to(OPERATOR).len(), 5);
}

#[tokio::test]
async fn another_link_of_an_invitation_counts_as_a_mail_to_its_address() {
    let sink = MailSink::start().await;
    let controller = behind_a_proxy(Some(&sink)).await;
    let operator = controller.operator().await;
    let request = CreateInvitationRequest {
        organization: "acme".into(),
        email: "ada@example.com".into(),
        role: Role::Developer.into(),
    };
    let invited = operator.invitations().create_invitation(request.clone()).await.unwrap().into_inner();
    let again = ResendInvitationRequest {
        organization: "acme".into(),
        invitation_id: invited.invitation.unwrap().id,
    };
    for _ in 1..5 {
        operator.invitations().resend_invitation(again.clone()).await.unwrap();
    }
    let refused = operator.invitations().resend_invitation(again).await.unwrap_err();
    assert_eq!(reason(&refused), "TOO_OFTEN");
    assert_eq!(reason(&operator.invitations().create_invitation(request).await.unwrap_err()), "TOO_OFTEN");
}

#[tokio::test]
async fn a_site_with_many_networks_does_not_take_the_mails_of_all() {
    let sink = MailSink::start().await;
    let mut arguments = vec!["--trusted-proxy=127.0.0.1/32".to_owned(), "--sign-up=open".to_owned()];
    arguments.extend(sink.arguments());
    let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.api();
    let start = async |address: &str, email: &str| {
        let request = StartSignUpRequest { email: email.into() };
        api.auth().start_sign_up(from(address, request)).await.map(|_| ())
    };
    let mut asked = 0;
    let refused = loop {
        // A network of its own each time.
        match start(&format!("2001:db8:1:{asked:x}::1"), &format!("new{asked}@example.com")).await {
            Ok(()) => {
                asked += 1;
                assert!(asked <= 400, "{asked} mails, and no end");
            }
            Err(refused) => break refused,
        }
    };
    assert!((150..=160).contains(&asked) && reason(&refused) == "TOO_OFTEN", "{asked}: {refused}");
    start("2001:db8:2::1", "other@example.com").await.unwrap();
    sink.wait_for("other@example.com").await;
    let rows = controller.database.rows().await;
    let mailed = rows.count("mails").await - 1;
    assert!((50..=55).contains(&mailed), "{mailed}: a tenth of what all may have at once");
}
