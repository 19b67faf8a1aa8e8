//! `supalove-agent join`: a host with a token becomes a node. In: controller address and token. Out: an identity on disk,
//! or an error that says what to do. The token names the CA, so nothing else has to be trusted.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use supalove_certs::tls::{ConnectError, TlsConfigError, join_client_config};
use supalove_certs::{JoinToken, KeyError, NodeKey, TokenError};
use supalove_proto::node::v1::enrollment_service_client::EnrollmentServiceClient;
use supalove_proto::node::v1::{EnrollRequest, EnrollResponse};
use tonic::{Code, Status};

use crate::config::Times;
use crate::dial::{DialError, Dialled, dial};
use crate::identity::{Identity, IdentityError};

/// What to join, and where to keep the identity.
#[derive(Debug)]
pub struct JoinOptions {
    /// Controller's node port, host:port, or several with commas between.
    pub controller: String,
    /// "slj1.…".
    pub token: zeroize::Zeroizing<String>,
    /// Where the identity goes.
    pub state_dir: PathBuf,
    /// Name of the host in the cluster.
    pub hostname: String,
    /// Replace an identity that is there.
    pub force: bool,
}

/// Why the host did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The token is missing or not a join token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The controller does not accept the token: expired, used up, revoked.
    #[error("the controller refused the join token: {0}")]
    TokenRefused(String),
    /// Another fleet answers, or an attacker in between.
    #[error(transparent)]
    ForeignCa(ConnectError),
    #[error(transparent)]
    Unreachable(DialError),
    /// The identity could not be read or written, or exists.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The host's name is taken in the cluster.
    #[error("{0}; choose another name with --name")]
    NameTaken(String),
    /// The controller refused for another reason.
    #[error("the controller refused: {0}")]
    Refused(String),
    /// The key could not be created.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    /// The address is not host:port.
    #[error("\"{0}\" is not an address of the form host:port{hint}", hint = scheme_hint(.0))]
    Address(String),
}

/// The node port speaks gRPC on TLS by itself; an address with a scheme would be looked up as a host name.
fn scheme_hint(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, _)) => format!("; leave out {scheme}://"),
        None => String::new(),
    }
}

impl JoinError {
    /// The program's exit code, stable for scripts.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Address(_) => 2,
            Self::Token(_) | Self::TokenRefused(_) => 3,
            Self::ForeignCa(_) => 4,
            Self::Unreachable(_) => 5,
            Self::Identity(IdentityError::Exists { .. }) => 6,
            Self::NameTaken(_) => 7,
            Self::Identity(_) | Self::Refused(_) | Self::Key(_) | Self::Tls(_) => 1,
        }
    }
}

impl From<DialError> for JoinError {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Tls(tls @ (ConnectError::WrongCa(_) | ConnectError::ForeignController)) => {
                Self::ForeignCa(tls)
            }
            other => Self::Unreachable(other),
        }
    }
}

/// Joins; returns the identity that was stored.
pub async fn join(options: JoinOptions, times: &Times) -> Result<Identity, JoinError> {
    if !options.force {
        Identity::ensure_absent(&options.state_dir)?;
    }
    check_address(&options.controller)?;
    let token: JoinToken = options.token.parse()?;
    let key = NodeKey::generate()?;
    let config = join_client_config(&token.ca())?;
    let dialled = dial(&options.controller, config, times.protocol.dial).await?;
    let request = EnrollRequest {
        join_token: token.to_string(),
        csr_pem: key.csr_pem()?,
        hostname: options.hostname.clone(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let response = enroll(dialled, request, times.protocol.short_call).await?;
    let identity = Identity {
        node_id: response.node_id,
        fleet_id: response.fleet_id,
        cluster_id: response.cluster_id,
        cluster_name: response.cluster_name,
        controller: options.controller.clone(),
        hostname: options.hostname.clone(),
        certificate_pem: response.certificate_pem,
        ca_pem: trusted_pem(&response.trusted_ca_pem, response.ca_pem),
        key_pem: key.to_pem().to_string(),
        expire_time: response.expire_time.and_then(as_rfc3339).unwrap_or_default(),
    };
    identity.store(&options.state_dir)?;
    Ok(identity)
}

/// An older controller, which knows only one root, sends no list.
fn trusted_pem(all: &[String], signing: String) -> String {
    if all.is_empty() { signing } else { all.concat() }
}

async fn enroll(
    dialled: Dialled,
    request: EnrollRequest,
    limit: Duration,
) -> Result<EnrollResponse, JoinError> {
    let calling = async {
        let mut client = EnrollmentServiceClient::new(dialled.channel().await?);
        client.enroll(request).await
    };
    match tokio::time::timeout(limit, calling).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(refusal(&status)),
        Err(_) => Err(JoinError::Refused(format!("no answer within {limit:?}"))),
    }
}

fn refusal(status: &Status) -> JoinError {
    let message = status.message().to_owned();
    let reason = supalove_net::status::reason(status).unwrap_or_default();
    let is_token = reason.starts_with("JOIN_TOKEN")
        || matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied);
    match status.code() {
        _ if is_token => JoinError::TokenRefused(message),
        Code::AlreadyExists => JoinError::NameTaken(message),
        code => JoinError::Refused(format!("{message} ({code:?})")),
    }
}

fn check_address(address: &str) -> Result<(), JoinError> {
    let is_address = |one: &str| {
        one.rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    let valid = address.split(',').all(is_address) && !address.contains("://");
    if valid { Ok(()) } else { Err(JoinError::Address(address.to_owned())) }
}

fn as_rfc3339(time: prost_types::Timestamp) -> Option<String> {
    let nanos = u32::try_from(time.nanos).ok()?;
    DateTime::<Utc>::from_timestamp(time.seconds, nanos).map(|time| time.to_rfc3339())
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let details =
            ErrorDetails::with_error_info("JOIN_TOKEN_EXPIRED", "supalove", [] as [(String, String); 0]);
        let expired = Status::with_error_details(Code::FailedPrecondition, "has expired", details);
        assert_eq!(refusal(&expired).exit_code(), 3);
        assert_eq!(refusal(&Status::unauthenticated("used")).exit_code(), 3);
        assert_eq!(refusal(&Status::already_exists("h")).exit_code(), 7);
        assert_eq!(refusal(&Status::internal("x")).exit_code(), 1);
    }

    #[tokio::test]
    async fn a_wrong_address_token_or_closed_port_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let options = |controller: &str, token: &str| JoinOptions {
            controller: controller.into(),
            token: token.to_owned().into(),
            state_dir: dir.path().to_owned(),
            hostname: "h".into(),
            force: false,
        };
        let times = Times::DEFAULT;
        assert_eq!(join(options("nowhere", "x"), &times).await.unwrap_err().exit_code(), 2);
        let with_scheme = join(options("http://127.0.0.1:8001", "x"), &times).await.unwrap_err();
        assert_eq!(with_scheme.exit_code(), 2);
        assert!(with_scheme.to_string().ends_with("leave out http://"), "{with_scheme}");
        assert_eq!(join(options("127.0.0.1:1", "x"), &times).await.unwrap_err().exit_code(), 3);
        let token = format!("slj1.{}.{}.{}", "0".repeat(64), "0".repeat(32), "A".repeat(43));
        let error = join(options("127.0.0.1:1", &token), &times).await.unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert!(!error.to_string().contains(&"A".repeat(43)));
    }
}
