//! Logs of projects and streams of organizations, as a user sees them.

use prost_types::Timestamp;
use supalove_proto::v1::{
    LogLine, LogNote, LogNoteKind, LogOutput, LogPosition, Organization, OrganizationEvent,
    OrganizationEventType, ProjectState, Role, TailLogsResponse, WatchEnd, WatchEvent, WatchGap,
    WatchResponse, WatchSnapshot, tail_logs_response::Item, watch_event, watch_response::Message,
    watch_snapshot, watch_subscription::Stream,
};
use tonic::Status;

use crate::support::World;

const PROJECT: &str = "abcdefghijklmnopqrst";

#[expect(clippy::unnecessary_wraps, reason = "as a message has it")]
fn at(nanos: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_767_323_045, nanos })
}

#[expect(clippy::unnecessary_wraps, reason = "as a stream has it")]
fn line(service: &str, nanos: i32, text: &str) -> Result<TailLogsResponse, Status> {
    let line = LogLine {
        time: at(nanos),
        service: service.into(),
        output: LogOutput::Stdout.into(),
        text: text.into(),
        cut: false,
    };
    Ok(TailLogsResponse { item: Some(Item::Line(line)) })
}

#[expect(clippy::unnecessary_wraps, reason = "as a stream has it")]
fn note(service: &str) -> Result<TailLogsResponse, Status> {
    let note =
        LogNote { service: service.into(), kind: LogNoteKind::Ended.into(), message: "it has ended".into() };
    Ok(TailLogsResponse { item: Some(Item::Note(note)) })
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_lines_with_time_and_service_or_json_lines() {
    let world = World::signed_in().await;
    for _ in 0..2 {
        let messages = vec![line("api", 0, "one"), note("auth"), line("auth", 5_000_000, "\u{1b}[31mtwo")];
        world.fake.state().tails.push_back(messages);
    }
    let arguments = ["projects", "logs", PROJECT, "--service", "api,auth", "--tail", "7", "--since", "1h"];
    let ran = world.run(&arguments).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout, "2026-01-02T03:04:05.000Z api: one\n2026-01-02T03:04:05.005Z auth: [31mtwo\n");
    assert!(ran.stderr.contains("(auth: it has ended)"), "{}", ran.stderr);
    let asked = world.fake.state().tailed[0].clone();
    assert_eq!((asked.project_ref.as_str(), asked.tail, asked.follow), (PROJECT, Some(7), false));
    assert_eq!(asked.services, ["api", "auth"]);
    assert!(asked.since.is_some() && asked.after.is_empty());

    let ran = world.run(&["projects", "logs", PROJECT, "-o", "json"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["line"]["text"], "one");
    assert_eq!(lines[1]["note"]["kind"], "LOG_NOTE_KIND_ENDED");
    assert_eq!(world.fake.state().tailed[1].tail, None);
    for wrong in [["--tail", "10001"], ["--since", "yesterday"]] {
        let ran = world.run(&[&["projects", "logs", PROJECT][..], &wrong].concat()).await;
        assert_eq!(ran.code, 2, "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_goes_on_after_the_last_lines_that_were_printed() {
    let world = World::signed_in().await;
    {
        let mut state = world.fake.state();
        let broken = Err(Status::unavailable("node nod_1 went away"));
        state.tails.push_back(vec![line("api", 1, "a"), line("api", 2, "b"), line("api", 2, "c"), broken]);
        state.tails.push_back(vec![line("api", 3, "d"), Err(Status::permission_denied("no longer"))]);
    }
    let ran = world.run(&["projects", "logs", PROJECT, "--follow", "--tail", "2"]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    let texts: Vec<&str> = ran.stdout.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(texts, ["a", "b", "c", "d"]);
    assert!(ran.stderr.contains("no longer"), "{}", ran.stderr);
    let asked = world.fake.state().tailed.clone();
    assert_eq!((asked.len(), asked[0].tail, asked[1].tail), (2, Some(2), Some(10_000)));
    let position =
        LogPosition { service: "api".into(), output: LogOutput::Stdout.into(), time: at(2), lines: 2 };
    assert_eq!(asked[1].after, [position]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_an_organization_is_followed() {
    let world = World::signed_in().await;
    let message = |resume_seq, message| WatchResponse { subscription: 0, resume_seq, message: Some(message) };
    let organization = Organization {
        slug: "acme".into(),
        name: "Acme".into(),
        projects_used: 1,
        projects_limit: 2,
        ..Organization::default()
    };
    let object = Some(watch_snapshot::Object::Organization(organization));
    let event = |event| Message::Event(WatchEvent { event: Some(watch_event::Event::Organization(event)) });
    let joined = OrganizationEvent {
        seq: 4,
        r#type: OrganizationEventType::MemberJoined.into(),
        email: "grace@example.com".into(),
        role: Role::Developer.into(),
        ..OrganizationEvent::default()
    };
    let up = OrganizationEvent {
        seq: 5,
        r#type: OrganizationEventType::ProjectStateChanged.into(),
        project_ref: PROJECT.into(),
        project_name: "first".into(),
        project_state: ProjectState::ActiveHealthy.into(),
        ..OrganizationEvent::default()
    };
    let end = WatchEnd { message: "you have left".into(), ..WatchEnd::default() };
    world.fake.state().watches_of_many.push_back(vec![
        message(0, Message::Snapshot(WatchSnapshot { object })),
        message(3, Message::Gap(WatchGap { events: 3 })),
        message(4, event(joined)),
    ]);
    world.fake.state().watches_of_many.push_back(vec![message(5, event(up)), message(5, Message::End(end))]);
    let ran = world.run(&["organizations", "watch", "acme", "--after", "0"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for part in [
        "acme (Acme) has 1 of 2 projects",
        "(3 events are not kept any more)",
        "#4 MEMBER_JOINED grace@example.com DEVELOPER",
        "#5 PROJECT_STATE_CHANGED first (abcdefghijklmnopqrst) ACTIVE_HEALTHY",
        "you have left",
    ] {
        assert!(ran.stdout.contains(part), "no {part:?} in {}", ran.stdout);
    }
    let subscribed = world.fake.state().subscribed.clone();
    assert_eq!(subscribed[0][0].stream, Some(Stream::Organization("acme".into())));
    assert_eq!([subscribed[0][0].after_seq, subscribed[1][0].after_seq], [Some(0), Some(4)]);
}
