//! Organizations and their members: names, roles, the last owner, and the end of an organization.

use std::time::Duration;

use supalove_proto::v1::{
    CreateOrganizationRequest, CreateProjectRequest, DeleteOrganizationRequest, ErrorReason, GetMeRequest,
    GetOrganizationRequest, LeaveOrganizationRequest, ListMembersRequest, ListOrganizationsRequest,
    ListProjectsRequest, Member, RemoveMemberRequest, Role, UpdateMemberRequest, UpdateOrganizationRequest,
    WatchRequest, WatchSubscription, watch_response::Message, watch_subscription::Stream,
};
use supalove_system_tests::{Api, CORE, Controller, SLACK, wait_for};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A user with a client.
struct Person {
    api: Api,
    id: String,
}

/// Controller, and the organization "globex" with its people.
struct Scene {
    controller: Controller,
    operator: Api,
    owner: Person,
    administrator: Person,
    developer: Person,
    read_only: Person,
}

impl Scene {
    async fn set() -> Self {
        let controller = Controller::start().await;
        let operator = controller.operator().await;
        let owner = person(&controller, "owner").await;
        owner.api.create_organization("globex").await;
        let rows = controller.database.rows().await;
        let mut members = Vec::new();
        for role in ["administrator", "developer", "read_only"] {
            members.push(person(&controller, role).await);
            rows.add_member("globex", &format!("{role}@example.com"), &role.to_uppercase()).await;
        }
        let [administrator, developer, read_only] = members.try_into().unwrap_or_else(|_| panic!("three"));
        Self { controller, operator, owner, administrator, developer, read_only }
    }
}

async fn person(controller: &Controller, name: &str) -> Person {
    let email = format!("{name}@example.com");
    controller.database.rows().await.add_user(&email).await;
    let mut api = controller.api();
    api.sign_in(&email).await;
    let me = api.auth().get_me(GetMeRequest {}).await.unwrap().into_inner();
    Person { api, id: me.user.unwrap().id }
}

async fn set_role(by: &Person, member: &Person, role: Role) -> Result<Member, Status> {
    set_role_if(by, member, role, "").await
}

async fn set_role_if(by: &Person, member: &Person, role: Role, etag: &str) -> Result<Member, Status> {
    let request = UpdateMemberRequest {
        organization: "globex".into(),
        user_id: member.id.clone(),
        role: role.into(),
        etag: etag.into(),
    };
    Ok(by.api.organizations().update_member(request).await?.into_inner().member.unwrap())
}

async fn remove(by: &Person, member: &Person) -> Result<(), Status> {
    let request = RemoveMemberRequest { organization: "globex".into(), user_id: member.id.clone() };
    by.api.organizations().remove_member(request).await.map(|_| ())
}

async fn leave(who: &Person) -> Result<(), Status> {
    let request = LeaveOrganizationRequest { organization: "globex".into() };
    who.api.organizations().leave_organization(request).await.map(|_| ())
}

async fn members(api: &Api, page_size: i32, page_token: &str) -> (Vec<Member>, String) {
    let request =
        ListMembersRequest { organization: "globex".into(), page_size, page_token: page_token.into() };
    let page = api.organizations().list_members(request).await.unwrap().into_inner();
    (page.members, page.next_page_token)
}

async fn delete(api: &Api, slug: &str) -> Result<(), Status> {
    let request = DeleteOrganizationRequest { organization: slug.into() };
    api.organizations().delete_organization(request).await.map(|_| ())
}

