//! The fake's credentials for registries.

use supalove_proto::v1::{registry_service_server::RegistryService, *};
use tonic::{Request, Response};

use super::{super::fake::Fake, Answer};

fn credentials(registry: &str, username: &str) -> RegistryCredentials {
    RegistryCredentials {
        cluster_id: "clu_1".into(),
        registry: registry.into(),
        username: username.into(),
        set_by: "usr_1".into(),
        set_time: Some(prost_types::Timestamp::default()),
    }
}

#[tonic::async_trait]
impl RegistryService for Fake {
    async fn set_registry_credentials(
        &self,
        request: Request<SetRegistryCredentialsRequest>,
    ) -> Answer<SetRegistryCredentialsResponse> {
        let asked = request.get_ref().clone();
        let SetRegistryCredentialsRequest { cluster, registry, username, password } = asked;
        let noted = format!("{cluster} {registry} {username} {password:?}");
        self.enter(&request, "SetRegistryCredentials", &noted).await?;
        let credentials = Some(credentials(&registry, &username));
        Ok(Response::new(SetRegistryCredentialsResponse { credentials }))
    }

    /// A page for each of two registries.
    async fn list_registry_credentials(
        &self,
        request: Request<ListRegistryCredentialsRequest>,
    ) -> Answer<ListRegistryCredentialsResponse> {
        let asked = request.get_ref();
        self.enter(&request, "ListRegistryCredentials", &format!("{} {}", asked.cluster, asked.page_token))
            .await?;
        let (registry, next) = if asked.page_token.is_empty() {
            ("docker.io", "second")
        } else {
            ("registry.example.com:5000", "")
        };
        Ok(Response::new(ListRegistryCredentialsResponse {
            credentials: vec![credentials(registry, "puller")],
            next_page_token: next.into(),
        }))
    }

    async fn delete_registry_credentials(
        &self,
        request: Request<DeleteRegistryCredentialsRequest>,
    ) -> Answer<DeleteRegistryCredentialsResponse> {
        let asked = request.get_ref();
        self.enter(&request, "DeleteRegistryCredentials", &format!("{} {}", asked.cluster, asked.registry))
            .await?;
        Ok(Response::new(DeleteRegistryCredentialsResponse {}))
    }
}
