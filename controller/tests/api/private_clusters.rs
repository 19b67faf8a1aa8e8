//! Private clusters take the projects of their owner only, and organizations do not multiply what a user may have.

use supalove_proto::v1::{CreateOrganizationRequest, CreateProjectRequest, GetClusterRequest};
use supalove_system_tests::{Api, Controller};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

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
        assert_eq!(refused.code(), Code::PermissionDenied, "clusters are shown to the operator only");
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