async fn project_in(api: &Api, slug: &str) -> Result<String, Status> {
    let request = CreateProjectRequest {
        organization: slug.into(),
        name: "first".into(),
        release: CORE.into(),
        ..Default::default()
    };
    Ok(api.projects().create_project(request).await?.into_inner().project.unwrap().r#ref)
}

fn reason(refused: &Status) -> String {
    refused.get_details_error_info().unwrap().reason
}

#[tokio::test]
async fn members_are_listed_by_address_page_by_page() {
    let scene = Scene::set().await;
    let (first, next) = members(&scene.read_only.api, 3, "").await;
    let (rest, end) = members(&scene.read_only.api, 3, &next).await;
    let listed: Vec<(String, Role)> =
        first.iter().chain(&rest).map(|member| (member.email.clone(), member.role())).collect();
    let expected = [
        ("administrator@example.com", Role::Administrator),
        ("developer@example.com", Role::Developer),
        ("owner@example.com", Role::Owner),
        ("read_only@example.com", Role::ReadOnly),
    ];
    assert_eq!(listed, expected.map(|(email, role)| (email.to_owned(), role)));
    assert_eq!((first.len(), end.as_str()), (3, ""));
    assert_eq!(first[1].user_id, scene.developer.id);
    assert!(first[1].create_time.is_some() && first[1].display_name == "x");
}

#[tokio::test]
async fn administrators_act_on_all_but_owners() {
    let scene = Scene::set().await;
    let (owner, administrator) = (&scene.owner, &scene.administrator);
    for refused in [
        set_role(administrator, &scene.developer, Role::Owner).await.unwrap_err(),
        set_role(administrator, administrator, Role::Owner).await.unwrap_err(),
        set_role(administrator, owner, Role::ReadOnly).await.unwrap_err(),
        remove(administrator, owner).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert_eq!(
            refused.message(),
            "you may not change who is an owner; you need the role owner in the organization"
        );
    }
    let changed = set_role(administrator, &scene.developer, Role::Administrator).await.unwrap();
    assert_eq!((changed.role(), changed.user_id), (Role::Administrator, scene.developer.id.clone()));
    remove(administrator, &scene.read_only).await.unwrap();
    let get = GetOrganizationRequest { organization: "globex".into() };
    let gone = scene.read_only.api.organizations().get_organization(get).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound, "a stranger");
    assert_eq!(remove(administrator, &scene.read_only).await.unwrap_err().code(), Code::NotFound);
    let nobody = set_role(owner, &scene.developer, Role::Unspecified).await.unwrap_err();
    assert_eq!(nobody.get_details_bad_request().unwrap().field_violations[0].field, "role");
    let audited = scene.controller.database.rows().await.audited("RemoveMember").await;
    let done: Vec<_> = audited.iter().filter(|call| call.outcome == "OK").collect();
    assert!(
        matches!(done[..], [one] if one.actor == administrator.id && one.target.ends_with(&format!("/{}", scene.read_only.id))),
        "{audited:?}"
    );
}

#[tokio::test]
async fn a_role_is_changed_unless_the_member_has_changed_since() {
    let scene = Scene::set().await;
    let (owner, developer) = (&scene.owner, &scene.developer);
    let (listed, _) = members(&owner.api, 0, "").await;
    let read = listed.into_iter().find(|member| member.user_id == developer.id).unwrap();
    // Two who have read the same: one of them decides.
    let (one, other) = tokio::join!(
        set_role_if(owner, developer, Role::ReadOnly, &read.etag),
        set_role_if(&scene.administrator, developer, Role::Administrator, &read.etag),
    );
    let (changed, refused) = match (one, other) {
        (Ok(changed), Err(refused)) | (Err(refused), Ok(changed)) => (changed, refused),
        both => panic!("{both:?}"),
    };
    assert_eq!((refused.code(), reason(&refused)), (Code::Aborted, "ETAG_MISMATCH".into()));
    assert_ne!(changed.etag, read.etag);
    let refused = set_role_if(owner, developer, Role::Owner, "no etag").await.unwrap_err();
    assert_eq!(reason(&refused), "ETAG_MISMATCH");
    let again = set_role_if(owner, developer, Role::Developer, &changed.etag).await.unwrap();
    assert_eq!((again.role(), &again.etag), (Role::Developer, &read.etag), "the member is as before");
    // Somebody who was removed and has come back is another member.
    remove(owner, developer).await.unwrap();
    let rows = scene.controller.database.rows().await;
    rows.add_member("globex", "developer@example.com", "DEVELOPER").await;
    let refused = set_role_if(owner, developer, Role::Owner, &read.etag).await.unwrap_err();
    assert_eq!(reason(&refused), "ETAG_MISMATCH");
}

#[tokio::test]
async fn an_organization_always_has_an_owner() {
    let scene = Scene::set().await;
    let (owner, heir) = (&scene.owner, &scene.developer);
    for refused in [
        leave(owner).await.unwrap_err(),
        remove(owner, owner).await.unwrap_err(),
        set_role(owner, owner, Role::Developer).await.unwrap_err(),
    ] {
        assert_eq!((refused.code(), reason(&refused)), (Code::FailedPrecondition, "LAST_OWNER".into()));
    }
    set_role(owner, heir, Role::Owner).await.unwrap();
    // Whoever comes second is the last one.
    let (one, other) = tokio::join!(leave(owner), leave(heir));
    let (stays, refused) = match (one, other) {
        (Ok(()), Err(refused)) => (heir, refused),
        (Err(refused), Ok(())) => (owner, refused),
        both => panic!("{both:?}"),
    };
    assert_eq!(reason(&refused), "LAST_OWNER");
    let owners: Vec<String> = members(&stays.api, 0, "")
        .await
        .0
        .into_iter()
        .filter(|member| member.role() == Role::Owner)
        .map(|member| member.user_id)
        .collect();
    assert!(matches!(&owners[..], [one] if *one == stays.id), "{owners:?}");
    leave(&scene.read_only).await.unwrap();
    let request = LeaveOrganizationRequest { organization: "globex".into() };
    let refused = scene.operator.organizations().leave_organization(request).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_A_MEMBER");
}

