//! `clusters registries set | list | delete`: credentials with which a cluster's nodes pull images.

use clap::Subcommand;
use supalove_proto::v1::{
    DeleteRegistryCredentialsRequest, ListRegistryCredentialsRequest, ListRegistryCredentialsResponse,
    RegistryCredentials, SetRegistryCredentialsRequest, registry_service_client::RegistryServiceClient,
};

use super::Context;
use crate::{confirm, error::Error, table};

/// Page size.
const PAGE: i32 = 100;

/// The commands about credentials for registries.
#[derive(Debug, Subcommand)]
pub enum Registries {
    /// Set a cluster's credentials for a registry, or replace them. Asks for the password.
    Set {
        /// Id or name of the cluster.
        cluster: String,
        /// Host of the registry as images name it, e.g. registry.example.com:5000; docker.io for images without a host.
        registry: String,
        /// Name that the registry knows.
        #[arg(long)]
        username: String,
        /// Read the password or token from stdin, all of it.
        #[arg(long)]
        password_stdin: bool,
    },
    /// List the registries for which a cluster has credentials.
    #[command(visible_alias = "ls")]
    List {
        /// Id or name of the cluster.
        #[arg(default_value = "default")]
        cluster: String,
    },
    /// Delete a cluster's credentials for a registry. Images that hosts have pulled stay there.
    #[command(visible_alias = "rm")]
    Delete {
        /// Id or name of the cluster.
        cluster: String,
        /// Host of the registry, as in the list.
        registry: String,
    },
}

pub async fn run(context: &Context, command: Registries) -> Result<(), Error> {
    match command {
        Registries::Set { cluster, registry, username, password_stdin } => {
            let prompt = format!("Password or token of {username} at {registry}: ");
            let password = confirm::foreign_password(password_stdin, &prompt)?;
            set(context, SetRegistryCredentialsRequest { cluster, registry, username, password }).await
        }
        Registries::List { cluster } => list(context, &cluster).await,
        Registries::Delete { cluster, registry } => delete(context, cluster, registry).await,
    }
}

async fn set(context: &Context, request: SetRegistryCredentialsRequest) -> Result<(), Error> {
    let answer = context
        .client
        .call(request, |channel, request| async move {
            RegistryServiceClient::new(channel).set_registry_credentials(request).await
        })
        .await?;
    context.output.answer("SetRegistryCredentialsResponse", &answer, |answer| {
        let one = answer.credentials.clone().unwrap_or_default();
        table::pairs([
            ("registry", one.registry.clone()),
            ("username", one.username.clone()),
            ("cluster", one.cluster_id.clone()),
            ("set", table::time(one.set_time.as_ref())),
        ])
    })
}

async fn list(context: &Context, cluster: &str) -> Result<(), Error> {
    let mut all = ListRegistryCredentialsResponse::default();
    let mut page_token = String::new();
    loop {
        let request =
            ListRegistryCredentialsRequest { cluster: cluster.to_owned(), page_size: PAGE, page_token };
        let page = context
            .client
            .call(request, |channel, request| async move {
                RegistryServiceClient::new(channel).list_registry_credentials(request).await
            })
            .await?;
        all.credentials.extend(page.credentials);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    context.output.answer("ListRegistryCredentialsResponse", &all, |all| {
        let header = ["REGISTRY", "USERNAME", "SET", "SET BY"];
        table::rows(header, all.credentials.iter().map(row).collect(), "no credentials for registries")
    })
}

fn row(one: &RegistryCredentials) -> [String; 4] {
    [one.registry.clone(), one.username.clone(), table::time(one.set_time.as_ref()), one.set_by.clone()]
}

async fn delete(context: &Context, cluster: String, registry: String) -> Result<(), Error> {
    let name = registry.clone();
    let answer = context
        .client
        .call_once(DeleteRegistryCredentialsRequest { cluster, registry }, |channel, request| async move {
            RegistryServiceClient::new(channel).delete_registry_credentials(request).await
        })
        .await?;
    context.output.answer("DeleteRegistryCredentialsResponse", &answer, |_| {
        format!("the credentials for {name} are deleted")
    })
}
