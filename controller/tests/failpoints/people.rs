//! The controller dies while people come and go: before the commit of an act nothing has happened, after it everything has, and a
//! repeated call does nothing twice. Mails go out once, and links work once.

use std::{fs, path::Path, time::Duration};

use supalove_failpoints::{ARMED, DIRECTORY, FIRED, POINTS};
use supalove_proto::v1::{
    AcceptInvitationRequest, CreateInvitationRequest, DeleteAccountRequest, GetMeRequest, ListMembersRequest,
    RequestPasswordResetRequest, ResetPasswordRequest, Role, RotateSigningKeyRequest, SignInRequest,
    SignUpRequest,
};
use supalove_system_tests::{Api, Controller, MailSink, Options, PASSWORD, SLACK, wait_for};
use tonic::{Code, Status};

/// The points of this test: every act of a call passes them.
pub const PREFIX: &str = "controller.call.";

const NEW: &str = "staple-tractor-violin";
/// A death, from the call on.
const DIES: Duration = Duration::from_secs(10);

/// A world with a mail server that survives the controller.
struct World {
    sink: MailSink,
    points: tempfile::TempDir,
    controller: Controller,
    operator: Api,
}

impl World {
    async fn new() -> Self {
        let sink = MailSink::start().await;
        let points = tempfile::tempdir().unwrap();
        let environment = vec![(DIRECTORY.to_owned(), points.path().display().to_string())];
        let options = Options { arguments: sink.arguments(), environment, ..Options::default() };
        let controller = Controller::start_with(options).await;
        let operator = controller.operator().await;
        Self { sink, points, controller, operator }
    }

