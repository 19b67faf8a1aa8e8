//! The engine on streams in memory, with a paused clock.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt as _};
use supalove_net::allowance::Refusals;
use supalove_proto::v1::{self as pb, ErrorReason, WatchSubscription, watch_subscription::Stream as Named};
use supalove_tasks::Tasks;
use tokio::time::Instant;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::Code;

use super::{
    Body, End, Engine, Event, Followed, Kind, Message, Now, Object, StreamSource, Watched, api,
    engine::{BUFFER, PAGE},
};
use crate::{
    access::{Authenticator, Call, Credential, Lasts, Permission, Principal, Rule, Scope},
    error::{Error, Result},
    hints::{Hint, Hints},
    ids::{ProjectRef, SessionId, UserId},
    limits::Limits,
    times::Times,
};

static RULE: Rule =
    Rule::read("/supalove.v1.WatchService/Watch", Scope::AnySignedIn, Permission::ReadAccount)
        .lasting(Lasts::Stream);

/// Streams that one user may watch.
const MOST: usize = 3;

/// A stream in memory.
struct Memory {
    project: ProjectRef,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    revision: u64,
    events: u64,
    /// So many of the oldest events are not kept.
    dropped: u64,
    removed: bool,
    refused: bool,
    /// What goes wrong at the next reading.
    fails: Option<Error>,
    /// How often it was read.
    readings: usize,
}