#[tokio::test]
async fn an_organization_is_renamed_unless_it_has_changed_since() {
    let scene = Scene::set().await;
    let rename = async |name: &str, etag: &str| {
        let request = UpdateOrganizationRequest {
            organization: "globex".into(),
            name: name.into(),
            etag: etag.into(),
            update_mask: None,
        };
        let answer = scene.administrator.api.organizations().update_organization(request).await?;
        Ok::<_, Status>(answer.into_inner().organization.unwrap())
    };
    let first = rename("Globex", "").await.unwrap();
    assert_eq!((first.name.as_str(), first.slug.as_str()), ("Globex", "globex"));
    let second = rename("Globex Corporation", &first.etag).await.unwrap();
    assert_ne!(second.etag, first.etag);
    for stale in [first.etag.as_str(), "no etag"] {
        let refused = rename("Other", stale).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused)), (Code::Aborted, "ETAG_MISMATCH".into()));
        assert!(refused.get_details_retry_info().is_none(), "a retry does not help");
    }
    let wrong = rename("", &second.etag).await.unwrap_err();
    assert_eq!(wrong.get_details_bad_request().unwrap().field_violations[0].field, "name");
}

#[tokio::test]
async fn an_empty_organization_is_deleted_and_its_slug_is_free() {
    let scene = Scene::set().await;
    let (owner, reader) = (&scene.owner.api, &scene.read_only.api);
    let project = project_in(owner, "globex").await.unwrap();
    let full = delete(owner, "globex").await.unwrap_err();
    assert_eq!(reason(&full), "ORGANIZATION_NOT_EMPTY");
    assert!(full.message().contains("projects (1) or private clusters (0)"), "{}", full.message());
    owner.delete(&project, 0).await;
    wait_for("the end of the project", Duration::from_secs(5) * SLACK, async || {
        let request = ListProjectsRequest::default();
        owner.projects().list_projects(request).await.unwrap().into_inner().projects.is_empty().then_some(())
    })
    .await;
    let rows = scene.controller.database.rows().await;
    rows.add_private_cluster("own", Some("globex")).await;
    assert_eq!(reason(&delete(owner, "globex").await.unwrap_err()), "ORGANIZATION_NOT_EMPTY");
    rows.remove_cluster("own").await;

    reader.create_organization("other").await;
    let subscriptions = ["globex", "other"]
        .map(|slug| WatchSubscription { stream: Some(Stream::Organization(slug.into())), after_seq: None });
    let subscriptions = subscriptions.to_vec();
    let mut watched = reader.watches().watch(WatchRequest { subscriptions }).await.unwrap().into_inner();
    for _ in 0..2 {
        watched.message().await.unwrap().unwrap();
    }
    delete(owner, "globex").await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(5) * SLACK, async {
        loop {
            let answer = watched.message().await.unwrap().unwrap();
            if let Some(Message::End(end)) = answer.message {
                return (answer.subscription, end.reason());
            }
        }
    });
    assert_eq!(end.await.unwrap(), (0, ErrorReason::NotFound));
    let rename = UpdateOrganizationRequest {
        organization: "other".into(),
        name: "Other".into(),
        ..Default::default()
    };
    reader.organizations().update_organization(rename).await.unwrap();
    assert_eq!(watched.message().await.unwrap().unwrap().subscription, 1, "the others go on");

    for api in [owner, reader, &scene.operator] {
        let get = GetOrganizationRequest { organization: "globex".into() };
        let gone = api.organizations().get_organization(get).await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);
    }
    let list = ListOrganizationsRequest::default();
    assert!(
        owner.organizations().list_organizations(list).await.unwrap().into_inner().organizations.is_empty()
    );
    assert_eq!(project_in(owner, "globex").await.unwrap_err().code(), Code::NotFound);
    let again =
        CreateOrganizationRequest { name: "Globex".into(), slug: "globex".into(), ..Default::default() };
    reader.organizations().create_organization(again).await.unwrap();
    assert_eq!(members(reader, 0, "").await.0.len(), 1, "nobody came along");
}

