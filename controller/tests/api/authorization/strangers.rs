//! A stranger cannot tell somebody else's object from one that does not exist: by code, text, details, metadata or time, nor
//! does the controller ask its database for more. Each RPC that takes an id or a name is called with that of an object of
//! another organization, or of another user, and with one that nothing has.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use prost_reflect::{Kind, MethodDescriptor};
use supalove_proto::v1::{
    WatchRequest, WatchResponse, WatchSubscription, watch_response::Message, watch_subscription::Stream,
};
use supalove_system_tests::{Api, SLACK};
use tonic::{Code, Status, metadata::KeyAndValueRef};
use uuid::Uuid;

use super::{
    any_call::{Fields, answer, methods, name},
    world::{FOREIGNER, World, is_id},
};

/// Calls of each kind whose times are compared.
const SAMPLES: usize = 40;
/// Most that the medians of their times may differ: less than a hash takes, or a wait that somebody would notice.
const DIFFERENCE: Duration = Duration::from_millis(5);
/// Of all comparisons of two times: one request is longer in more than this part only if it is longer by itself. On a busy machine
/// medians differ by chance, and neither request wins; of 40 samples each this is four standard deviations from one half.
const WINS: f64 = 0.75;

/// Methods whose times are compared: a read, a wait, a stream and changes, of each kind of object.
const TIMED: [&str; 9] = [
    "ProjectService/GetProject",
    "ProjectService/SetSecrets",
    "ProjectService/WatchProject",
    "OperationService/WaitOperation",
    "OrganizationService/GetOrganization",
    "OrganizationService/UpdateMember",
    "InvitationService/RevokeInvitation",
    "AuthService/EndSession",
    "PersonalAccessTokenService/RevokePersonalAccessToken",
];

/// Two requests of one method that a stranger must not be able to tell apart.
struct Pair<'a> {
    method: &'a MethodDescriptor,
    principal: &'static str,
    api: &'a Api,
    existing: Fields,
    unknown: Fields,
}

/// What a refused caller sees, with "#" for the ids and names of the request, and what only the controller's log has.
#[derive(Debug, PartialEq)]
struct Seen {
    code: Code,
    message: String,
    details: Vec<u8>,
    metadata: Vec<String>,
}

/// An id or name that nothing has, of the same form and length.
fn unlike(field: &str, id: &str) -> String {
    match (field, id.split_once('_')) {
        ("organization" | "cluster", _) => "x".repeat(id.len()),
        (_, Some((kind, _))) => format!("{kind}_{}", Uuid::now_v7().simple()),
        // A ref.
        (_, None) => id.bytes().map(|letter| char::from(b'a' + (letter - b'a' + 1) % 26)).collect(),
    }
}

/// Names of a method's fields that name objects.
fn ids_of(method: &MethodDescriptor) -> Vec<String> {
    let request = method.input();
    let texts = request.fields().filter(|field| field.kind() == Kind::String);
    texts.map(|field| field.name().to_owned()).filter(|name| is_id(name)).collect()
}

/// The pairs of a method: all its objects are others'; and for who owns another organization: that is the caller's own, and
/// what is in it is not.
async fn pairs<'a>(world: &'a World, method: &'a MethodDescriptor, existing: &Fields) -> Vec<Pair<'a>> {
    let taken = ids_of(method);
    let known = |field: &String| existing.keys().find(|known| *known == field).copied();
    let taken: Vec<&'static str> = taken
        .iter()
        .map(|field| known(field).unwrap_or_else(|| panic!("{}: no {field} of somebody else", name(method))))
        .collect();
    let mut pairs = Vec::new();
    for principal in ["stranger", FOREIGNER] {
        for own in [false, true] {
            let is_own = |field: &str| own && field == "organization";
            if (own && (principal != FOREIGNER || !taken.contains(&"organization")))
                || taken.iter().all(|field| is_own(field))
            {
                continue;
            }
            let api = world.caller(principal);
            let mut one = world.fields(&name(method), api, false).await;
            let mut other = one.clone();
            for field in taken.iter().copied() {
                let id = if is_own(field) { "elsewhere".to_owned() } else { existing[field].clone() };
                let unknown = if is_own(field) { id.clone() } else { unlike(field, &id) };
                one.insert(field, id);
                other.insert(field, unknown);
            }
            pairs.push(Pair { method, principal, api, existing: one, unknown: other });
        }
    }
    pairs
}

/// What a caller sees of a refusal, and the call's trace id.
fn seen(answered: Result<(), Status>, request: &Fields) -> (Seen, String) {
    let refused = answered.err().unwrap_or_else(|| Status::ok("it is allowed"));
    let ids = || request.iter().filter(|(field, _)| is_id(field)).map(|(_, id)| id.as_str());
    let hidden = |text: &str| ids().fold(text.to_owned(), |text, id| text.replace(id, "#"));
    let metadata = refused.metadata().iter().map(|entry| match entry {
        // New for each call.
        KeyAndValueRef::Ascii(key, _) if ["x-trace-id", "date"].contains(&key.as_str()) => {
            key.as_str().to_owned()
        }
        KeyAndValueRef::Ascii(key, value) => hidden(&format!("{}: {value:?}", key.as_str())),
        KeyAndValueRef::Binary(key, _) => key.as_str().to_owned(),
    });
    let mut metadata: Vec<String> = metadata.collect();
    metadata.sort_unstable();
    let trace = refused.metadata().get("x-trace-id").map_or("", |id| id.to_str().unwrap()).to_owned();
    let details = ids().fold(refused.details().to_vec(), |details, id| without(&details, id.as_bytes()));
    (Seen { code: refused.code(), message: hidden(refused.message()), details, metadata }, trace)
}

