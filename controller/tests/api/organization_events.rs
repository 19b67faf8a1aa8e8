//! The stream of an organization: each event once and in order, whoever commits when; where a watch goes on; what is too old; and
//! who sees what.

use std::{collections::BTreeMap, time::Duration};

use supalove_proto::v1::{
    AcceptInvitationRequest, CreateInvitationRequest, OrganizationEvent, OrganizationEventType as Kind,
    ProjectState, RemoveMemberRequest, RevokeInvitationRequest, Role, UpdateMemberRequest,
    UpdateOrganizationRequest, UpdateProjectRequest, WatchRequest, WatchResponse, WatchSubscription,
    watch_event::Event, watch_response::Message, watch_subscription::Stream,
};
use supalove_system_tests::{Api, CORE, Controller, SLACK};
use tonic::Streaming;

const EMAIL: &str = "grace@example.com";
const LIMIT: Duration = Duration::from_secs(20);

/// A watch of "acme".
pub async fn watch(api: &Api, after_seq: Option<u64>) -> Streaming<WatchResponse> {
    let stream = Some(Stream::Organization("acme".into()));
    let subscriptions = vec![WatchSubscription { stream, after_seq }];
    api.watches().watch(WatchRequest { subscriptions }).await.unwrap().into_inner()
}

/// The next event, and how many before it are missing.
async fn next(messages: &mut Streaming<WatchResponse>) -> (OrganizationEvent, u64) {
    let found = async {
        let mut missing = 0;
        loop {
            let answer = messages.message().await.unwrap().expect("the watch goes on");
            match answer.message.unwrap() {
                Message::Gap(gap) => missing += gap.events,
                Message::Event(event) => {
                    let Some(Event::Organization(event)) = event.event else { panic!("{event:?}") };
                    assert_eq!(event.seq, answer.resume_seq);
                    return (event, missing);
                }
                Message::Snapshot(_) | Message::KeepAlive(_) => {}
                Message::End(end) => panic!("{end:?}"),
            }
        }
    };
    tokio::time::timeout(LIMIT * SLACK, found).await.expect("an event comes in time")
}

/// Events until one is of this kind.
pub async fn until(messages: &mut Streaming<WatchResponse>, last: Kind) -> Vec<OrganizationEvent> {
    let mut events = Vec::new();
    loop {
        let (event, missing) = next(messages).await;
        assert_eq!(missing, 0, "nothing is too old");
        let ends = event.r#type() == last;
        events.push(event);
        if ends {
            return events;
        }
    }
}

async fn rename_project(api: &Api, project_ref: &str, name: &str) {
    let request = UpdateProjectRequest {
        project_ref: project_ref.into(),
        name: name.into(),
        ..UpdateProjectRequest::default()
    };
    api.projects().update_project(request).await.unwrap();
}

async fn invite(api: &Api, email: &str) -> (String, String) {
    let request = CreateInvitationRequest {
        organization: "acme".into(),
        email: email.into(),
        role: Role::ReadOnly.into(),
    };
    let answer = api.invitations().create_invitation(request).await.unwrap().into_inner();
    (answer.invitation.unwrap().id, answer.token)
}