    /// Makes a call at whose point the controller dies; starts the controller again. Returns whether the act was done.
    async fn dies<T>(&mut self, point: &str, call: impl AsyncFn(&Api) -> Result<T, Status>) -> bool {
        arm(self.points.path(), point);
        let refused = call(&self.operator).await.err().expect("the controller dies");
        assert!(matches!(refused.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{refused:?}");
        wait_for("the death", DIES * SLACK, async || self.points.path().join(FIRED).exists().then_some(()))
            .await;
        // It may be on its way out: its ports are free when it is gone.
        self.controller.process.interrupt();
        self.controller.restart().await;
        let mut operator = self.controller.api();
        operator.use_token(&self.operator.token);
        self.operator = operator;
        point.ends_with("committed")
    }

    async fn invite(&self, email: &str) -> Result<(), Status> {
        invite(&self.operator, email).await
    }

    /// The token in the only mail to an address; waits a moment for another one.
    async fn only_token(&self, email: &str) -> String {
        let link = self.sink.wait_for(email).await.link();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(self.sink.mails_to(email).len(), 1, "one mail to {email}");
        link.split_once("#token=").unwrap().1.to_owned()
    }

    async fn members(&self) -> usize {
        let request = ListMembersRequest { organization: "acme".into(), ..Default::default() };
        self.operator.organizations().list_members(request).await.unwrap().into_inner().members.len()
    }

    async fn user(&self, email: &str) -> Api {
        self.controller.database.rows().await.add_user(email).await;
        let mut api = self.controller.api();
        api.sign_in(email).await;
        api
    }
}

pub fn arm(points: &Path, point: &str) {
    let _ = fs::remove_file(points.join(FIRED));
    fs::write(points.join("draft"), format!("{point} 1 -")).unwrap();
    fs::rename(points.join("draft"), points.join(ARMED)).unwrap();
}

async fn invite(api: &Api, email: &str) -> Result<(), Status> {
    let role = Role::Developer.into();
    let request = CreateInvitationRequest { organization: "acme".into(), email: email.into(), role };
    api.invitations().create_invitation(request).await.map(|_| ())
}

async fn sign_up(api: &Api, token: &str) -> Result<(), Status> {
    let request = SignUpRequest { token: token.into(), password: PASSWORD.into(), ..Default::default() };
    api.auth().sign_up(request).await.map(|_| ())
}

async fn reset(api: &Api, token: &str) -> Result<(), Status> {
    let request =
        ResetPasswordRequest { token: token.into(), new_password: NEW.into(), ..Default::default() };
    api.auth().reset_password(request).await.map(|_| ())
}

async fn sign_in(api: &Api, email: &str, password: &str) -> Result<(), Status> {
    let request = SignInRequest { email: email.into(), password: password.into(), ..Default::default() };
    api.auth().sign_in(request).await.map(|_| ())
}

/// Repeats a call: it is done now if it was not, and refused with this code if it was.
fn once(done: bool, again: Result<(), Status>, used: Code) {
    match (done, again) {
        (false, Ok(())) => {}
        (true, Err(refused)) if refused.code() == used => {}
        (done, again) => panic!("done before: {done}, again: {again:?}"),
    }
}

#[tokio::test]
async fn people_come_and_go_once_although_the_controller_dies() {
    let mut world = World::new().await;
    let points: Vec<_> =
        POINTS.iter().map(|point| point.name).filter(|name| name.starts_with(PREFIX)).collect();
    assert_eq!(points.len(), 2);
    let mut members = 1;
    for (number, point) in points.into_iter().enumerate() {
        // An invitation: its mail goes out if and only if it is committed.
        let ada = format!("ada-{number}@example.com");
        if !world.dies(point, async |api| invite(api, &ada).await).await {
            world.invite(&ada).await.unwrap();
        }
        let token = world.only_token(&ada).await;
        // A sign-up with it: account, membership and the spent token together.
        let done = world.dies(point, async |api| sign_up(api, &token).await).await;
        once(done, sign_up(&world.controller.api(), &token).await, Code::Unauthenticated);
        members += 1;
        assert_eq!(world.members().await, members);
        sign_in(&world.controller.api(), &ada, PASSWORD).await.unwrap();
        // A forgotten password.
        let forget = RequestPasswordResetRequest { email: ada.clone() };
        let forgotten =
            world.dies(point, async |api| api.auth().request_password_reset(forget.clone()).await).await;
        if !forgotten {
            world.controller.api().auth().request_password_reset(forget).await.unwrap();
        }
        let link = world.sink.wait_for_count(&ada, 2).await.link();
        let (_, token) = link.split_once("#token=").unwrap();
        let done = world.dies(point, async |api| reset(api, token).await).await;
        once(done, reset(&world.controller.api(), token).await, Code::Unauthenticated);
        sign_in(&world.controller.api(), &ada, NEW).await.unwrap();
        assert!(sign_in(&world.controller.api(), &ada, PASSWORD).await.is_err());
        // An invitation of somebody who has an account.
        let grace = format!("grace-{number}@example.com");
        let api = world.user(&grace).await;
        world.invite(&grace).await.unwrap();
        let request = AcceptInvitationRequest { token: world.only_token(&grace).await };
        let accept = async |api: &Api| api.invitations().accept_invitation(request.clone()).await.map(|_| ());
        let done = world.dies(point, async |_| accept(&api).await).await;
        let mut again = world.controller.api();
        again.use_token(&api.token);
        once(done, accept(&again).await, Code::Unauthenticated);
        members += 1;
        assert_eq!(world.members().await, members);
        // The account goes, with its memberships.
        let request = DeleteAccountRequest { current_password: PASSWORD.into() };
        let delete = async |api: &Api| api.auth().delete_account(request.clone()).await.map(|_| ());
        let done = world.dies(point, async |_| delete(&again).await).await;
        let mut again = world.controller.api();
        again.use_token(&api.token);
        once(done, delete(&again).await, Code::Unauthenticated);
        members -= 1;
        assert_eq!(world.members().await, members);
        // A new signing key: sessions go on.
        let rotate = RotateSigningKeyRequest { at_once: false };
        world.dies(point, async |api| api.auth().rotate_signing_key(rotate).await).await;
        world.operator.auth().get_me(GetMeRequest {}).await.unwrap();
        world.operator.assert_consistent(0).await;
        println!("{point}: seven acts, each done once");
    }
}
