//! Clusters as their owners, their neighbours and the operator see them, and what placement makes of their nodes.

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use supalove_core::ids::NodeId;
use supalove_proto::v1::{
    Cluster, CordonNodeRequest, CreateClusterRequest, CreateJoinTokenRequest, CreateProjectRequest,
    DeleteClusterRequest, DeleteOrganizationRequest, ExplainPlacementRequest, ExplainPlacementResponse,
    GetClusterRequest, GetNodeRequest, ListClustersRequest, ListJoinTokensRequest, ListNodesRequest,
    NodeAvailability, NodeState, PlacementObstacleReason, PlacementPolicy, PlacementResources, Project,
    ProjectState, RemoveNodeRequest, ResourceFactors, ResourceReserve, RevokeNodeRequest,
    UncordonNodeRequest, UpdateClusterRequest, UpdateNodeRequest,
};
use supalove_scheduler::{Blocked, Candidate, Resources, misfit};
use supalove_system_tests::{Api, CORE, Controller, Rows, SLACK, wait_for};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const SOON: std::time::Duration = std::time::Duration::from_secs(5);

/// Makes one field of a request wrong.
type Change = fn(&mut CreateClusterRequest);

fn reason(refused: &Status) -> String {
    refused.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// What a refusal names, as "kind:name".
fn named(refused: &Status) -> Vec<String> {
    let failures = refused.get_details_precondition_failure();
    failures.into_iter().flat_map(|one| one.violations).map(|one| one.subject).collect()
}

async fn make(api: &Api, name: &str, organization: &str) -> Result<Cluster, Status> {
    let request = CreateClusterRequest {
        name: name.into(),
        organization: organization.into(),
        region: "eu-central".into(),
        labels: [("tier".to_owned(), "gold".to_owned())].into(),
        ..Default::default()
    };
    Ok(api.clusters().create_cluster(request).await?.into_inner().cluster.unwrap())
}

async fn get(api: &Api, cluster: &str) -> Result<Cluster, Status> {
    let request = GetClusterRequest { cluster: cluster.into() };
    Ok(api.clusters().get_cluster(request).await?.into_inner().cluster.unwrap())
}

async fn names(api: &Api) -> Vec<String> {
    // One to a page, so that the pages are followed, too.
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListClustersRequest { page_size: 1, page_token, ..Default::default() };
        let page = api.clusters().list_clusters(request).await.unwrap().into_inner();
        names.extend(page.clusters.into_iter().map(|one| one.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return names;
        }
    }
}

async fn place(api: &Api, organization: &str, name: &str, cluster: &str) -> Result<Project, Status> {
    let request = CreateProjectRequest {
        organization: organization.into(),
        name: name.into(),
        cluster: cluster.into(),
        release: CORE.into(),
        ..Default::default()
    };
    Ok(api.projects().create_project(request).await?.into_inner().project.unwrap())
}

async fn explain(api: &Api, organization: &str, cluster: &str) -> Result<ExplainPlacementResponse, Status> {
    let request = ExplainPlacementRequest {
        organization: organization.into(),
        cluster: cluster.into(),
        release: CORE.into(),
        ..Default::default()
    };
    Ok(api.projects().explain_placement(request).await?.into_inner())
}

async fn node_named(api: &Api, cluster: &str, name: &str) -> supalove_proto::v1::Node {
    let request = ListNodesRequest { cluster: cluster.into(), ..Default::default() };
    let nodes = api.clusters().list_nodes(request).await.unwrap().into_inner().nodes;
    nodes.into_iter().find(|node| node.name == name).unwrap_or_else(|| panic!("no node {name}"))
}

/// A controller, the operator, and the only member of "globex".
async fn scene() -> (Controller, Api, Api, Rows) {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    rows.add_user("other@example.com").await;
    let mut other = controller.api();
    other.sign_in("other@example.com").await;
    other.create_organization("globex").await;
    (controller, operator, other, rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_manages_shared_clusters_and_others_see_that_they_exist() {
    let (_controller, operator, other, rows) = scene().await;
    let made = make(&operator, "eu", "").await.unwrap();
    assert_eq!((made.policy(), made.region.as_str()), (PlacementPolicy::Pack, "eu-central"));
    assert_eq!(made.overcommit, Some(ResourceFactors { cpu: 8.0, memory: 1.5, disk: 1.0 }));
    let seen = get(&other, "eu").await.unwrap();
    let public = Cluster {
        id: made.id.clone(),
        name: "eu".into(),
        kind: made.kind,
        create_time: made.create_time,
        region: "eu-central".into(),
        labels: made.labels.clone(),
        ..Default::default()
    };
    assert_eq!(seen, public, "no node, no count, no etag");
    assert_eq!(names(&other).await, ["default", "eu"]);

    rows.add_node("secret-host", 10, 10).await;
    let node = format!("nod_{}", rows.node_id("secret-host").await.simple());
    let nodes = ListNodesRequest { cluster: "default".into(), ..Default::default() };
    assert_eq!(other.clusters().list_nodes(nodes).await.unwrap_err().code(), Code::PermissionDenied);
    let token = CreateJoinTokenRequest { cluster: "eu".into(), ..Default::default() };
    assert_eq!(other.clusters().create_join_token(token).await.unwrap_err().code(), Code::PermissionDenied);
    let one = GetNodeRequest { node_id: node };
    assert_eq!(other.clusters().get_node(one).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(make(&other, "us", "").await.unwrap_err().code(), Code::PermissionDenied);
    let update = UpdateClusterRequest { cluster: "eu".into(), name: "us".into(), ..Default::default() };
    assert_eq!(other.clusters().update_cluster(update).await.unwrap_err().code(), Code::PermissionDenied);
    let delete = DeleteClusterRequest { cluster: "eu".into() };
    assert_eq!(other.clusters().delete_cluster(delete).await.unwrap_err().code(), Code::PermissionDenied);

    // A project that waits there does not name hosts either, and says what would help.
    let explained = explain(&other, "globex", "default").await.unwrap();
    assert!(
        explained.fits && explained.node_name.is_empty() && explained.node_id.is_empty(),
        "{explained:?}"
    );
    let told = explain(&operator, "acme", "default").await.unwrap();
    assert_eq!(told.node_name, "secret-host");
    rows.fill_memory().await;
    let waiting = place(&other, "globex", "waits", "default").await.unwrap();
    let why = waiting.state_reason;
    assert!(why.contains("0 of 1 node fits: 1 lacks") && !why.contains("secret-host"), "{why}");
    assert!(
        why.contains("What would help: ") && why.contains("more on one node, or a smaller project"),
        "{why}"
    );
    let explained = explain(&other, "globex", "default").await.unwrap();
    assert_eq!((explained.fits, explained.nodes, explained.fitting_nodes), (false, 1, 0));
    assert_eq!(explained.obstacles[0].reason(), PlacementObstacleReason::Memory);
    assert!(explained.obstacles[0].node_names.is_empty() && explained.obstacles[0].missing > 0);
    assert!(!explained.message.contains("secret-host"), "{}", explained.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_cluster_is_invisible_to_another_organization() {
    let (controller, operator, other, rows) = scene().await;
    rows.add_user("owner@example.com").await;
    rows.add_user("reader@example.com").await;
    rows.add_member("acme", "owner@example.com", "ADMINISTRATOR").await;
    rows.add_member("acme", "reader@example.com", "READ_ONLY").await;
    let mut owner = controller.api();
    owner.sign_in("owner@example.com").await;
    let mut reader = controller.api();
    reader.sign_in("reader@example.com").await;

    let made = make(&owner, "hall", "acme").await.unwrap();
    assert_eq!((made.organization.as_str(), made.policy()), ("acme", PlacementPolicy::Spread));
    rows.add_node("rack-1", 10, 10).await;
    rows.move_node("rack-1", "hall").await;
    let node = node_named(&reader, "hall", "rack-1").await;
    let read = get(&reader, "hall").await.unwrap();
    assert_eq!((read.nodes, read.capacity.unwrap().slots), (1, 10), "members read it");
    assert_eq!(names(&reader).await, ["default", "hall"]);
    assert_eq!(names(&operator).await, ["default", "hall"]);
    let refused = make(&reader, "hall-2", "acme").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    // See, name, place on, join: for the other organization there is no such cluster.
    assert_eq!(names(&other).await, ["default"]);
    let unknown = get(&other, "no-such").await.unwrap_err();
    for name in ["hall", made.id.as_str()] {
        let same = |refused: Status| {
            assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
            assert_eq!(refused.message(), unknown.message().replace("no-such", name));
        };
        same(get(&other, name).await.unwrap_err());
        same(place(&other, "globex", "there", name).await.unwrap_err());
        same(explain(&other, "globex", name).await.unwrap_err());
        let cluster = || name.to_owned();
        let mut clusters = other.clusters();
        let nodes = ListNodesRequest { cluster: cluster(), ..Default::default() };
        same(clusters.list_nodes(nodes).await.unwrap_err());
        let token = CreateJoinTokenRequest { cluster: cluster(), ..Default::default() };
        same(clusters.create_join_token(token).await.unwrap_err());
        let tokens = ListJoinTokensRequest { cluster: cluster(), ..Default::default() };
        same(clusters.list_join_tokens(tokens).await.unwrap_err());
        let update = UpdateClusterRequest { cluster: cluster(), ..Default::default() };
        same(clusters.update_cluster(update).await.unwrap_err());
        same(clusters.delete_cluster(DeleteClusterRequest { cluster: cluster() }).await.unwrap_err());
    }
    let node_id = || node.id.clone();
    let mut clusters = other.clusters();
    for refused in [
        clusters.get_node(GetNodeRequest { node_id: node_id() }).await.unwrap_err(),
        clusters.cordon_node(CordonNodeRequest { node_id: node_id() }).await.unwrap_err(),
        clusters.revoke_node(RevokeNodeRequest { node_id: node_id() }).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::NotFound);
    }
    let mine = ListClustersRequest { organization: "acme".into(), ..Default::default() };
    assert_eq!(other.clusters().list_clusters(mine).await.unwrap_err().code(), Code::NotFound);

    // Its name stays free for others, and a shared one may come later.
    make(&other, "hall", "globex").await.unwrap();
    assert_eq!(make(&owner, "hall", "acme").await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(make(&owner, "default", "acme").await.unwrap_err().code(), Code::AlreadyExists);
    make(&operator, "hall", "").await.unwrap();
    let placed = place(&owner, "acme", "mine", "hall").await.unwrap();
    assert_eq!((placed.cluster_id.as_str(), placed.node_name.as_str()), (made.id.as_str(), "rack-1"));
    assert_eq!(get(&owner, "hall").await.unwrap_err().code(), Code::InvalidArgument, "two have this name");
    assert_eq!(get(&owner, &made.id).await.unwrap().projects, 1);
    let reasoned = explain(&owner, "acme", &made.id).await.unwrap();
    assert_eq!(reasoned.node_name, "rack-1", "members see the nodes of their own cluster");

    rows.set_default_plan("free").await;
    owner.create_organization("poor").await;
    let refused = make(&owner, "own", "poor").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_is_checked_and_a_repeated_one_returns_the_first() {
    let (_controller, operator, _, _) = scene().await;
    let request = |change: Change| {
        let mut request = CreateClusterRequest {
            name: "eu".into(),
            labels: (0..20).map(|n| (format!("k{n}"), "v".to_owned())).collect(),
            request_id: "0193d3a5-7a0c-7c3e-8000-000000000001".into(),
            ..Default::default()
        };
        change(&mut request);
        request
    };
    let wrong: [(Change, &str); 6] = [
        (|one| one.name = "E U".into(), "name"),
        (|one| one.region = "a\nb".into(), "region"),
        (|one| drop(one.labels.insert("A".into(), String::new())), "labels"),
        (|one| one.policy = 99, "policy"),
        (|one| one.overcommit = Some(ResourceFactors { cpu: 0.5, ..Default::default() }), "overcommit.cpu"),
        (
            |one| one.reserve = Some(ResourceReserve { disk_mib: u64::MAX, ..Default::default() }),
            "reserve.disk_mib",
        ),
    ];
    for (change, field) in wrong {
        let refused = operator.clusters().create_cluster(request(change)).await.unwrap_err();
        let violations = refused.get_details_bad_request().unwrap().field_violations;
        assert_eq!((refused.code(), violations[0].field.as_str()), (Code::InvalidArgument, field));
    }
    let first = operator.clusters().create_cluster(request(|_| {})).await.unwrap().into_inner();
    let again = operator.clusters().create_cluster(request(|_| {})).await.unwrap().into_inner();
    assert_eq!(first, again);
    let other = operator.clusters().create_cluster(request(|one| one.name = "us".into())).await.unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument, "another body");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_factors_change_every_node_at_once_and_move_nothing() {
    let (_controller, operator, _, rows) = scene().await;
    rows.add_node("a", 4, 10).await;
    rows.add_node("b", 4, 10).await;
    for number in 0..4 {
        place(&operator, "acme", &format!("p{number}"), "").await.unwrap();
    }
    let before = get(&operator, "default").await.unwrap();
    let (capacity, used, free) = (before.capacity.unwrap(), before.used.unwrap(), before.free.unwrap());
    assert_eq!((before.nodes, before.nodes_connected, before.projects), (2, 2, 4));
    assert_eq!((used.memory_mib, used.slots, free.slots), (4 * 448, 4, 16));
    assert_eq!(free.memory_mib, capacity.memory_mib - used.memory_mib);

    let update = |memory: f64, reserve: u32, etag: &str| UpdateClusterRequest {
        cluster: "default".into(),
        overcommit: Some(ResourceFactors { memory, ..Default::default() }),
        reserve: Some(ResourceReserve { memory_mib: reserve, ..Default::default() }),
        etag: etag.into(),
        update_mask: Some(prost_types::FieldMask { paths: vec!["overcommit".into(), "reserve".into()] }),
        ..Default::default()
    };
    let changed =
        operator.clusters().update_cluster(update(1.0, 800, &before.etag)).await.unwrap().into_inner();
    let after = changed.cluster.unwrap();
    // A host has (448 × 4 + 100) / 1.5 MiB; two projects of each of the nodes reserve 896.
    let host = (448 * 4 + 100) * 2 / 3;
    assert_eq!(after.capacity.unwrap().memory_mib, 2 * (host - 800));
    assert_eq!(changed.overfull_nodes, ["a", "b"]);
    assert_eq!((after.projects, after.used.unwrap().memory_mib), (4, 4 * 448), "nothing moved");
    assert_eq!(after.free.unwrap().memory_mib, 0);
    let waits = place(&operator, "acme", "waits", "").await.unwrap();
    assert!(waits.state() == ProjectState::ComingUp && waits.node_id.is_empty(), "{waits:?}");

    let stale = operator.clusters().update_cluster(update(2.0, 0, &before.etag)).await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    let back = operator.clusters().update_cluster(update(1.5, 0, &after.etag)).await.unwrap().into_inner();
    assert!(back.overfull_nodes.is_empty());
    wait_for("the project that waited", SOON * SLACK, async || {
        (!operator.project(&waits.r#ref).await.node_id.is_empty()).then_some(())
    })
    .await;

    let rename = UpdateClusterRequest {
        cluster: "default".into(),
        name: "first".into(),
        update_mask: Some(prost_types::FieldMask { paths: vec!["name".into()] }),
        ..Default::default()
    };
    assert_eq!(reason(&operator.clusters().update_cluster(rename).await.unwrap_err()), "CLUSTER_DEFAULT");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_empty_cluster_is_deleted_and_only_an_empty_node_is_removed() {
    let (_controller, operator, other, rows) = scene().await;
    let made = make(&other, "hall", "globex").await.unwrap();
    rows.add_node("rack-1", 10, 10).await;
    rows.move_node("rack-1", "hall").await;
    let node_id = node_named(&other, "hall", "rack-1").await.id;
    let project = place(&other, "globex", "one", "hall").await.unwrap().r#ref;
    let token = CreateJoinTokenRequest { cluster: "hall".into(), ..Default::default() };
    let token = other.clusters().create_join_token(token).await.unwrap().into_inner().join_token;

    let delete = || DeleteClusterRequest { cluster: "hall".into() };
    let refused = other.clusters().delete_cluster(delete()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "CLUSTER_NOT_EMPTY"));
    assert_eq!(named(&refused), ["node:rack-1".to_owned(), format!("project:{project}")]);
    let default = DeleteClusterRequest { cluster: "default".into() };
    assert_eq!(reason(&operator.clusters().delete_cluster(default).await.unwrap_err()), "CLUSTER_DEFAULT");

    let remove = |abandon: &[&str]| RemoveNodeRequest {
        node_id: node_id.clone(),
        abandon_projects: abandon.iter().map(|one| (*one).to_owned()).collect(),
    };
    for wrong in [&[][..], &["abcdefghijklmnopqrst"], &[project.as_str(), "abcdefghijklmnopqrst"]] {
        let refused = other.clusters().remove_node(remove(wrong)).await.unwrap_err();
        assert_eq!(reason(&refused), "NODE_NOT_EMPTY");
        assert_eq!(named(&refused), [format!("project:{project}")]);
    }
    let removed =
        other.clusters().remove_node(remove(&[project.as_str()])).await.unwrap().into_inner().node.unwrap();
    assert_eq!(removed.state(), NodeState::Revoked);
    let refused = other.clusters().delete_cluster(delete()).await.unwrap_err();
    assert_eq!(named(&refused), [format!("project:{project}")], "a project stands for its data");
    let uncordon = UncordonNodeRequest { node_id: node_id.clone() };
    assert_eq!(reason(&other.clusters().uncordon_node(uncordon).await.unwrap_err()), "NODE_REVOKED");

    rows.set_state(&project, "REMOVED").await;
    other.clusters().delete_cluster(delete()).await.unwrap();
    assert_eq!(get(&other, "hall").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(get(&operator, &made.id).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(names(&operator).await, ["default"]);
    assert_eq!(place(&other, "globex", "two", "hall").await.unwrap_err().code(), Code::NotFound);
    make(&other, "hall", "globex").await.unwrap();
    let full = DeleteOrganizationRequest { organization: "globex".into() };
    let refused = other.organizations().delete_organization(full).await.unwrap_err();
    assert!(refused.message().contains("private clusters (1)"), "{}", refused.message());
    assert!(!token.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cordoned_node_takes_no_project_until_it_is_uncordoned() {
    let (_controller, operator, _, rows) = scene().await;
    rows.add_node("a", 10, 10).await;
    let node_id = node_named(&operator, "default", "a").await.id;
    let cordon = CordonNodeRequest { node_id: node_id.clone() };
    for _ in 0..2 {
        let node = operator.clusters().cordon_node(cordon.clone()).await.unwrap().into_inner().node.unwrap();
        assert_eq!((node.availability(), node.state()), (NodeAvailability::Cordoned, NodeState::Ready));
    }
    let waits = place(&operator, "acme", "waits", "").await.unwrap();
    assert!(waits.state_reason.contains("1 is cordoned"), "{}", waits.state_reason);
    assert!(waits.state_reason.contains("uncordon one node"), "{}", waits.state_reason);
    let told = explain(&operator, "acme", "").await.unwrap();
    assert_eq!(told.obstacles[0].reason(), PlacementObstacleReason::Cordoned);
    assert_eq!(
        (told.obstacles[0].node_names.as_slice(), told.remedies.as_slice()),
        (&["a".to_owned()][..], &["uncordon a".to_owned()][..])
    );
    assert_eq!(get(&operator, "default").await.unwrap().free.unwrap().slots, 0);
    let uncordon = UncordonNodeRequest { node_id: node_id.clone() };
    operator.clusters().uncordon_node(uncordon).await.unwrap();
    wait_for("the project that waited", SOON * SLACK, async || {
        (!operator.project(&waits.r#ref).await.node_id.is_empty()).then_some(())
    })
    .await;

    rows.add_node("b", 10, 10).await;
    let update = |name: &str, etag: &str| UpdateNodeRequest {
        node_id: node_id.clone(),
        name: name.into(),
        labels: [("rack".to_owned(), "7".to_owned())].into(),
        etag: etag.into(),
        update_mask: None,
    };
    let etag = node_named(&operator, "default", "a").await.etag;
    let taken = operator.clusters().update_node(update("b", &etag)).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    assert_eq!(
        operator.clusters().update_node(update("a b", "")).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let node =
        operator.clusters().update_node(update("alpha", &etag)).await.unwrap().into_inner().node.unwrap();
    assert_eq!((node.name.as_str(), node.labels["rack"].as_str()), ("alpha", "7"));
    let stale = operator.clusters().update_node(update("beta", &etag)).await.unwrap_err();
    assert_eq!(reason(&stale), "ETAG_MISMATCH");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_of_given_resources_is_bounded() {
    let (_controller, operator, _, rows) = scene().await;
    rows.add_node("a", 10, 10).await;
    let ask = |memory_mib: u32| ExplainPlacementRequest {
        organization: "acme".into(),
        resources: Some(PlacementResources { cpu_millis: 1, memory_mib, disk_mib: 1 }),
        ..Default::default()
    };
    assert!(operator.projects().explain_placement(ask(4480)).await.unwrap().into_inner().fits);
    let told = operator.projects().explain_placement(ask(5000)).await.unwrap().into_inner();
    assert_eq!((told.fits, told.obstacles[0].missing), (false, 5000 - 4580));
    assert_eq!(told.remedies, ["420 MiB memory more on a, or a smaller project"]);
    let refused = operator.projects().explain_placement(ask(u32::MAX)).await.unwrap_err();
    assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, "resources.memory_mib");
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_and_rust_agree_on_what_fits() {
    let (_controller, operator, _, rows) = scene().await;
    rows.add_node("a", 10, 10).await;
    let node = rows.node_id("a").await;
    let cases = std::env::var("SUPALOVE_FITS_CASES").map_or(300, |cases| cases.parse().unwrap());
    let seed: u64 = rand::random();
    println!("seed {seed}, {cases} cases");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut fitted = 0;
    for _ in 0..cases {
        // Near the edges, where an operator that is off by one shows.
        let capacity = Resources {
            cpu_millis: rng.random_range(0..10),
            memory_mib: rng.random_range(0..10),
            disk_mib: rng.random_range(0..10),
        };
        let used = Resources {
            cpu_millis: rng.random_range(0..4),
            memory_mib: rng.random_range(0..4),
            disk_mib: rng.random_range(0..4),
        };
        let needs = Resources {
            cpu_millis: rng.random_range(0..4),
            memory_mib: rng.random_range(0..4),
            disk_mib: rng.random_range(0..4),
        };
        let slots: i32 = rng.random_range(1..4);
        let taken: i32 = rng.random_range(0..4);
        let free_slots = (slots - taken).max(0);
        let schedulable = rng.random_bool(0.9);
        let connected = rng.random_bool(0.9);
        let blocked = rng.random_bool(0.1);
        let set = format!(
            "cpu_cap = {}, memory_cap = {}, disk_cap = {}, cpu_used = {}, memory_used = {}, disk_used = {}, slots = {slots},
             taken_slots = '{{[0,{})}}'",
            capacity.cpu_millis, capacity.memory_mib, capacity.disk_mib, used.cpu_millis, used.memory_mib, used.disk_mib,
            taken.min(slots)
        );
        let last = if connected { "now()" } else { "now() - interval '1 minute'" };
        rows.set_node(node, &set, &format!("schedulable = {schedulable}, seen_at = {last}")).await;
        rows.set_condition(node, blocked).await;
        let candidate = Candidate {
            node: NodeId(node),
            name: "a".into(),
            schedulable,
            draining: false,
            connected,
            blocked: blocked.then_some(Blocked::Other),
            capacity,
            used,
            free_slots,
            recent_failures: 0,
        };
        let rust = misfit(&candidate, needs).is_none();
        let sql = rows.would_reserve(node, needs.cpu_millis, needs.memory_mib, needs.disk_mib).await;
        assert_eq!(sql, rust, "seed {seed}: {candidate:?} {needs:?}");
        fitted += usize::from(sql);
    }
    assert!(fitted > cases / 50 && fitted < cases, "{fitted} of {cases} fitted: the cases say nothing");
    drop(operator);
}
