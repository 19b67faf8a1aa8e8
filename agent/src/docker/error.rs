//! Errors of the engine, told apart as far as callers act on them.

use std::time::Duration;

use bollard::errors::Error as Client;

/// A call to the engine that failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No answer in time.
    #[error("the Docker Engine did not answer within {0:?}")]
    Timeout(Duration),
    /// The engine refused, with its own message.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// The engine is unreachable, or its answer cannot be read.
    #[error("the Docker Engine cannot be used: {}", last_cause(.0))]
    Unreachable(#[source] Client),
}

impl EngineError {
    /// The object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// The name is taken, or another call works on the same object.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }

    /// A chain that the engine made in the packet filter is gone. The words are those of `iptables`, in both its versions.
    pub fn is_missing_chain(&self) -> bool {
        let message = self.to_string();
        message.contains("iptables")
            && (message.contains("No chain/target/match by that name")
                || (message.contains("Chain '") && message.contains("does not exist")))
    }

    /// Another process or container holds a port that was to be published.
    pub fn is_port_conflict(&self) -> bool {
        let message = self.to_string();
        message.contains("port is already allocated") || message.contains("address already in use")
    }
}

impl From<Client> for EngineError {
    fn from(error: Client) -> Self {
        match error {
            Client::DockerResponseServerError { status_code, message } => {
                Self::Refused { status: status_code, message }
            }
            Client::DockerStreamError { error } => Self::Refused { status: 500, message: error },
            Client::RequestTimeoutError => Self::Timeout(Duration::ZERO),
            other => Self::Unreachable(other),
        }
    }
}

/// The client's own words name its HTTP library; the last cause says what happened, such as "Connection refused".
fn last_cause(error: &Client) -> &dyn std::error::Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause
}

/// Turns "does not exist" and "not modified" into success.
pub(super) fn gone_is_fine(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(error) if error.is_not_found() || matches!(error, EngineError::Refused { status: 304, .. }) => {
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_told_by_the_systems_words() {
        let nowhere = tempfile::tempdir().unwrap().path().join("docker.sock");
        let client = bollard::Docker::connect_with_unix(
            &format!("unix://{}", nowhere.display()),
            1,
            bollard::API_DEFAULT_VERSION,
        );
        // Newer clients look for the socket when they are made.
        let error = match client {
            Ok(client) => EngineError::from(client.ping().await.unwrap_err()).to_string(),
            Err(error) => EngineError::from(error).to_string(),
        };
        assert!(error.starts_with("the Docker Engine cannot be used: "), "{error}");
        assert!(error.contains("No such file") || error.contains("not found"), "{error}");
    }
}
