//! `projects keys|connection`: keys and addresses for clients of a project. Secrets only with `--reveal`, by a separate
//! call, which the controller audits.

use std::{fs, sync::LazyLock};

use clap::Args;
use serde_json::Value;
use supalove_proto::v1::{
    GetProjectApiKeysRequest, GetProjectConnectionRequest, GetProjectConnectionResponse,
    RevealProjectSecretsRequest, RevealProjectSecretsResponse, project_service_client::ProjectServiceClient,
};

use super::Which;
use crate::{commands::Context, error::Error, output, table};

/// Arguments of `projects keys` and `projects connection`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Also show the secrets. The controller audits this call.
    #[arg(long)]
    reveal: bool,
}

pub async fn keys(context: &Context, arguments: &Arguments) -> Result<(), Error> {
    let project_ref = arguments.which.resolve(context).await?;
    let request = GetProjectApiKeysRequest { project_ref: project_ref.clone() };
    let keys = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).get_project_api_keys(request).await
        })
        .await?;
    let service_role_key =
        if arguments.reveal { reveal(context, project_ref).await?.service_role_key } else { String::new() };
    let hidden = if arguments.reveal { service_role_key.clone() } else { "shown with --reveal".into() };
    let secrets = RevealProjectSecretsResponse { service_role_key, ..Default::default() };
    let value = merged(
        output::value("GetProjectApiKeysResponse", &keys)?,
        output::value("RevealProjectSecretsResponse", &secrets)?,
    );
    context
        .output
        .value(&value, || table::pairs([("anon", keys.anon_key.clone()), ("service_role (secret)", hidden)]))
}

pub async fn connection(context: &Context, arguments: &Arguments) -> Result<(), Error> {
    let project_ref = arguments.which.resolve(context).await?;
    let request = GetProjectConnectionRequest { project_ref: project_ref.clone() };
    let connection = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).get_project_connection(request).await
        })
        .await?;
    let mut secrets = RevealProjectSecretsResponse::default();
    if arguments.reveal {
        secrets = reveal(context, project_ref).await?;
        secrets.service_role_key = String::new();
    }
    let value = merged(
        output::value("GetProjectConnectionResponse", &connection)?,
        output::value("RevealProjectSecretsResponse", &secrets)?,
    );
    context.output.value(&value, || shown(&connection, &secrets, &HERE))
}

async fn reveal(context: &Context, project_ref: String) -> Result<RevealProjectSecretsResponse, Error> {
    context
        .client
        .call(RevealProjectSecretsRequest { project_ref }, |channel, request| async move {
            ProjectServiceClient::new(channel).reveal_project_secrets(request).await
        })
        .await
}

/// Merges the public part and the secrets; a secret value replaces the public one of the same name.
fn merged(public: Value, secret: Value) -> Value {
    match (public, secret) {
        (Value::Object(mut all), Value::Object(secrets)) => {
            all.extend(secrets);
            Value::Object(all)
        }
        (public, _) => public,
    }
}

/// Name of this host, as an agent on it would have joined.
static HERE: LazyLock<String> = LazyLock::new(|| {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_lowercase()
});

/// Formats the addresses. Shows no URL for a loopback address of another host, because here it would mean this host.
fn shown(
    connection: &GetProjectConnectionResponse,
    secrets: &RevealProjectSecretsResponse,
    here: &str,
) -> String {
    let node = connection.node.as_str();
    let elsewhere = |host_only: bool| host_only && !node.eq_ignore_ascii_case(here);
    let only = |port: &str| format!("on host {node} only, port {port}");
    let api = if elsewhere(connection.api_host_only) {
        only(connection.api_url.rsplit(':').next().unwrap_or_default())
    } else {
        connection.api_url.clone()
    };
    let far = elsewhere(connection.db_host_only) && connection.db_port != 0;
    let port = connection.db_port;
    let (database, secret) = match secrets.db_url.as_str() {
        "" => (connection.db_url.clone(), "database"),
        with_password => (with_password.to_owned(), "database (secret)"),
    };
    let text = table::pairs([
        ("api", api),
        (if far { "database" } else { secret }, if far { only(&port.to_string()) } else { database }),
        ("host", if far { String::new() } else { connection.db_host.clone() }),
        ("port", if far || port == 0 { String::new() } else { port.to_string() }),
        ("user", connection.db_user.clone()),
        ("password (secret)", secrets.db_password.clone()),
        ("name", connection.db_name.clone()),
    ]);
    if !far {
        return text;
    }
    format!(
        "{text}\n\nThe database listens on {node}'s loopback. Lead its port here, or run psql there:\n  \
         ssh -N -L {port}:127.0.0.1:{port} root@{node}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> GetProjectConnectionResponse {
        GetProjectConnectionResponse {
            api_url: "http://127.0.0.1:5500".into(),
            db_url: "postgresql://postgres@127.0.0.1:5501/postgres".into(),
            db_host: "127.0.0.1".into(),
            db_port: 5501,
            db_user: "postgres".into(),
            db_name: "postgres".into(),
            api_host_only: true,
            db_host_only: true,
            node: "h2".into(),
        }
    }

    #[test]
    fn a_project_of_this_host_has_its_addresses() {
        let text = shown(&connection(), &RevealProjectSecretsResponse::default(), "h2");
        assert!(text.contains("http://127.0.0.1:5500") && text.contains("postgres@127.0.0.1:5501"), "{text}");
        assert!(!text.contains("password"), "{text}");
    }

    #[test]
    fn a_loopback_address_of_another_host_is_not_shown_as_if_it_were_here() {
        let secrets = RevealProjectSecretsResponse {
            db_url: "postgresql://postgres:pw@127.0.0.1:5501/postgres".into(),
            db_password: "pw".into(),
            ..Default::default()
        };
        let text = shown(&connection(), &secrets, "h1");
        assert!(text.contains("on host h2 only, port 5501") && text.contains("ssh -N -L"), "{text}");
        assert!(!text.contains("://"), "{text}");
        let open = GetProjectConnectionResponse {
            api_url: "http://10.0.0.7:5500".into(),
            api_host_only: false,
            ..connection()
        };
        let text = shown(&open, &secrets, "h1");
        assert!(text.contains("http://10.0.0.7:5500") && text.contains("on host h2 only"), "{text}");
    }

    #[test]
    fn secrets_replace_what_stands_there_without_them() {
        let all = merged(serde_json::json!({"dbUrl": "a", "dbPort": 1}), serde_json::json!({"dbUrl": "b"}));
        assert_eq!(all, serde_json::json!({"dbUrl": "b", "dbPort": 1}));
    }
}
