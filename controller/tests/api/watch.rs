//! One watch over projects, an organization and a node: what it shows, whom it refuses, where it goes on, when it ends.

use std::{collections::BTreeMap, time::Duration};

use supalove_proto::v1::{
    CreateOrganizationRequest, ErrorReason, ListMembersRequest, NodeState, ProjectState, RemoveMemberRequest,
    RevokeNodeRequest, SignOutRequest, WatchRequest, WatchResponse, WatchSubscription, watch_event::Event,
    watch_response::Message, watch_snapshot::Object, watch_subscription::Stream,
};
use supalove_system_tests::{Api, CORE, Controller, SLACK};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;
use uuid::Uuid;

/// For what comes with a hint: no poll is so quick.
const AT_ONCE: Duration = Duration::from_secs(5);

fn project(name: &str, after_seq: Option<u64>) -> WatchSubscription {
    WatchSubscription { stream: Some(Stream::ProjectRef(name.to_owned())), after_seq }
}

fn organization(slug: &str) -> WatchSubscription {
    WatchSubscription { stream: Some(Stream::Organization(slug.to_owned())), after_seq: None }
}

fn node(id: &str) -> WatchSubscription {
    WatchSubscription { stream: Some(Stream::NodeId(id.to_owned())), after_seq: None }
}

async fn watch(api: &Api, subscriptions: Vec<WatchSubscription>) -> Result<Streaming<WatchResponse>, Status> {
    Ok(api.watches().watch(WatchRequest { subscriptions }).await?.into_inner())
}

/// The next message that is of this kind, and comes in time. Those before it are left out.
async fn next<T>(
    messages: &mut Streaming<WatchResponse>,
    limit: Duration,
    of_kind: impl Fn(u32, Message) -> Option<T>,
) -> T {
    let found = async {
        loop {
            let answer = messages.message().await.unwrap().expect("the watch goes on");
            if let Some(found) = of_kind(answer.subscription, answer.message.unwrap()) {
                return found;
            }
        }
    };
    tokio::time::timeout(limit, found).await.expect("it comes in time")
}

/// A node that was never seen.
async fn bare_node(controller: &Controller) -> String {
    let id = Uuid::from_u128(1);
    let [root, token] = [2, 3].map(Uuid::from_u128);
    controller.database.rows().await.add_bare_node_root_and_token(id, root, token).await;
    format!("nod_{}", id.simple())
}

async fn signed_in(controller: &Controller, email: &str) -> Api {
    let mut api = controller.api();
    api.sign_in(email).await;
    api
}

