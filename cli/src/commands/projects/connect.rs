//! `projects keys|connection`: keys and addresses for clients of a project. Secrets only with `--reveal`, by a separate
//! call, which the controller audits.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

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

/// Arguments of `projects connection`.
#[derive(Debug, Args)]
pub struct Connection {
    #[command(flatten)]
    common: Arguments,
    /// Save the certificate of the database's CA in this file, for sslmode=verify-full.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
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

pub async fn connection(context: &Context, arguments: &Connection) -> Result<(), Error> {
    let Connection { common: arguments, ca_file } = arguments;
    let project_ref = arguments.which.resolve(context).await?;
    let request = GetProjectConnectionRequest { project_ref: project_ref.clone() };
    let connection = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).get_project_connection(request).await
        })
        .await?;
    if let Some(file) = ca_file {
        save_ca(file, &connection)?;
    }
    let mut secrets = RevealProjectSecretsResponse::default();
    if arguments.reveal {
        secrets = reveal(context, project_ref).await?;
        secrets.service_role_key = String::new();
    }
    let value = merged(
        output::value("GetProjectConnectionResponse", &connection)?,
        output::value("RevealProjectSecretsResponse", &secrets)?,
    );
    context.output.value(&value, || {
        let text = shown(&connection, &secrets, &HERE);
        match ca_file {
            None => text,
            Some(file) => format!(
                "{text}\n\nThe database's CA is in {0}. A connection that verifies the database:\n  \
                 PGSSLMODE=verify-full PGSSLROOTCERT={0} psql {1}",
                file.display(),
                connection.db_url,
            ),
        }
    })
}

fn save_ca(file: &Path, connection: &GetProjectConnectionResponse) -> Result<(), Error> {
    if connection.db_ca_certificate.is_empty() {
        return Err(Error::Usage(
            "the database of this project has no TLS: its stack release is older; upgrade the project"
                .to_owned(),
        ));
    }
    fs::write(file, &connection.db_ca_certificate)
        .map_err(|error| Error::Usage(format!("cannot write {}: {error}", file.display())))
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
        ("tls", tls(connection).to_owned()),
    ]);
    if !far {
        return text;
    }
    format!(
        "{text}\n\nThe database listens on {node}'s loopback. Lead its port here, or run psql there:\n  \
         ssh -N -L {port}:127.0.0.1:{port} root@{node}"
    )
}

/// What a client can ask for; empty without an address.
fn tls(connection: &GetProjectConnectionResponse) -> &'static str {
    match (connection.db_url.is_empty(), connection.db_ca_certificate.is_empty()) {
        (true, _) => "",
        (false, true) => "no: the project's stack release is older",
        (false, false) => "sslmode=require; for verify-full save the CA with --ca-file FILE",
    }
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
            db_ca_certificate: "-----BEGIN CERTIFICATE-----\n".into(),
        }
    }

    #[test]
    fn the_ca_is_saved_only_where_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let without = GetProjectConnectionResponse { db_ca_certificate: String::new(), ..connection() };
        assert!(save_ca(&file, &without).unwrap_err().to_string().contains("has no TLS"));
        assert!(!file.exists());
        save_ca(&file, &connection()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), connection().db_ca_certificate);
        assert!(tls(&connection()).contains("--ca-file") && tls(&without).starts_with("no"));
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