/// The bytes with "#" for each occurrence of `id`.
fn without(bytes: &[u8], id: &[u8]) -> Vec<u8> {
    let mut left = bytes;
    let mut all = Vec::new();
    while let Some(at) = left.windows(id.len()).position(|window| window == id) {
        all.extend_from_slice(&left[..at]);
        all.push(b'#');
        left = &left[at + id.len()..];
    }
    all.extend_from_slice(left);
    all
}

/// Number of statements that each call has sent to the database, by its trace id, as the controller's log has it.
fn statements(log: &str) -> HashMap<&str, u32> {
    let of_line = |line: &'_ str| -> Option<(usize, u32)> {
        let (call, number) = line.split_once(" statements=")?;
        Some((call.find("trace_id=")? + "trace_id=".len(), number.split(' ').next()?.parse().ok()?))
    };
    log.lines().filter_map(|line| of_line(line).map(|(at, number)| (&line[at..at + 32], number))).collect()
}

/// Calls both of each pair; what differs.
async fn compare(world: &World, pairs: &[Pair<'_>]) -> Vec<String> {
    let mut called = Vec::new();
    for pair in pairs {
        let one = seen(answer(pair.api, pair.method, &pair.existing).await, &pair.existing);
        let other = seen(answer(pair.api, pair.method, &pair.unknown).await, &pair.unknown);
        called.push((pair, one, other));
    }
    let log = world.log();
    let statements = statements(&log);
    let mut wrong = Vec::new();
    for (pair, (one, trace), (other, other_trace)) in called {
        let what = format!("{} as {}", name(pair.method), pair.principal);
        if one.code == Code::Ok || one != other {
            wrong.push(format!("{what}: {one:?}, but for what does not exist {other:?}"));
            continue;
        }
        let [asked, asked_for_other] = [trace, other_trace].map(|trace| statements[trace.as_str()]);
        if asked != asked_for_other {
            wrong.push(format!("{what}: {asked} statements, but {asked_for_other} for what does not exist"));
        }
    }
    wrong
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

/// How often a time of `one` is longer than one of `other`, from 0 to 1; by chance it is near 0.5.
fn longer(one: &[Duration], other: &[Duration]) -> f64 {
    let wins = one.iter().flat_map(|a| other.iter().map(move |b| a > b)).filter(|wins| *wins).count();
    let count = |number: usize| f64::from(u32::try_from(number).unwrap());
    count(wins) / (count(one.len()) * count(other.len()))
}

/// Times both of a pair in turn; what differs.
async fn compare_times(pair: &Pair<'_>) -> Option<String> {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..SAMPLES {
        // Each is the first one as often as the other.
        for which in [round % 2, 1 - round % 2] {
            let request = [&pair.existing, &pair.unknown][which];
            let began = Instant::now();
            assert!(answer(pair.api, pair.method, request).await.is_err());
            times[which].push(began.elapsed());
        }
    }
    let [one, other] = [&times[0], &times[1]].map(|times| median(times));
    let rank = longer(&times[0], &times[1]);
    let what = format!("{} as {}", name(pair.method), pair.principal);
    println!(
        "{what}: {one:?}, and {other:?} for what does not exist; longer in {rank:.2} of all comparisons"
    );
    let differs = one.abs_diff(other) > DIFFERENCE * SLACK && !(1.0 - WINS..=WINS).contains(&rank);
    differs.then(|| format!("{what}: takes {one:?}, but {other:?} for what does not exist"))
}

/// What a watch of something ends with.
async fn watched(api: &Api, stream: Stream, id: &str) -> String {
    let subscriptions = vec![WatchSubscription { stream: Some(stream), after_seq: None }];
    let mut messages = api.watches().watch(WatchRequest { subscriptions }).await.unwrap().into_inner();
    let first: WatchResponse = messages.message().await.unwrap().unwrap();
    assert!(matches!(first.message, Some(Message::End(_))), "{first:?}");
    format!("{first:?}").replace(id, "#")
}

#[tokio::test]
async fn what_is_somebody_elses_looks_like_what_does_not_exist() {
    let world = World::make().await;
    let existing = world.ids().await;
    let methods = methods();
    let mut all = Vec::new();
    for method in &methods {
        all.extend(pairs(&world, method, &existing).await);
    }
    let mut wrong = compare(&world, &all).await;
    println!("{} pairs of requests of RPCs that take an id or a name", all.len());
    for principal in ["stranger", FOREIGNER] {
        for field in ["project_ref", "organization", "node_id"] {
            let stream = |id| match field {
                "project_ref" => Stream::ProjectRef(id),
                "organization" => Stream::Organization(id),
                _ => Stream::NodeId(id),
            };
            let unknown = unlike(field, &existing[field]);
            let api = world.caller(principal);
            let one = watched(api, stream(existing[field].clone()), &existing[field]).await;
            let other = watched(api, stream(unknown.clone()), &unknown).await;
            if one != other {
                wrong.push(format!("Watch of a {field} as {principal}: {one}, but {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Of two principals for which the answers are the same, one: whose own organization may be named.
    let timed =
        all.iter().filter(|pair| pair.principal == FOREIGNER && TIMED.contains(&name(pair.method).as_str()));
    for pair in timed {
        wrong.extend(compare_times(pair).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