#[tokio::test]
async fn one_call_shows_projects_an_organization_and_a_node_and_what_happens_to_each() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let node_id = bare_node(&controller).await;
    let first = api.create("first", CORE).await.project.unwrap().r#ref;
    let second = api.create("second", CORE).await.project.unwrap().r#ref;
    let subscriptions =
        vec![project(&first, Some(0)), project(&second, None), organization("acme"), node(&node_id)];
    let mut messages = watch(&api, subscriptions).await.unwrap();

    let mut shown = BTreeMap::new();
    let mut seen = Vec::new();
    let happened: Vec<u64> = api.events(&first).await.iter().map(|event| event.seq).collect();
    assert!(!happened.is_empty());
    while shown.len() < 4 || seen.len() < happened.len() {
        let (stream, message) = next(&mut messages, AT_ONCE, |stream, message| Some((stream, message))).await;
        match message {
            Message::Snapshot(snapshot) => drop(shown.insert(stream, snapshot.object.unwrap())),
            Message::Event(event) => {
                assert_eq!(stream, 0, "of the second project only new events come");
                let Some(Event::Project(event)) = event.event else { panic!("{event:?}") };
                seen.push(event.seq);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, happened);
    let Object::Project(project) = &shown[&0] else { panic!("{shown:?}") };
    assert_eq!(*project, api.project(&first).await);
    assert!(matches!(&shown[&1], Object::Project(project) if project.r#ref == second));
    assert!(
        matches!(&shown[&2], Object::Organization(acme) if acme.slug == "acme" && acme.projects_used == 2)
    );
    assert!(matches!(&shown[&3], Object::Node(node) if node.id == node_id));

    // Each change comes in its own stream.
    let used = |stream, message| match message {
        Message::Snapshot(snapshot) => match snapshot.object.unwrap() {
            Object::Organization(acme) if stream == 2 => Some(acme.projects_used),
            _ => None,
        },
        _ => None,
    };
    api.create("third", CORE).await;
    assert_eq!(next(&mut messages, AT_ONCE, used).await, 3);
    api.delete(&first, 0).await;
    let end = next(&mut messages, AT_ONCE, |stream, message| match message {
        Message::End(end) => Some((stream, end.reason())),
        // Both tell of the project's end.
        Message::Event(_) => {
            assert!([0, 2].contains(&stream), "{stream}");
            None
        }
        _ => None,
    });
    assert_eq!(end.await, (0, ErrorReason::ProjectRemoved));
    api.clusters().revoke_node(RevokeNodeRequest { node_id: node_id.clone() }).await.unwrap();
    let revoked = next(&mut messages, AT_ONCE, |stream, message| match message {
        Message::Snapshot(snapshot) => match snapshot.object.unwrap() {
            Object::Node(node) => Some((stream, node.state())),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(revoked.await, (3, NodeState::Revoked));
    api.delete(&second, 0).await;
    let removed = next(&mut messages, AT_ONCE, |stream, message| match message {
        Message::Snapshot(snapshot) => match snapshot.object.unwrap() {
            Object::Project(project) if project.state() == ProjectState::Removed => Some(stream),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(removed.await, 1, "the others went on");
}

#[tokio::test]
async fn a_watch_goes_on_at_its_resume_point_and_shows_each_event_once() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let refs = [api.create("one", CORE).await, api.create("two", CORE).await];
    let refs = refs.map(|created| created.project.unwrap().r#ref);
    let mut resume = [Some(0), Some(0)];
    let mut seen = [Vec::new(), Vec::new()];
    for reading in 0..3 {
        if reading == 2 {
            api.delete(&refs[0], 0).await;
            api.delete(&refs[1], 0).await;
        }
        let subscriptions = vec![project(&refs[1], resume[1]), project(&refs[0], resume[0])];
        let mut messages = watch(&api, subscriptions).await.unwrap();
        // The first two readings break off after three messages; the last one ends with the projects.
        let mut taken = 0;
        while let Some(answer) = messages.message().await.unwrap() {
            let which = 1 - answer.subscription as usize;
            resume[which] = Some(answer.resume_seq);
            if let Some(Message::Event(event)) = answer.message {
                let Some(Event::Project(event)) = event.event else { panic!("{event:?}") };
                assert_eq!(event.seq, answer.resume_seq);
                seen[which].push(event.seq);
            }
            taken += 1;
            if taken == 3 && reading < 2 {
                break;
            }
        }
    }
    for (project_ref, seen) in refs.iter().zip(seen) {
        let happened: Vec<u64> = api.events(project_ref).await.iter().map(|event| event.seq).collect();
        assert_eq!(seen, happened);
    }
}

#[tokio::test]
async fn a_watch_is_refused_whole_and_the_subscription_is_named() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let node_id = bare_node(&controller).await;
    let theirs = api.create("theirs", CORE).await.project.unwrap().r#ref;
    controller.database.rows().await.add_user("stranger@example.com").await;
    let stranger = signed_in(&controller, "stranger@example.com").await;
    let request = CreateOrganizationRequest { name: "own".into(), ..Default::default() };
    stranger.organizations().create_organization(request).await.unwrap();

    let own = organization("own");
    watch(&stranger, vec![own.clone()]).await.unwrap();
    for foreign in [project(&theirs, None), organization("acme"), node(&node_id)] {
        // It ends at once, and that of the caller's own goes on.
        let mut messages = watch(&stranger, vec![own.clone(), foreign.clone()]).await.unwrap();
        let first = messages.message().await.unwrap().unwrap();
        assert_eq!(first.subscription, 1);
        let Some(Message::End(end)) = first.message else { panic!("{foreign:?}: {first:?}") };
        assert_eq!(end.reason(), ErrorReason::NotFound, "{foreign:?}");
        let second = messages.message().await.unwrap().unwrap();
        assert!(matches!(&second.message, Some(Message::Snapshot(_))), "{foreign:?}: {second:?}");
        assert_eq!(second.subscription, 0);
        let mut messages = watch(&api, vec![foreign.clone()]).await.unwrap();
        let shown = messages.message().await.unwrap().unwrap().message;
        assert!(matches!(shown, Some(Message::Snapshot(_))), "{foreign:?}: {shown:?}");
    }
    let nobody = watch(&controller.api(), vec![own.clone()]).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);

    let mut other_spelling = node_id.to_uppercase();
    other_spelling.replace_range(.."nod_".len(), "nod_");
    for (subscriptions, field) in [
        (vec![], "subscriptions"),
        (vec![own.clone(); 101], "subscriptions"),
        (vec![own.clone(), WatchSubscription::default()], "subscriptions[1]"),
        (vec![own.clone(), project("short", None)], "subscriptions[1].project_ref"),
        (vec![project(&theirs, None), project(&theirs, Some(3))], "subscriptions[1].project_ref"),
        (vec![own.clone(), node(&node_id), node(&other_spelling)], "subscriptions[2].node_id"),
    ] {
        let refused = watch(&api, subscriptions).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, field);
    }
}

#[tokio::test]
async fn a_member_who_is_removed_sees_nothing_more_and_an_ended_session_ends_the_watch() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let shared = api.create("shared", CORE).await.project.unwrap().r#ref;
    let rows = controller.database.rows().await;
    let email = "member@example.com";
    rows.add_user(email).await;
    rows.add_member("acme", email, "READ_ONLY").await;
    let member = signed_in(&controller, email).await;
    let request = CreateOrganizationRequest { name: "own".into(), ..Default::default() };
    member.organizations().create_organization(request).await.unwrap();
    let subscriptions = vec![project(&shared, None), organization("acme")];
    let mut removed = watch(&member, subscriptions.clone()).await.unwrap();
    let leaving = signed_in(&controller, "operator@example.com").await;
    let mut ended = watch(&leaving, subscriptions).await.unwrap();
    for messages in [&mut removed, &mut ended] {
        next(messages, AT_ONCE, |stream, _| (stream == 1).then_some(())).await;
    }

    let members = ListMembersRequest { organization: "acme".into(), ..Default::default() };
    let members = api.organizations().list_members(members).await.unwrap().into_inner().members;
    let user_id = members.into_iter().find(|member| member.email == email).unwrap().user_id;
    let request = RemoveMemberRequest { organization: "acme".into(), user_id };
    api.organizations().remove_member(request).await.unwrap();
    leaving.auth().sign_out(SignOutRequest {}).await.unwrap();
    // The right to read is asked for again at every keep-alive.
    let limit = Duration::from_secs(15) * SLACK;
    let mut ends = BTreeMap::new();
    while ends.len() < 2 {
        let end = next(&mut removed, limit, |stream, message| match message {
            Message::End(end) => Some((stream, end.reason())),
            _ => None,
        });
        ends.extend([end.await]);
    }
    assert_eq!(ends, BTreeMap::from([(0, ErrorReason::NotFound), (1, ErrorReason::NotFound)]));
    assert!(removed.message().await.unwrap().is_none(), "nothing is left of the watch");
    let end = tokio::time::timeout(limit, async {
        loop {
            if let Err(status) = ended.message().await {
                return status;
            }
        }
    });
    assert_eq!(end.await.unwrap().get_details_error_info().unwrap().reason, "SESSION_ENDED");
}
