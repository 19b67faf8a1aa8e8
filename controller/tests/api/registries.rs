//! Credentials for registries: who sets them, that nobody reads a password, and that a node gets those of its cluster for one pull.

use std::{collections::VecDeque, time::Duration};

use supalove_proto::{
    node::v1::{ImageAbsence, provide_image_request::Part},
    v1::{
        CreateClusterRequest, CreateJoinTokenRequest, DeleteClusterRequest, DeleteRegistryCredentialsRequest,
        ListRegistryCredentialsRequest, RegistryCredentials, SetRegistryCredentialsRequest,
    },
};
use supalove_system_tests::{Api, Controller, Double, DoubleState, Holder, SLACK, wait_for};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const REGISTRY: &str = "registry.example.com:5000";
const PASSWORD: &str = "canary-7be1";
const SOON: Duration = Duration::from_secs(10);

fn set_request(cluster: &str, registry: &str, password: &str) -> SetRegistryCredentialsRequest {
    SetRegistryCredentialsRequest {
        cluster: cluster.into(),
        registry: registry.into(),
        username: "puller".into(),
        password: password.into(),
    }
}

async fn set(
    api: &Api,
    cluster: &str,
    registry: &str,
    password: &str,
) -> Result<RegistryCredentials, Status> {
    let request = set_request(cluster, registry, password);
    Ok(api.registries().set_registry_credentials(request).await?.into_inner().credentials.unwrap())
}

/// From every page.
async fn list(api: &Api, cluster: &str) -> Result<Vec<RegistryCredentials>, Status> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListRegistryCredentialsRequest { cluster: cluster.into(), page_size: 1, page_token };
        let page = api.registries().list_registry_credentials(request).await?.into_inner();
        all.extend(page.credentials);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn delete(api: &Api, cluster: &str, registry: &str) -> Result<(), Status> {
    let request = DeleteRegistryCredentialsRequest { cluster: cluster.into(), registry: registry.into() };
    api.registries().delete_registry_credentials(request).await.map(drop)
}

fn field(refused: &Status) -> String {
    refused.get_details_bad_request().unwrap().field_violations[0].field.clone()
}

#[tokio::test]
async fn credentials_are_set_listed_replaced_and_deleted_and_no_password_is_shown() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let first = set(&operator, "default", "Registry.Example.com:5000", PASSWORD).await.unwrap();
    assert_eq!((first.registry.as_str(), first.username.as_str()), (REGISTRY, "puller"));
    assert!(
        first.set_by.starts_with("usr_") && first.set_time.is_some() && first.cluster_id.starts_with("clu_")
    );
    set(&operator, "default", "index.docker.io", PASSWORD).await.unwrap();
    let listed = list(&operator, "default").await.unwrap();
    let names: Vec<&str> = listed.iter().map(|one| one.registry.as_str()).collect();
    assert_eq!(names, ["docker.io", REGISTRY]);
    assert_eq!(listed[1], first);

    let before = rows.registry_passwords().await;
    assert!(before.iter().all(|sealed| !String::from_utf8_lossy(sealed).contains(PASSWORD)));
    let again = set(&operator, "default", REGISTRY, "another").await.unwrap();
    assert!(again.set_time.unwrap().seconds >= first.set_time.unwrap().seconds);
    let after = rows.registry_passwords().await;
    assert_eq!(after.len(), 2, "they were replaced");
    assert!(after[0] == before[0] && after[1] != before[1]);

    delete(&operator, "default", "Docker.IO").await.unwrap();
    assert_eq!(delete(&operator, "default", "docker.io").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(list(&operator, "default").await.unwrap().len(), 1);

    let audited = rows.audited("SetRegistryCredentials").await;
    assert_eq!(audited.len(), 3);
    for row in audited.iter().chain(&rows.audited("DeleteRegistryCredentials").await) {
        assert!(
            row.outcome != "OK" || row.target.starts_with(&format!("{}/", first.cluster_id)),
            "{}",
            row.target
        );
        assert!(!row.target.contains(PASSWORD));
    }
    assert!(!controller.process.log().contains(PASSWORD));
}

#[tokio::test]
async fn what_is_wrong_is_named_and_a_cluster_has_32_registries() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let right = set_request("default", REGISTRY, PASSWORD);
    let wrong = [
        (
            "registry",
            SetRegistryCredentialsRequest {
                registry: "https://registry.example.com".into(),
                ..right.clone()
            },
        ),
        ("registry", SetRegistryCredentialsRequest { registry: String::new(), ..right.clone() }),
        ("username", SetRegistryCredentialsRequest { username: "a:b".into(), ..right.clone() }),
        ("username", SetRegistryCredentialsRequest { username: String::new(), ..right.clone() }),
        ("password", SetRegistryCredentialsRequest { password: String::new(), ..right.clone() }),
        ("password", SetRegistryCredentialsRequest { password: format!("{PASSWORD}\0"), ..right.clone() }),
    ];
    for (name, request) in wrong {
        let refused = operator.registries().set_registry_credentials(request).await.unwrap_err();
        assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, name));
        assert!(!format!("{refused:?}").contains(PASSWORD), "{refused:?}");
    }
    let none = set(&operator, "no-such", REGISTRY, PASSWORD).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);

    for number in 0..32 {
        set(&operator, "default", &format!("r{number}.example.com"), PASSWORD).await.unwrap();
    }
    let one_more = set(&operator, "default", REGISTRY, PASSWORD).await.unwrap_err();
    assert!(field(&one_more) == "registry" && one_more.message().contains("delete some"), "{one_more:?}");
    set(&operator, "default", "r7.example.com", "another").await.unwrap();
}

