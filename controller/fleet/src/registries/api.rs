//! `supalove.v1.RegistryService`.

use supalove_core::{
    Core,
    access::Call,
    error::{Error, Result},
    wire::{page, page_size, parse_page_token, timestamp},
};
use supalove_proto::v1::{
    DeleteRegistryCredentialsRequest, DeleteRegistryCredentialsResponse, ListRegistryCredentialsRequest,
    ListRegistryCredentialsResponse, RegistryCredentials, SetRegistryCredentialsRequest,
    SetRegistryCredentialsResponse, registry_service_server::RegistryService,
};
use supalove_spec::registry::{
    InvalidRegistry, PASSWORD_BYTES, Registry, USERNAME_BYTES, is_password, is_username,
};
use tonic::{Request, Response, Status};

use super::{seal, store};
use crate::clusters::access::{ClusterKey, allow};

#[derive(Clone)]
pub struct RegistryApi {
    core: Core,
}

impl RegistryApi {
    pub fn new(core: Core) -> Self {
        Self { core }
    }
}

fn registry(text: &str) -> Result<Registry> {
    text.parse().map_err(|wrong: InvalidRegistry| Error::field("registry", wrong.to_string()))
}

/// Checks username and password. No error contains a password.
fn check(body: &SetRegistryCredentialsRequest) -> Result<()> {
    if !is_username(&body.username) {
        let wrong = format!("must have 1 to {USERNAME_BYTES} visible characters and no \":\"");
        return Err(Error::field("username", wrong));
    }
    if !is_password(&body.password) {
        let wrong = format!("must have 1 to {PASSWORD_BYTES} bytes and no NUL");
        return Err(Error::field("password", wrong));
    }
    Ok(())
}

#[tonic::async_trait]
impl RegistryService for RegistryApi {
    async fn set_registry_credentials(
        &self,
        request: Request<SetRegistryCredentialsRequest>,
    ) -> Result<Response<SetRegistryCredentialsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.get_ref();
        let cluster: ClusterKey = allow(&self.core, &call, &body.cluster).await?;
        let registry = registry(&body.registry)?;
        check(body)?;
        let sealed = seal(&self.core, cluster.id, &registry, &body.password)?;
        let new = store::New {
            cluster: cluster.id,
            registry: &registry,
            username: &body.username,
            sealed: &sealed,
            by: call.principal()?.user,
        };
        let mut mutation = self.core.mutation(&call);
        let set = store::set(&mut mutation, &new).await?;
        mutation.commit(&format!("{}/{registry}", cluster.id), []).await?;
        Ok(Response::new(SetRegistryCredentialsResponse { credentials: Some(set.into()) }))
    }

    async fn list_registry_credentials(
        &self,
        request: Request<ListRegistryCredentialsRequest>,
    ) -> Result<Response<ListRegistryCredentialsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let after = parse_page_token(&body.page_token)?;
        let cluster: ClusterKey = allow(&self.core, &call, &body.cluster).await?;
        let found = store::list(&self.core.db, cluster.id, after.as_deref(), size + 1).await?;
        let (found, next) = page(found, size, |one| one.registry.clone());
        let credentials = found.into_iter().map(Into::into).collect();
        Ok(Response::new(ListRegistryCredentialsResponse { credentials, next_page_token: next }))
    }

    async fn delete_registry_credentials(
        &self,
        request: Request<DeleteRegistryCredentialsRequest>,
    ) -> Result<Response<DeleteRegistryCredentialsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.get_ref();
        let cluster: ClusterKey = allow(&self.core, &call, &body.cluster).await?;
        let registry = registry(&body.registry)?;
        let mut mutation = self.core.mutation(&call);
        store::delete(&mut mutation, cluster.id, &registry).await?;
        mutation.commit(&format!("{}/{registry}", cluster.id), []).await?;
        Ok(Response::new(DeleteRegistryCredentialsResponse {}))
    }
}

impl From<store::Credentials> for RegistryCredentials {
    fn from(one: store::Credentials) -> Self {
        Self {
            cluster_id: one.cluster.to_string(),
            registry: one.registry,
            username: one.username,
            set_by: one.set_by.to_string(),
            set_time: Some(timestamp(one.set_at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_field_and_shows_no_password() {
        let right = SetRegistryCredentialsRequest {
            cluster: "eu".into(),
            registry: "registry.example.com".into(),
            username: "puller".into(),
            password: "canary".into(),
        };
        assert!(check(&right).is_ok() && registry(&right.registry).is_ok());
        let colon = SetRegistryCredentialsRequest { username: "a:b".into(), ..right.clone() };
        let long = SetRegistryCredentialsRequest { password: "canary\0".into(), ..right.clone() };
        for (wrong, field) in [(colon, "username"), (long, "password")] {
            let Err(Error::Invalid(fields)) = check(&wrong) else { panic!("{field} is taken") };
            assert_eq!(fields[0].field, field);
            assert!(!fields[0].description.contains("canary"), "{}", fields[0].description);
        }
        let Err(Error::Invalid(fields)) = registry("https://registry.example.com") else { panic!("a URL") };
        assert!(fields[0].description.contains("without \"https://\""), "{}", fields[0].description);
    }
}