impl Memory {
    fn new(events: u64) -> Arc<Self> {
        let state = State { events, ..State::default() };
        Arc::new(Self { project: ProjectRef::generate(), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Watched for Memory {
    fn hint(&self) -> Hint {
        Hint::Project(self.project.clone())
    }

    fn still_allow<'a>(&'a self, _call: &'a Call) -> BoxFuture<'a, Result<()>> {
        let not_found = Error::NotFound { kind: "project", name: self.project.to_string() };
        let answer = if self.state().refused { Err(not_found) } else { Ok(()) };
        async { answer }.boxed()
    }

    fn now(&self) -> BoxFuture<'_, Result<Now>> {
        let mut state = self.state();
        state.readings += 1;
        let now = match state.fails.take() {
            Some(error) => Err(error),
            None => Ok(Now {
                object: Object::Project(pb::Project {
                    r#ref: self.project.to_string(),
                    ..Default::default()
                }),
                version: state.revision.to_be_bytes().to_vec(),
                last_seq: state.events,
                gone: state.removed.then_some(ErrorReason::ProjectRemoved),
            }),
        };
        async { now }.boxed()
    }

    fn events(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<(u64, Event)>>> {
        let numbered = |seq| (seq, Event::Project(pb::ProjectEvent { seq, ..Default::default() }));
        let state = self.state();
        let events = (after.max(state.dropped) + 1..=state.events).take(limit).map(numbered).collect();
        async { Ok(events) }.boxed()
    }
}

/// Everybody's session goes on until it does not.
struct Sessions(Mutex<bool>);

impl Authenticator for Sessions {
    fn authenticate<'a>(&'a self, _bearer: &'a str) -> BoxFuture<'a, Result<Principal>> {
        async { Err(Error::internal("a watch is signed in already")) }.boxed()
    }

    fn confirm<'a>(&'a self, principal: &'a Principal) -> BoxFuture<'a, Result<Principal>> {
        let ended = Error::Unauthenticated {
            reason: ErrorReason::SessionEnded,
            message: "the session has ended".into(),
        };
        let answer = if *self.0.lock().unwrap() { Ok(principal.clone()) } else { Err(ended) };
        async { answer }.boxed()
    }
}

struct Bench {
    engine: Engine,
    sessions: Arc<Sessions>,
}

impl Bench {
    fn new() -> Self {
        let times = Arc::new(Times::default());
        let limits = Limits { watched_per_user: MOST, ..Limits::default() };
        let refusals = Refusals::default();
        let engine = Engine::new(Hints::default(), times, Tasks::default(), &limits, refusals);
        Self { engine, sessions: Arc::new(Sessions(Mutex::new(true))) }
    }

    fn call(&self) -> Call {
        let (user, credential) = (UserId::generate(), Credential::Session(SessionId::generate()));
        Call {
            method: RULE.method,
            rule: &RULE,
            principal: Some(Principal { user, credential, operator: false }),
            client: None,
            trace_id: String::new(),
            deadline: Instant::now() + self.engine.times.stream,
            authenticator: self.sessions.clone(),
            named: Arc::default(),
            organization: Arc::default(),
            refused_as: Arc::default(),
        }
    }

    fn follow(&self, streams: &[(&Arc<Memory>, Option<u64>)]) -> ReceiverStream<Result<Message>> {
        let followed = |(number, (stream, after)): (usize, &(&Arc<Memory>, Option<u64>))| Followed {
            number,
            stream: (*stream).clone(),
            after: *after,
        };
        self.engine.follow(self.call(), streams.iter().enumerate().map(followed).collect()).unwrap()
    }

    /// Something happened to a stream.
    fn wake(&self, stream: &Memory) {
        self.engine.hints.wake(stream.hint());
    }
}

/// The next message.
async fn next(messages: &mut ReceiverStream<Result<Message>>) -> Message {
    messages.next().await.expect("the watch goes on").expect("no error")
}

/// The next message, as a word with its stream and its resume point.
async fn word(messages: &mut ReceiverStream<Result<Message>>) -> String {
    let message = next(messages).await;
    let what = match &message.body {
        Body::Snapshot(_) => "snapshot".to_owned(),
        Body::Event(Event::Project(event)) => format!("event {}", event.seq),
        Body::Event(Event::Organization(_)) => panic!("it is a project's"),
        Body::Gap(events) => format!("gap {events}"),
        Body::End(End::Gone(reason)) => format!("end {}", reason.text()),
        Body::End(End::Refused(error)) => format!("end {}", error.reason().text()),
        Body::KeepAlive => "keep-alive".to_owned(),
    };
    format!("{} {what} @{}", message.stream, message.resume_seq)
}

/// Lets the watch do all it can do now.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_hint_reads_its_own_stream_only_and_a_poll_reads_all() {
    let bench = Bench::new();
    let (one, other) = (Memory::new(0), Memory::new(0));
    let mut messages = bench.follow(&[(&one, None), (&other, None)]);
    assert_eq!(word(&mut messages).await, "0 snapshot @0");
    assert_eq!(word(&mut messages).await, "1 snapshot @0");
    one.state().events = 1;
    other.state().events = 1;
    bench.wake(&other);
    assert_eq!(word(&mut messages).await, "1 event 1 @1");
    settle().await;
    assert_eq!((one.state().readings, other.state().readings), (1, 2), "the hint was the other's");
    let began = Instant::now();
    assert_eq!(word(&mut messages).await, "0 event 1 @1", "a hint that was lost costs one poll");
    assert!(began.elapsed() <= bench.engine.times.hinted_poll);
    settle().await;
    assert_eq!((one.state().readings, other.state().readings), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn events_come_once_in_order_and_a_later_call_goes_on_at_the_resume_point() {
    let bench = Bench::new();
    let many = PAGE as u64 * 2 + 7;
    let (busy, quiet) = (Memory::new(many), Memory::new(3));
    let mut seen = Vec::new();
    let mut resume = BTreeMap::from([(0, 0), (1, 0)]);
    for limit in [5, PAGE, usize::MAX] {
        let mut messages =
            bench.follow(&[(&busy, resume.get(&0).copied()), (&quiet, resume.get(&1).copied())]);
        let mut taken = 0;
        while resume != BTreeMap::from([(0, many), (1, 3)]) && taken < limit {
            let message = next(&mut messages).await;
            resume.insert(message.stream, message.resume_seq);
            if let Body::Event(Event::Project(event)) = message.body {
                assert_eq!(event.seq, message.resume_seq);
                seen.push((message.stream, event.seq));
                taken += 1;
            }
        }
    }
    let of = |stream| seen.iter().filter(move |(of, _)| *of == stream).map(|(_, seq)| *seq);
    assert!(of(0).eq(1..=many), "{seen:?}");
    assert!(of(1).eq(1..=3));
    let last_of_quiet = seen.iter().rposition(|(stream, _)| *stream == 1).unwrap();
    assert!(last_of_quiet < seen.len() - 1, "a stream with many events gives the other its turn");
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_events_that_are_not_kept_is_told_how_many_are_missing() {
    let bench = Bench::new();
    let stream = Memory::new(9);
    stream.state().dropped = 7;
    let mut messages = bench.follow(&[(&stream, Some(4))]);
    for expected in ["0 snapshot @4", "0 gap 3 @7", "0 event 8 @8", "0 event 9 @9"] {
        assert_eq!(word(&mut messages).await, expected);
    }
    stream.state().dropped = 9;
    let mut messages = bench.follow(&[(&stream, Some(2))]);
    for expected in ["0 snapshot @2", "0 gap 7 @9"] {
        assert_eq!(word(&mut messages).await, expected);
    }
    stream.state().events = 10;
    bench.wake(&stream);
    assert_eq!(word(&mut messages).await, "0 event 10 @10");
}

#[tokio::test(start_paused = true)]
async fn without_a_number_only_new_events_come_and_a_change_shows_the_object_again() {
    let bench = Bench::new();
    let stream = Memory::new(41);
    let mut messages = bench.follow(&[(&stream, None)]);
    assert_eq!(word(&mut messages).await, "0 snapshot @41");
    stream.state().events = 42;
    bench.wake(&stream);
    assert_eq!(word(&mut messages).await, "0 event 42 @42");
    stream.state().revision = 1;
    bench.wake(&stream);
    assert_eq!(word(&mut messages).await, "0 snapshot @42");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_one_stream_leaves_the_others_and_the_last_one_ends_the_watch() {
    let bench = Bench::new();
    let (removed, forbidden) = (Memory::new(1), Memory::new(0));
    let mut messages = bench.follow(&[(&removed, Some(0)), (&forbidden, None)]);
    assert_eq!(word(&mut messages).await, "0 snapshot @0");
    assert_eq!(word(&mut messages).await, "0 event 1 @1");
    assert_eq!(word(&mut messages).await, "1 snapshot @0");
    {
        let mut state = removed.state();
        state.events = PAGE as u64 + 1;
        state.removed = true;
    }
    bench.wake(&removed);
    for seq in 2..=PAGE + 1 {
        assert_eq!(
            word(&mut messages).await,
            format!("0 event {seq} @{seq}"),
            "all events come before the end"
        );
    }
    assert_eq!(word(&mut messages).await, format!("0 end PROJECT_REMOVED @{}", PAGE + 1));
    forbidden.state().events = 1;
    bench.wake(&forbidden);
    assert_eq!(word(&mut messages).await, "1 event 1 @1", "the other goes on");
    forbidden.state().refused = true;
    let began = Instant::now();
    assert_eq!(word(&mut messages).await, "1 end NOT_FOUND @1");
    assert!(began.elapsed() <= bench.engine.times.keep_alive);
    assert!(messages.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn keep_alives_come_when_nothing_else_does() {
    let bench = Bench::new();
    let stream = Memory::new(0);
    let keep_alive = bench.engine.times.keep_alive;
    let mut messages = bench.follow(&[(&stream, None)]);
    assert_eq!(word(&mut messages).await, "0 snapshot @0");
    let began = Instant::now();
    assert_eq!(word(&mut messages).await, "0 keep-alive @0");
    assert_eq!(word(&mut messages).await, "0 keep-alive @0");
    assert_eq!(began.elapsed().as_secs(), 2 * keep_alive.as_secs());
    tokio::time::sleep(keep_alive / 2).await;
    stream.state().events = 1;
    bench.wake(&stream);
    assert_eq!(word(&mut messages).await, "0 event 1 @1");
    let began = Instant::now();
    assert_eq!(word(&mut messages).await, "0 keep-alive @0");
    assert_eq!(began.elapsed().as_secs(), keep_alive.as_secs(), "counted from the last message");
}

#[tokio::test(start_paused = true)]
async fn an_ended_session_and_an_error_of_the_database_end_the_watch() {
    let bench = Bench::new();
    let stream = Memory::new(0);
    let mut messages = bench.follow(&[(&stream, None)]);
    assert_eq!(word(&mut messages).await, "0 snapshot @0");
    *bench.sessions.0.lock().unwrap() = false;
    let end = messages.next().await.unwrap().unwrap_err();
    assert_eq!(end.reason(), ErrorReason::SessionEnded);
    assert!(messages.next().await.is_none());

    *bench.sessions.0.lock().unwrap() = true;
    stream.state().fails = Some(Error::Busy);
    let mut messages = bench.follow(&[(&stream, None)]);
    assert_eq!(messages.next().await.unwrap().unwrap_err().reason(), ErrorReason::Busy);
    assert!(messages.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_waited_for_and_keeps_nobody() {
    let bench = Bench::new();
    let many = (BUFFER + PAGE) as u64;
    let stream = Memory::new(many);
    let mut slow = bench.follow(&[(&stream, Some(0))]);
    let mut quick = bench.follow(&[(&stream, None)]);
    assert_eq!(word(&mut quick).await, format!("0 snapshot @{many}"));
    settle().await;
    let readings = stream.state().readings;
    stream.state().events = many + 1;
    bench.wake(&stream);
    assert_eq!(word(&mut quick).await, format!("0 event {0} @{0}", many + 1));
    tokio::time::sleep(bench.engine.times.hinted_poll / 2).await;
    assert_eq!(stream.state().readings, readings + 1, "nothing is read for the slow one");
    assert_eq!(word(&mut slow).await, "0 snapshot @0");
    for seq in 1..=many + 1 {
        assert_eq!(word(&mut slow).await, format!("0 event {seq} @{seq}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_and_a_controller_that_stops_end_the_watch() {
    let bench = Bench::new();
    let stream = Memory::new(10 * BUFFER as u64);
    let tasks = &bench.engine.tasks;
    drop(bench.follow(&[(&stream, None)]));
    drop(bench.follow(&[(&stream, Some(0))]));
    settle().await;
    assert_eq!(tasks.running(), 0);

    // One that reads is told; one that reads nothing does not keep the controller.
    let mut reader = bench.follow(&[(&stream, None)]);
    let _stuck = bench.follow(&[(&stream, Some(0))]);
    assert_eq!(word(&mut reader).await, format!("0 snapshot @{}", stream.state().events));
    settle().await;
    assert_eq!(tasks.running(), 2);
    assert!(tasks.stop(bench.engine.times.goodbye * 2).await);
    let end = tonic::Status::from(reader.next().await.unwrap().unwrap_err());
    assert_eq!(end.code(), Code::Unavailable);
    let retry = tonic_types::StatusExt::get_details_retry_info(&end).unwrap();
    assert_eq!(retry.retry_delay, Some(Duration::from_secs(1)));
}

/// Streams in memory, by their refs.
struct Source(Vec<Arc<Memory>>);

impl StreamSource for Source {
    fn kind(&self) -> Kind {
        Kind::Project
    }

    fn open<'a>(&'a self, _call: &'a Call, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Watched>>> {
        let found = self.0.iter().find(|stream| stream.project.as_str().eq_ignore_ascii_case(name));
        let stream = match found {
            _ if name.is_empty() => Err(Error::field("project_ref", "must not be empty")),
            Some(stream) => Ok(stream.clone() as Arc<dyn Watched>),
            None => Err(Error::NotFound { kind: "project", name: name.to_owned() }),
        };
        async { stream }.boxed()
    }
}

#[tokio::test]
async fn a_request_is_refused_with_the_field_of_the_subscription() {
    let bench = Bench::new();
    let known = Memory::new(0);
    let sources: Vec<Box<dyn StreamSource>> = vec![Box::new(Source(vec![known.clone()]))];
    let call = bench.call();
    let project =
        |name: &str| WatchSubscription { stream: Some(Named::ProjectRef(name.to_owned())), after_seq: None };
    let one = project(known.project.as_str());
    let nameless = WatchSubscription::default();
    let other_spelling = project(&known.project.as_str().to_uppercase());
    for (subscriptions, field) in [
        (vec![], "subscriptions"),
        (vec![nameless.clone(); 101], "subscriptions"),
        (vec![one.clone(), nameless], "subscriptions[1]"),
        (vec![one.clone(), project("")], "subscriptions[1].project_ref"),
        (vec![one.clone(), other_spelling], "subscriptions[1].project_ref"),
    ] {
        let Err(Error::Invalid(violations)) = api::open(&sources, &call, subscriptions).await else {
            panic!("{field} is wrong");
        };
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].field, field);
    }
    let unknown = project(ProjectRef::generate().as_str());
    let (streams, refused) = api::open(&sources, &call, vec![unknown, one]).await.unwrap();
    assert_eq!(streams.iter().map(|followed| followed.number).collect::<Vec<_>>(), [1]);
    let [Message { stream: 0, body: Body::End(End::Refused(error)), .. }] = refused.as_slice() else {
        panic!("{refused:?}");
    };
    assert_eq!(error.reason(), ErrorReason::NotFound, "the others go on");
}

#[tokio::test(start_paused = true)]
async fn a_number_from_beyond_the_newest_event_hides_nothing_that_comes() {
    let bench = Bench::new();
    let stream = Memory::new(2);
    let mut messages = bench.follow(&[(&stream, Some(900))]);
    assert_eq!(word(&mut messages).await, "0 snapshot @2");
    stream.state().events = 3;
    bench.wake(&stream);
    assert_eq!(word(&mut messages).await, "0 event 3 @3");
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_at_its_longest_life_whether_it_is_read_or_not() {
    for read in [true, false] {
        let bench = Bench::new();
        let stream = Memory::new(500);
        let mut messages = bench.follow(&[(&stream, Some(0))]);
        if !read {
            tokio::time::sleep(bench.engine.times.stream + Duration::from_secs(1)).await;
        }
        let end = loop {
            match messages.next().await {
                Some(Ok(_)) => {}
                end => break end,
            }
        };
        assert!(matches!(end, Some(Err(Error::Unavailable { .. }))), "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_watches_of_a_stream_read_it_once() {
    let bench = Bench::new();
    let stream = Memory::new(1);
    let mut watches: Vec<_> = (0..200).map(|_| bench.follow(&[(&stream, None)])).collect();
    for messages in &mut watches {
        assert_eq!(word(messages).await, "0 snapshot @1");
    }
    let began = stream.state().readings;
    assert!(began <= 2, "{began} readings for watches that began together");
    stream.state().events = 2;
    bench.wake(&stream);
    for messages in &mut watches {
        assert_eq!(word(messages).await, "0 event 2 @2");
    }
    assert_eq!(stream.state().readings, began + 1, "one reading for a hint");
    let polls = 6;
    tokio::time::sleep(bench.engine.times.hinted_poll * polls).await;
    settle().await;
    let readings = stream.state().readings - began - 1;
    assert!(readings <= polls as usize + 1, "{readings} readings for {polls} polls");
    assert!(readings >= polls as usize - 1, "{readings} readings for {polls} polls");
}

#[tokio::test(start_paused = true)]
async fn a_watch_shows_what_was_written_before_it_began_though_others_watch_the_stream() {
    let bench = Bench::new();
    let stream = Memory::new(0);
    let mut first = bench.follow(&[(&stream, None)]);
    assert_eq!(word(&mut first).await, "0 snapshot @0");
    // The paused clock stands still between two steps.
    settle().await;
    // Written on another replica, whose hint has not come yet.
    stream.state().events = 7;
    let mut second = bench.follow(&[(&stream, None)]);
    assert_eq!(word(&mut second).await, "0 snapshot @7");
}

#[tokio::test(start_paused = true)]
async fn a_user_watches_so_many_streams_at_once_and_no_more() {
    let bench = Bench::new();
    let stream = Memory::new(0);
    let call = bench.call();
    let follow = || {
        let followed = Followed { number: 0, stream: stream.clone(), after: None };
        bench.engine.follow(call.clone(), vec![followed])
    };
    let mut watches: Vec<_> = (0..MOST).map(|_| follow().unwrap()).collect();
    let Err(error) = follow() else { panic!("one too many") };
    assert_eq!(error.reason(), ErrorReason::Busy);
    assert!(error.to_string().contains("watched streams") && error.to_string().contains('3'), "{error}");
    bench.follow(&[(&stream, None)]);
    watches.pop();
    settle().await;
    follow().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_for_a_moment_does_not_end_a_watch() {
    let bench = Bench::new();
    let stream = Memory::new(0);
    let mut messages = bench.follow(&[(&stream, None)]);
    assert_eq!(word(&mut messages).await, "0 snapshot @0");
    let away = || Error::Unavailable { message: "away".into(), retry_after: Duration::from_secs(1) };
    stream.state().fails = Some(away());
    stream.state().events = 1;
    bench.wake(&stream);
    assert_eq!(word(&mut messages).await, "0 event 1 @1");
}