/// The right was there when the call began, and is gone when its turn comes.
#[tokio::test]
async fn a_right_that_is_lost_while_a_call_waits_is_lost_for_the_call() {
    let scene = Scene::set().await;
    let rows = scene.controller.database.rows().await;
    let (administrator, developer) = (&scene.administrator, &scene.developer);
    let rename = UpdateOrganizationRequest {
        organization: "globex".into(),
        name: "Mine".into(),
        ..Default::default()
    };
    for (left, expected) in [(Some("DEVELOPER"), Code::PermissionDenied), (None, Code::NotFound)] {
        rows.add_member("globex", "administrator@example.com", "ADMINISTRATOR").await;
        let demotion = rows.change_role("globex", "administrator@example.com", left).await;
        let mut organizations = administrator.api.organizations();
        let calls = async {
            tokio::join!(
                set_role(administrator, administrator, Role::Administrator),
                remove(administrator, developer),
                organizations.update_organization(rename.clone()),
            )
        };
        let commit = async {
            wait_for("the calls to wait", Duration::from_secs(10) * SLACK, async || {
                (rows.waiting_for_an_organization().await == 3).then_some(())
            })
            .await;
            demotion.commit().await.unwrap();
        };
        let ((promoted, removed, renamed), ()) = tokio::join!(calls, commit);
        let codes = [promoted.unwrap_err().code(), removed.unwrap_err().code(), renamed.unwrap_err().code()];
        assert_eq!(codes, [expected; 3], "{left:?}");
    }
    assert_eq!(members(&scene.owner.api, 0, "").await.0.len(), 3);
}

#[tokio::test]
async fn a_repeated_create_shows_the_organization_to_members_only() {
    let scene = Scene::set().await;
    let (first, second) = (&scene.owner, &scene.developer);
    let create = async |by: &Person, request_id: &str| {
        let request = CreateOrganizationRequest {
            name: "Initech".into(),
            slug: "initech".into(),
            request_id: request_id.into(),
        };
        let created = by.api.organizations().create_organization(request).await?;
        Ok::<_, Status>(created.into_inner().organization.unwrap().id)
    };
    let [one, other] = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(|id| id.to_string());
    let made = create(first, &one).await.unwrap();
    assert_eq!(create(first, &one).await.unwrap(), made);
    delete(&first.api, "initech").await.unwrap();
    assert_eq!(create(first, &one).await.unwrap_err().code(), Code::NotFound, "it is deleted");
    let again = create(second, &other).await.unwrap();
    assert_ne!(again, made);
    assert_eq!(create(first, &one).await.unwrap_err().code(), Code::NotFound, "it is another one's");
    assert_eq!(create(second, &other).await.unwrap(), again);
}

#[tokio::test]
async fn nobody_owns_more_organizations_by_a_promotion() {
    let scene = Scene::set().await;
    for number in 0..10 {
        scene.developer.api.create_organization(&format!("own-{number}")).await;
    }
    let refused = set_role(&scene.owner, &scene.developer, Role::Owner).await.unwrap_err();
    assert_eq!(reason(&refused), "QUOTA_EXCEEDED");
    delete(&scene.developer.api, "own-0").await.unwrap();
    set_role(&scene.owner, &scene.developer, Role::Owner).await.unwrap();
}

#[tokio::test]
async fn no_project_is_made_in_an_organization_that_is_deleted_at_the_same_time() {
    let scene = Scene::set().await;
    let rows = scene.controller.database.rows().await;
    let owner = &scene.owner.api;
    for round in 0..10 {
        let slug = format!("round-{round}");
        rows.add_organization(&slug, "owner@example.com").await;
        // Both wait for the row, and the one that came first gets it first.
        let held = rows.hold_organization(&slug).await;
        let gone = tokio::spawn({
            let (owner, slug) = (owner.clone(), slug.clone());
            async move { delete(&owner, &slug).await }
        });
        wait_for("the deletion to wait", Duration::from_secs(10) * SLACK, async || {
            (rows.waiting_for_an_organization().await == 1).then_some(())
        })
        .await;
        let made = tokio::spawn({
            let (owner, slug) = (owner.clone(), slug.clone());
            async move { project_in(&owner, &slug).await }
        });
        wait_for("the create to wait", Duration::from_secs(10) * SLACK, async || {
            (rows.waiting_for_locks().await == 2).then_some(())
        })
        .await;
        held.commit().await.unwrap();
        match (gone.await.unwrap(), made.await.unwrap()) {
            (Ok(()), Err(refused)) => {
                assert_eq!(refused.code(), Code::ResourceExhausted, "it has no quota: {refused:?}");
            }
            (Err(refused), Ok(_)) => assert_eq!(reason(&refused), "ORGANIZATION_NOT_EMPTY"),
            both => panic!("{both:?}"),
        }
    }
}