#[tokio::test]
async fn changes_of_members_and_projects_are_told_once_and_a_watch_goes_on_where_it_was() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let mut live = watch(&api, Some(0)).await;

    let project = api.create("first", CORE).await.project.unwrap();
    rename_project(&api, &project.r#ref, "second").await;
    let request = UpdateOrganizationRequest {
        organization: "acme".into(),
        name: "Acme Ltd".into(),
        ..UpdateOrganizationRequest::default()
    };
    api.organizations().update_organization(request).await.unwrap();
    let (revoked, _) = invite(&api, "nobody@example.com").await;
    let request = RevokeInvitationRequest { organization: "acme".into(), invitation_id: revoked.clone() };
    api.invitations().revoke_invitation(request).await.unwrap();
    controller.database.rows().await.add_user(EMAIL).await;
    let mut grace = controller.api();
    grace.sign_in(EMAIL).await;
    let (invitation, token) = invite(&api, EMAIL).await;
    grace.invitations().accept_invitation(AcceptInvitationRequest { token }).await.unwrap();
    let mut seen_by_grace = watch(&grace, Some(0)).await;
    let seen_by_grace = until(&mut seen_by_grace, Kind::MemberJoined).await.len()
        + until(&mut seen_by_grace, Kind::MemberJoined).await.len();
    let user_id = api_user(&api, EMAIL).await;
    let request = UpdateMemberRequest {
        organization: "acme".into(),
        user_id: user_id.clone(),
        role: Role::Developer.into(),
        ..Default::default()
    };
    api.organizations().update_member(request).await.unwrap();
    let request = RemoveMemberRequest { organization: "acme".into(), user_id: user_id.clone() };
    api.organizations().remove_member(request).await.unwrap();
    api.delete(&project.r#ref, 0).await;

    let events = until(&mut live, Kind::ProjectRemoved).await;
    let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    let kinds: Vec<Kind> = events.iter().map(OrganizationEvent::r#type).collect();
    let first = [
        Kind::MemberJoined,
        Kind::ProjectCreated,
        Kind::ProjectRenamed,
        Kind::OrganizationRenamed,
        Kind::InvitationCreated,
        Kind::InvitationRevoked,
        Kind::InvitationCreated,
        Kind::InvitationAccepted,
        Kind::MemberJoined,
        Kind::MemberRoleChanged,
        Kind::MemberRemoved,
    ];
    assert_eq!(kinds[..first.len()], first);
    assert_eq!(seen_by_grace, 9, "a new member sees what came before, too");
    assert!(kinds[first.len()..].contains(&Kind::OperationStarted), "{kinds:?}");
    assert_eq!(events[1].project_ref, project.r#ref);
    assert!(!events[1].operation_id.is_empty(), "{:?}", events[1]);
    assert_eq!(events[2].project_name, "second");
    assert_eq!(events[3].organization_name, "Acme Ltd");
    assert_eq!(events[5].invitation_id, revoked);
    assert_eq!((&events[7].invitation_id, events[7].email.as_str()), (&invitation, EMAIL));
    assert_eq!((events[9].user_id.as_str(), events[9].role()), (user_id.as_str(), Role::Developer));
    assert_eq!(events.last().unwrap().project_state(), ProjectState::Removed);

    // From anywhere the rest, and nothing twice.
    for after in [3, numbers.len() as u64 - 1] {
        let mut resumed = watch(&api, Some(after)).await;
        let rest = until(&mut resumed, Kind::ProjectRemoved).await;
        let rest: Vec<u64> = rest.iter().map(|event| event.seq).collect();
        assert_eq!(rest, ((after + 1)..=numbers.len() as u64).collect::<Vec<_>>());
    }
}

/// The id of a member.
async fn api_user(api: &Api, email: &str) -> String {
    let request =
        supalove_proto::v1::ListMembersRequest { organization: "acme".into(), ..Default::default() };
    let members = api.organizations().list_members(request).await.unwrap().into_inner().members;
    members.into_iter().find(|member| member.email == email).unwrap().user_id
}

#[tokio::test]
async fn invited_addresses_are_for_those_who_may_invite() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    rows.add_user(EMAIL).await;
    rows.add_member("acme", EMAIL, "READ_ONLY").await;
    let mut grace = controller.api();
    grace.sign_in(EMAIL).await;
    let mut by_owner = watch(&api, Some(0)).await;
    let mut by_reader = watch(&grace, Some(0)).await;
    invite(&api, "secret@example.com").await;
    let owner = until(&mut by_owner, Kind::InvitationCreated).await.pop().unwrap();
    let reader = until(&mut by_reader, Kind::InvitationCreated).await.pop().unwrap();
    assert_eq!(owner.email, "secret@example.com");
    assert_eq!(reader, OrganizationEvent { email: String::new(), ..owner });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_changes_is_told_once_and_in_order_to_every_watch() {
    const PROJECTS: usize = 8;
    const RENAMES: usize = 15;
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let mut watches = Vec::new();
    for _ in 0..3 {
        watches.push(watch(&api, Some(0)).await);
    }
    let mut projects = Vec::new();
    for number in 0..PROJECTS {
        projects.push(api.create(&format!("project {number}"), CORE).await.project.unwrap().r#ref);
    }
    let renames = projects.iter().map(|project_ref| {
        let api = api.clone();
        async move {
            for number in 0..RENAMES {
                rename_project(&api, project_ref, &format!("{project_ref} {number:02}")).await;
            }
        }
    });
    futures::future::join_all(renames).await;
    let mut told = Vec::new();
    for messages in &mut watches {
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut events = Vec::new();
        while names.values().map(Vec::len).sum::<usize>() < PROJECTS * RENAMES {
            let (event, missing) = next(messages).await;
            assert_eq!((missing, event.seq), (0, events.len() as u64 + 1), "without gaps, none twice");
            if event.r#type() == Kind::ProjectRenamed {
                names.entry(event.project_ref.clone()).or_default().push(event.project_name.clone());
            }
            events.push(event);
        }
        for (project_ref, names) in names {
            let expected: Vec<String> =
                (0..RENAMES).map(|number| format!("{project_ref} {number:02}")).collect();
            assert_eq!(names, expected, "each project's in the order in which they happened");
        }
        told.push(events);
    }
    assert!(told.windows(2).all(|two| two[0] == two[1]), "every watch has seen the same");
}

#[tokio::test]
async fn an_event_that_commits_late_comes_late_and_one_that_is_too_old_is_told_as_a_gap() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let mut messages = watch(&api, Some(0)).await;
    let [before, after] = rows.append_events_out_of_order("acme").await;
    assert_eq!(before, ["operation.failed"]);
    assert_eq!(after, ["operation.failed", "operation.started"]);
    let events = until(&mut messages, Kind::OperationStarted).await;
    let kinds: Vec<Kind> = events.iter().map(OrganizationEvent::r#type).collect();
    assert_eq!(kinds, [Kind::MemberJoined, Kind::OperationFailed, Kind::OperationStarted]);

    rows.forget_organization_events("acme", 2).await;
    let (event, missing) = next(&mut watch(&api, Some(0)).await).await;
    assert_eq!((missing, event.seq), (2, 3));
    // All of them are gone: the caller goes on after the last one. Somebody else, since newest events are kept in memory for the
    // watches of one user.
    rows.forget_organization_events("acme", 3).await;
    rows.add_user("other@example.com").await;
    rows.add_member("acme", "other@example.com", "READ_ONLY").await;
    let mut other = controller.api();
    other.sign_in("other@example.com").await;
    let mut messages = watch(&other, Some(1)).await;
    let gap = async {
        loop {
            let answer = messages.message().await.unwrap().unwrap();
            if let Some(Message::Gap(gap)) = answer.message {
                return (gap.events, answer.resume_seq);
            }
        }
    };
    assert_eq!(tokio::time::timeout(LIMIT * SLACK, gap).await.unwrap(), (2, 3));
    invite(&api, EMAIL).await;
    assert_eq!(next(&mut messages).await.0.seq, 4);
}
