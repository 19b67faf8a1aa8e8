//! Private clusters take the projects of their owner only, and organizations do not multiply what a user may have.

use std::time::Duration;

use supalove_proto::v1::{
    CreateClusterRequest, CreateJoinTokenRequest, CreateOrganizationRequest, CreateProjectRequest,
    GetClusterRequest, OperationState, ProjectState,
};
use supalove_system_tests::{Api, CORE, Controller, Double, Holder, SLACK, restores, wait_for};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const SOON: Duration = Duration::from_secs(10);

async fn create(api: &Api, organization: &str, cluster: &str) -> Result<(), Status> {
    let request = CreateProjectRequest {
        organization: organization.into(),
        name: format!("in-{cluster}"),
        cluster: cluster.into(),
        ..Default::default()
    };
    api.projects().create_project(request).await.map(|_| ())
}

#[tokio::test]
async fn another_organizations_private_cluster_is_as_if_it_did_not_exist() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    rows.add_user("other@example.com").await;
    let mut other = controller.api();
    other.sign_in("other@example.com").await;
    other.create_organization("globex").await;
    let id = rows.add_private_cluster("acme-private", Some("acme")).await;
    rows.add_private_cluster("of-nobody", None).await;

    let by_id = format!("clu_{}", id.simple());
    let unknown = create(&other, "globex", "acme-publicly").await.unwrap_err();
    for name in ["acme-private", "of-nobody", &by_id] {
        let refused = create(&other, "globex", name).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{name}");
        assert_eq!(refused.message(), unknown.message().replace("acme-publicly", name));
        let details = |status: &Status| status.get_details_resource_info().unwrap().resource_type;
        assert_eq!(details(&refused), details(&unknown));
        let request = GetClusterRequest { cluster: name.to_owned() };
        let refused = other.clusters().get_cluster(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{name}");
    }
    create(&operator, "acme", "acme-private").await.unwrap();
    create(&operator, "acme", "default").await.unwrap();
    assert_eq!(create(&operator, "acme", "of-nobody").await.unwrap_err().code(), Code::NotFound);
    let request = GetClusterRequest { cluster: by_id };
    operator.clusters().get_cluster(request).await.unwrap();
}

#[tokio::test]
async fn a_user_owns_ten_organizations_at_most() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    controller.database.rows().await.add_user("other@example.com").await;
    let mut other = controller.api();
    other.sign_in("other@example.com").await;
    let create = async |api: &Api, number: usize| {
        let name = format!("org-{}-{number}", api.token.len());
        let request_id = uuid::Uuid::new_v4().to_string();
        let request = CreateOrganizationRequest { name: name.clone(), slug: name, request_id };
        api.organizations().create_organization(request).await
    };
    let calls = (0..12).map(|number| create(&other, number));
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 10);
    for status in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.get_details_quota_failure().unwrap().violations[0].subject, "user:organizations");
    }
    for number in 100..111 {
        create(&operator, number).await.unwrap();
    }
}