#[tokio::test]
async fn a_private_clusters_credentials_are_its_owners_and_go_with_it() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let mut clients = Vec::new();
    for name in ["owner", "administrator", "developer", "stranger"] {
        let email = format!("{name}@example.com");
        rows.add_user(&email).await;
        let mut api = controller.api();
        api.sign_in(&email).await;
        clients.push(api);
    }
    let [owner, administrator, developer, stranger] = &clients[..] else { panic!("four") };
    owner.create_organization("globex").await;
    rows.add_member("globex", "administrator@example.com", "ADMINISTRATOR").await;
    rows.add_member("globex", "developer@example.com", "DEVELOPER").await;
    rows.add_private_cluster("own-hosts", Some("globex")).await;

    set(administrator, "own-hosts", REGISTRY, PASSWORD).await.unwrap();
    assert_eq!(list(owner, "own-hosts").await.unwrap().len(), 1);
    for (api, code) in [(developer, Code::PermissionDenied), (stranger, Code::NotFound)] {
        assert_eq!(set(api, "own-hosts", REGISTRY, PASSWORD).await.unwrap_err().code(), code);
        assert_eq!(list(api, "own-hosts").await.unwrap_err().code(), code);
        assert_eq!(delete(api, "own-hosts", REGISTRY).await.unwrap_err().code(), code);
    }
    // Those of a shared cluster are the operator's, although everybody sees that it is there.
    assert_eq!(set(owner, "default", REGISTRY, PASSWORD).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(list(owner, "default").await.unwrap_err().code(), Code::PermissionDenied);

    let request = DeleteClusterRequest { cluster: "own-hosts".into() };
    owner.clusters().delete_cluster(request).await.unwrap();
    assert!(rows.registry_passwords().await.is_empty(), "they go with the cluster");
    assert_eq!(list(&operator, "own-hosts").await.unwrap_err().code(), Code::NotFound);
}

/// What the controller answers when a node says that it lacks an image.
async fn need(node: &Double, image: &str) -> ImageAbsence {
    let before = node.state().images_heard.len();
    node.state().needs.as_mut().unwrap().push_back(image.to_owned());
    let answered = wait_for("an answer about the image", SOON * SLACK, async || {
        node.state().images_heard.get(before).cloned()
    })
    .await;
    let Some(Part::Absence(absence)) = answered.part else { panic!("{answered:?}") };
    absence
}

#[tokio::test]
async fn a_node_gets_its_clusters_credentials_when_it_lacks_an_image_and_each_time_anew() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let join = async |cluster: &str, host: &str| {
        let request = CreateJoinTokenRequest { cluster: cluster.into(), ..Default::default() };
        let token = operator.clusters().create_join_token(request).await.unwrap().into_inner().join_token;
        let holder = Holder::enroll(&controller.node_address, &token, host).await;
        let mut state = DoubleState::default();
        state.needs = Some(VecDeque::new());
        Double::dial(holder, &controller.node_address, state)
    };
    let request = CreateClusterRequest { name: "other".into(), ..Default::default() };
    operator.clusters().create_cluster(request).await.unwrap();
    let node = join("default", "here").await;
    let elsewhere = join("other", "elsewhere").await;
    let image = format!("{REGISTRY}/team/app:1");

    assert!(need(&node, &image).await.credentials.is_none(), "nobody has set any");
    set(&operator, "default", REGISTRY, PASSWORD).await.unwrap();
    let given = need(&node, &image).await.credentials.unwrap();
    assert_eq!((given.registry.as_str(), given.username.as_str()), (REGISTRY, "puller"));
    assert_eq!(given.password, PASSWORD);
    // The next attempt gets what is set then, also for a reference with a digest.
    set(&operator, "default", REGISTRY, "another").await.unwrap();
    let by_digest = format!("{REGISTRY}/team/app@sha256:{}", "0".repeat(64));
    assert_eq!(need(&node, &by_digest).await.credentials.unwrap().password, "another");

    set(&operator, "default", "docker.io", PASSWORD).await.unwrap();
    assert_eq!(need(&node, "nginx:alpine").await.credentials.unwrap().registry, "docker.io");
    for other in ["registry.example.com/team/app:1", "supalove/gateway:9-9"] {
        assert!(need(&node, other).await.credentials.is_none(), "{other}");
    }
    assert!(need(&elsewhere, &image).await.credentials.is_none(), "another cluster's");
    delete(&operator, "default", REGISTRY).await.unwrap();
    assert!(need(&node, &image).await.credentials.is_none());
    let log = controller.process.log();
    assert!(!log.contains(PASSWORD), "{log}");
}
