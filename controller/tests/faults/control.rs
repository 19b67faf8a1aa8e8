//! A clock of the control plane or of a node jumps. Projects keep running. Other faults between them are in `grey`.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use supalove_proto::v1::{GetMeRequest, OperationState, ProjectState, RefreshRequest, SignInRequest};
use supalove_system_tests::{
    Agent, AgentOptions, Api, CORE, Clock, Controller, Options, PASSWORD, SLACK, docker, wait_for,
};

/// A session that was lost is back: an agent dials again after at most 5 s, and a dial into nothing takes 10 s.
const BACK: Duration = Duration::from_secs(15);

/// Id and start of each container of a project.
fn starts(project_ref: &str) -> Vec<String> {
    let filter = format!("label=supalove.project={project_ref}");
    let ids = docker(None, &["ps", "--quiet", "--filter", &filter]);
    let format = ["inspect", "--format", "{{.Id}} {{.State.StartedAt}}"];
    let mut all: Vec<String> = docker(None, &[&format[..], &ids.lines().collect::<Vec<_>>()].concat())
        .lines()
        .map(str::to_owned)
        .collect();
    all.sort();
    assert_eq!(all.len(), 3);
    all
}

async fn created(api: &Api, name: &str) -> (String, String) {
    let created = api.create(name, CORE).await;
    (created.project.unwrap().r#ref, created.operation.unwrap().id)
}

async fn assert_succeeds(api: &Api, operation: &str) {
    let operation = api.wait(operation).await;
    assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
}

/// Certificates and keys are back-dated by so much: clocks may be apart by it.
const JUMPS: [i64; 3] = [1, -1, 0];

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_by_an_hour_ends_no_session_no_operation_and_no_container() {
    let ours = Clock::start();
    let hosts = Clock::start();
    let mut controller = Controller::start_with(Options { under: ours.under(), ..Options::default() }).await;
    let mut api = controller.operator().await;
    let token = api.join_token().await;
    let options = AgentOptions { under: hosts.under(), ..AgentOptions::default() };
    let mut agent = Agent::start_with(&controller, &token, options);
    api.wait_ready_nodes(1).await;
    let project = api.create_healthy("steady", CORE).await.r#ref;
    let before = starts(&project);
    let epoch =
        async |controller: &Controller| -> i64 { controller.database.rows().await.session_epoch().await };

    for jump in JUMPS {
        let (_, operation) = created(&api, &format!("before {jump}")).await;
        let session = epoch(&controller).await;
        let refresh = sign_in(&mut api).await;
        for clock in [&ours, &hosts] {
            clock.jump(jump);
            // Long enough for pings and looks, and for the clock's own delay of a second.
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
        let issued = renewed(&mut api, &refresh).await;
        assert_hours_away(issued, jump, "the controller's");
        assert_succeeds(&api, &operation).await;
        let (_, operation) = created(&api, &format!("after {jump}")).await;
        assert_succeeds(&api, &operation).await;
        assert_hours_away(last_logged(&agent), jump, "the agent's");
        assert_eq!(epoch(&controller).await, session, "{jump} h away the session went on");
        assert_eq!(api.project(&project).await.state(), ProjectState::ActiveHealthy);
        // New handshakes, with a new certificate of a controller whose clock alone is wrong.
        hosts.jump(0);
        agent.process.kill();
        controller.kill_and_restart().await;
        let session = epoch(&controller).await;
        agent.restart();
        wait_for("a new session", BACK * SLACK, async || (epoch(&controller).await > session).then_some(()))
            .await;
        api.wait_state(&project, ProjectState::ActiveHealthy, BACK * SLACK).await;
        assert_eq!(starts(&project), before, "no container was started again");
    }
    api.assert_consistent(1).await;
}

/// Signs in; answers the refresh token.
async fn sign_in(api: &mut Api) -> String {
    let request = SignInRequest {
        email: "operator@example.com".into(),
        password: PASSWORD.into(),
        ..SignInRequest::default()
    };
    let tokens = api.auth().sign_in(request).await.unwrap().into_inner().tokens.unwrap();
    api.use_token(&tokens.access_token);
    tokens.refresh_token
}

/// An access token lives for an hour, so a jump may end it; the session it belongs to goes on with the refresh token.
/// Answers when the controller's clock says that the new token was made, in seconds.
async fn renewed(api: &mut Api, refresh_token: &str) -> i64 {
    let request = RefreshRequest { refresh_token: refresh_token.into() };
    let tokens = api.auth().refresh(request).await.unwrap().into_inner().tokens.unwrap();
    api.use_token(&tokens.access_token);
    api.auth().get_me(GetMeRequest {}).await.unwrap();
    let claims = URL_SAFE_NO_PAD.decode(tokens.access_token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    claims["iat"].as_i64().unwrap()
}

/// When the agent's clock says that its last line was written, in seconds.
fn last_logged(agent: &Agent) -> i64 {
    let log = agent.process.log();
    let mut stamps =
        log.lines().filter_map(|line| line.split_whitespace().next()?.parse::<DateTime<Utc>>().ok());
    stamps.next_back().expect("a line with a time").timestamp()
}

fn assert_hours_away(seconds: i64, hours: i64, whose: &str) {
    let away = seconds - Utc::now().timestamp() - hours * 3600;
    assert!(away.abs() < 300, "{whose} clock is {away} s from {hours} h");
}