/// The root of such a host can make its agent say anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_a_private_cluster_that_claims_a_restore_holds_back_its_own_cluster_only() {
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let request = CreateClusterRequest {
        name: "hall".into(),
        organization: "acme".into(),
        ..CreateClusterRequest::default()
    };
    api.clusters().create_cluster(request).await.unwrap();
    let request = CreateJoinTokenRequest { cluster: "hall".into(), ..Default::default() };
    let token = api.clusters().create_join_token(request).await.unwrap().into_inner().join_token;
    let _shared = Double::join(&controller.node_address, &api.join_token().await, "shared").await;
    let private = Double::join(&controller.node_address, &token, "private").await;
    let in_hall = async |name: &str| {
        let request = CreateProjectRequest {
            organization: "acme".into(),
            name: name.into(),
            cluster: "hall".into(),
            release: CORE.into(),
            ..Default::default()
        };
        let created = api.projects().create_project(request).await.unwrap().into_inner();
        let operation = api.wait(&created.operation.unwrap().id).await;
        assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
        created.project.unwrap().r#ref
    };
    let liar = in_hall("liar").await;
    let held = in_hall("held").await;
    let free = api.create_healthy("free", CORE).await.r#ref;

    private.state().records.get_mut(&liar).unwrap().generation += 5;
    controller.kill_and_restart().await;
    let rows = controller.database.rows().await;
    wait_for("the claim", SOON * SLACK, async || (rows.restore_claims().await > 0).then_some(())).await;
    for project in [&held, &free] {
        let operation = api.delete(project, 1).await;
        api.wait(&operation.id).await;
    }
    api.wait_state(&free, ProjectState::Removed, SOON * SLACK).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(api.project(&held).await.state(), ProjectState::GoingDown, "it is kept");
    // The operator has seen this one; then the host claims more, and the whole database is restored.
    let first = restores(&api.confirm_restore("").await.unwrap_err());
    private.state().records.get_mut(&liar).unwrap().generation += 5;
    controller.kill_and_restart().await;
    wait_for("another claim", SOON * SLACK, async || (rows.restore_claims().await > 1).then_some(())).await;
    rows.claim_restore().await;
    let refused = api.confirm_restore(&first[0]).await.unwrap_err();
    let reason = refused.get_details_error_info().unwrap().reason;
    assert_eq!((refused.code(), reason.as_str()), (Code::FailedPrecondition, "RESTORE_NOT_NAMED"));
    let [whole, hall] = &restores(&refused)[..] else { panic!("{refused:?}") };
    assert!(!first.contains(hall), "it is not what was seen");
    let confirmed = api.confirm_restore(hall).await.unwrap();
    assert!(confirmed.contains(&liar), "{confirmed}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        api.project(&held).await.state(),
        ProjectState::GoingDown,
        "the other restore is not confirmed"
    );
    assert_eq!(restores(&api.confirm_restore("").await.unwrap_err()), std::slice::from_ref(whole));
    assert_eq!(api.confirm_restore(whole).await.unwrap(), "claimed by a test");
    api.wait_state(&held, ProjectState::Removed, SOON * SLACK).await;
    for named in ["", whole] {
        assert_eq!(api.confirm_restore(named).await.unwrap(), "", "nothing waits for a confirmation");
    }
    assert_eq!(api.confirm_restore("restore").await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_organization_takes_a_bounded_part_of_the_controllers() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let make = async |number: usize| {
        let name = format!("hall-{number}");
        let request = CreateClusterRequest { name, organization: "acme".into(), ..Default::default() };
        api.clusters().create_cluster(request).await
    };
    for number in 0..20 {
        make(number).await.unwrap();
    }
    let refused = make(20).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let subject = |status: &Status| status.get_details_quota_failure().unwrap().violations[0].subject.clone();
    assert_eq!(subject(&refused), "organization:private_clusters");

    let token = async |cluster: &str| {
        let request = CreateJoinTokenRequest { cluster: cluster.into(), ..Default::default() };
        Ok::<_, Status>(api.clusters().create_join_token(request).await?.into_inner().join_token)
    };
    for _ in 0..99 {
        token("hall-0").await.unwrap();
    }
    let last = token("hall-0").await.unwrap();
    assert_eq!(subject(&token("hall-0").await.unwrap_err()), "cluster:join_tokens");
    token("hall-1").await.unwrap();
    token("default").await.unwrap();

    for number in 0..200 {
        rows.add_bare_node(&format!("n-{number}"), if number % 2 == 0 { "hall-0" } else { "hall-1" }).await;
    }
    let refused = Holder::try_enroll(&controller.node_address, &last, "one-more").await.err().unwrap();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("200 nodes"), "{refused:?}");
    assert_eq!(rows.join_token_uses().await.into_iter().sum::<i32>(), 0, "no token is used up for that");
    Holder::enroll(&controller.node_address, &token("default").await.unwrap(), "shared").await;
}
