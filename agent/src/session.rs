//! The control session: dial, serve, and again, for ever. In: the node. Out: a controller that can call it, or a visible
//! reason why not.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use supalove_certs::tls::{NodeChannel, TlsConfigError, node_client_config};
use supalove_proto::node::v1::node_agent_service_server::NodeAgentServiceServer;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::backoff::Backoff;
use crate::bulk::Bulk;
use crate::dial::{DialError, dial};
use crate::node::Node;
use crate::service::NodeAgent;
use crate::spec;
use crate::status::SessionStatus;

/// Why no session came about.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    /// The identity on disk is of no use.
    #[error(transparent)]
    Config(#[from] TlsConfigError),
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
}

/// How a session ended.
struct Ended {
    reason: String,
    /// Time since its Hello.
    lasted: Duration,
}

/// Keeps a session with the controller until `stop` is cancelled.
pub async fn run(node: Arc<Node>, stop: CancellationToken) {
    let times = node.times;
    let mut backoff = Backoff::new(times.reconnect_first, times.reconnect_cap);
    let mut last_reason = Repeated::default();
    while !stop.is_cancelled() {
        node.status.set(SessionStatus::Connecting);
        let Ended { reason, lasted } = one_session(&node, &stop)
            .await
            .unwrap_or_else(|error| Ended { reason: error.to_string(), lasted: Duration::ZERO });
        // A controller that greets and hangs up at once must not be dialled without a pause for ever.
        if lasted >= times.session_settled {
            backoff.reset();
            last_reason = Repeated::default();
        }
        if stop.is_cancelled() {
            break;
        }
        let pause = backoff.next_jittered();
        last_reason.log(&reason, pause);
        node.status.set(SessionStatus::Waiting { reason, next_try: Utc::now() + pause });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// One session from dial to end.
async fn one_session(node: &Arc<Node>, stop: &CancellationToken) -> Result<Ended, SessionError> {
    let identity = &node.identity;
    let config = node_client_config(
        &identity.ca_pem,
        &identity.certificate_pem,
        &identity.key_pem,
        NodeChannel::Control,
    )?;
    let before = node.epochs.newest();
    let dialled = dial(&identity.controller, config, node.times.dial).await?;
    let ending = stop.child_token();
    let bulk = Arc::new(Bulk::new(node.clone(), ending.child_token()));
    let service = NodeAgent::new(node.clone(), bulk, dialled.local);
    let service = NodeAgentServiceServer::new(service)
        .max_decoding_message_size(spec::MESSAGE_BYTES)
        .max_encoding_message_size(spec::MESSAGE_BYTES);
    let serving = dialled.serve(Routes::new(service), &node.times, &ending);
    let ended = until_end(serving, node.epochs.superseded(before), node.times.hello_within).await;
    // The bulk connection belongs to the session that asked for it.
    ending.cancel();
    Ok(ended)
}

/// Waits for the end of a connection, which comes at once if it is not greeted in time.
async fn until_end(
    serving: impl Future<Output = String>,
    greeting: impl Future<Output = ()>,
    within: Duration,
) -> Ended {
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        reason = &mut serving => return Ended { reason, lasted: Duration::ZERO },
        greeted = timeout(within, greeting) => if greeted.is_err() {
            let reason = format!("the controller did not say Hello within {within:?}");
            return Ended { reason, lasted: Duration::ZERO };
        },
    }
    let greeted_at = Instant::now();
    let reason = serving.await;
    Ended { reason, lasted: greeted_at.elapsed() }
}

/// Logs a reason loudly when it is new or still the same after a minute.
#[derive(Debug, Default)]
struct Repeated(Option<(String, Instant)>);

impl Repeated {
    fn log(&mut self, reason: &str, pause: Duration) {
        let known = self
            .0
            .as_ref()
            .is_some_and(|(known, at)| known == reason && at.elapsed() < Duration::from_mins(1));
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        if known {
            tracing::debug!(reason, pause_ms, "no session with the controller");
        } else {
            tracing::warn!(reason, pause_ms, "no session with the controller, dialling again");
            self.0 = Some((reason.to_owned(), Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use crate::config::Times;

    const WITHIN: Duration = Duration::from_millis(500);

    async fn serving(millis: u64) -> String {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        "closed".into()
    }

    #[tokio::test]
    async fn a_session_lasts_from_its_greeting_to_its_end() {
        let ended = until_end(serving(200), ready(()), WITHIN).await;
        assert_eq!(ended.reason, "closed");
        assert!(ended.lasted > Duration::from_millis(100));
        assert!(ended.lasted < Times::DEFAULT.session_settled, "greeted and closed at once");
        let ended = until_end(serving(50), pending(), WITHIN).await;
        assert_eq!((ended.reason.as_str(), ended.lasted), ("closed", Duration::ZERO));
    }

    #[tokio::test]
    async fn a_connection_that_nobody_greets_is_given_up() {
        let ended = until_end(pending(), pending(), Duration::from_millis(50)).await;
        assert!(ended.reason.contains("did not say Hello"), "{}", ended.reason);
        assert_eq!(ended.lasted, Duration::ZERO);
    }
}
