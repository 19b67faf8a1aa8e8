//! Faults between the control plane and its nodes: the database is unreachable, the connection is cut, a clock jumps.
//! Projects keep running.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use supalove_proto::v1::{
    GetMeRequest, ListNodesRequest, NodeState, OperationState, ProjectState, RefreshRequest, SignInRequest,
};
use supalove_system_tests::{
    Agent, AgentOptions, Api, CORE, Clock, Controller, Fleet, Options, PASSWORD, Postgres, SLACK, TcpProxy,
    docker, wait_for,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A node is unhealthy after this silence (`silent_after` of the controller's times), and it takes two writes and a
/// look to know of it.
const SHOWN: Duration = Duration::from_secs(20 + 5 + 1);
/// A session that was lost is back: an agent dials again after at most 5 s, and a dial into nothing takes 10 s.
const BACK: Duration = Duration::from_secs(15);
/// How long the node port is cut, and the database away.
const CUT: Duration = Duration::from_secs(30);
const AWAY: Duration = Duration::from_secs(10);

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

async fn nodes(api: &Api) -> Result<usize, Status> {
    let answer = api.clusters().list_nodes(ListNodesRequest::default()).await?;
    Ok(answer.into_inner().nodes.len())
}

/// While the database is unreachable, every response says so and carries a retry time.
async fn assert_unavailable(api: &Api, limit: Duration) {
    let until = Instant::now() + limit;
    let mut asked = 0;
    while Instant::now() < until {
        let status = nodes(api).await.expect_err("there is no database");
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        let details = status.get_error_details();
        assert!(details.retry_info().is_some_and(|info| info.retry_delay.is_some()), "{status:?}");
        assert_eq!(details.error_info().unwrap().reason, "UNAVAILABLE");
        asked += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(asked > 0);
}

async fn created(api: &Api, name: &str) -> (String, String) {
    let created = api.create(name, CORE).await;
    (created.project.unwrap().r#ref, created.operation.unwrap().id)
}

async fn assert_succeeds(api: &Api, operation: &str) {
    let operation = api.wait(operation).await;
    assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_database_that_crashes_costs_no_session_no_operation_and_no_container() {
    let database = Postgres::start();
    let options = Options { database_server: Some(database.url.clone()), ..Options::default() };
    let mut fleet = Fleet::start(options).await;
    let steady = fleet.api.create_healthy("steady", CORE).await.r#ref;
    let before = starts(&steady);
    let session = fleet.controller.database.rows().await.session_epoch().await;

    // At once back, in the middle of a create.
    let (at_once, operation) = created(&fleet.api, "at-once").await;
    database.crash();
    database.run_again();
    let answered = async || nodes(&fleet.api).await.ok();
    wait_for("an answer of the API", BACK * SLACK, answered).await;
    assert_succeeds(&fleet.api, &operation).await;

    // Away for a while, in the middle of another.
    let (later, operation) = created(&fleet.api, "later").await;
    database.crash();
    assert_unavailable(&fleet.api, AWAY).await;
    database.run_again();
    wait_for("an answer of the API", BACK * SLACK, answered).await;
    assert_succeeds(&fleet.api, &operation).await;

    fleet.controller.process.assert_alive();
    fleet.api.wait_ready_nodes(1).await;
    let now = fleet.controller.database.rows().await.session_epoch().await;
    assert_eq!(now, session, "the node's session went on");
    for project in [&at_once, &later, &steady] {
        fleet.api.wait_state(project, ProjectState::ActiveHealthy, BACK * SLACK).await;
    }
    assert_eq!(starts(&steady), before, "no container was started again");
    assert_eq!((starts(&at_once).len(), starts(&later).len()), (3, 3), "nothing twice");
    fleet.api.assert_consistent(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_line_is_shown_and_comes_back_without_a_restart() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let cable = TcpProxy::to(&controller.node_address).await;
    let token = api.join_token().await;
    let agent = Agent::start_at(&cable.address, &controller.fleet, &token, AgentOptions::default());
    api.wait_ready_nodes(1).await;
    let project = api.create_healthy("steady", CORE).await.r#ref;
    let before = starts(&project);
    let node = api.nodes().await.remove(0);

    cable.set_cut(true);
    let cut = Instant::now();
    wait_for("the silence to be shown", SHOWN * SLACK, async || {
        let shown = api.nodes().await[0].state() == NodeState::Unhealthy;
        shown.then_some(())
    })
    .await;
    println!("the node is unhealthy {:?} after the cut", cut.elapsed());
    // Last heard at most one ping of 5 s before the cut.
    assert!(cut.elapsed() > Duration::from_secs(10), "a blip is no silence");
    let told = format!("node {} has been silent since", node.name);
    wait_for("the project to show it", BACK * SLACK, async || {
        let project = api.project(&project).await;
        let shown = project.state() == ProjectState::ActiveUnhealthy;
        (shown && project.state_reason.starts_with(&told)).then_some(())
    })
    .await;
    tokio::time::sleep(CUT.saturating_sub(cut.elapsed())).await;
    cable.set_cut(false);
    let healed = Instant::now();
    api.wait_state(&project, ProjectState::ActiveHealthy, BACK * SLACK).await;
    println!("the project is healthy {:?} after the line is whole", healed.elapsed());
    api.wait_ready_nodes(1).await;

    assert_eq!(starts(&project), before, "no container was started again");
    let back = api.nodes().await;
    assert_eq!((back.len(), &back[0].id), (1, &node.id), "nothing moved");
    let events: Vec<String> = api.events(&project).await.into_iter().map(|event| event.message).collect();
    let shown = events.iter().position(|said| said.starts_with("ACTIVE_UNHEALTHY") && said.contains(&told));
    let over = events.iter().rposition(|said| said == "ACTIVE_HEALTHY");
    assert!(shown.is_some() && shown < over, "{events:#?}");
    api.assert_consistent(1).await;
    drop(agent);
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
