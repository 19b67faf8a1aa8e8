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
use crate::dial::{Closed, DialError, dial};
use crate::node::Node;
use crate::service::NodeAgent;
use crate::spec;
use crate::standing::Farewell;
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
    closed: Closed,
    /// Time since its Hello.
    lasted: Duration,
}

impl Ended {
    fn at_once(reason: String) -> Self {
        Self { closed: Closed::because(reason), lasted: Duration::ZERO }
    }
}

/// Keeps a session with the controller until `stop` is cancelled.
pub async fn run(node: Arc<Node>, stop: CancellationToken) {
    let times = node.times;
    let mut backoff = Backoff::new(times.reconnect_first, times.reconnect_cap);
    let mut last_reason = Repeated::default();
    while !stop.is_cancelled() {
        node.status.set(SessionStatus::Connecting);
        let Ended { closed, lasted } =
            one_session(&node, &stop).await.unwrap_or_else(|error| Ended::at_once(error.to_string()));
        // A controller that greets and hangs up at once must not be dialled without a pause for ever.
        if lasted >= times.session_settled {
            backoff.reset();
            last_reason = Repeated::default();
        }
        if stop.is_cancelled() {
            break;
        }
        let mut identities = node.identity.subscribe();
        if closed.certificate_refused {
            node.wishes.recover();
        }
        let pause = backoff.next_jittered();
        last_reason.log(&closed.reason, pause);
        node.status.set(SessionStatus::Waiting { reason: closed.reason, next_try: Utc::now() + pause });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = node.standing.spoken() => {}
            // A new certificate may be what was missing.
            _ = identities.changed() => {}
            () = stop.cancelled() => {}
        }
        if let Some(farewell) = node.standing.take() {
            sent_away(&node, farewell, &stop).await;
        }
    }
}

/// Waits as long as the controller asked, and says why. A little longer at random, so that two agents with one identity do
/// not come back in step.
async fn sent_away(node: &Node, farewell: Farewell, stop: &CancellationToken) {
    let Farewell { reason, message, retry_after } = farewell;
    let pause = retry_after.mul_f64(1.0 + rand::random::<f64>() / 10.0);
    tracing::error!(reason, message, ?pause, "the controller has sent this node away; projects keep running");
    node.status.set(SessionStatus::Refused {
        reason: reason.to_owned(),
        message,
        next_try: Utc::now() + pause,
    });
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = stop.cancelled() => {}
    }
}

/// One session from dial to end.
async fn one_session(node: &Arc<Node>, stop: &CancellationToken) -> Result<Ended, SessionError> {
    let identity = node.identity.get();
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
    serving: impl Future<Output = Closed>,
    greeting: impl Future<Output = ()>,
    within: Duration,
) -> Ended {
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        closed = &mut serving => return Ended { closed, lasted: Duration::ZERO },
        greeted = timeout(within, greeting) => if greeted.is_err() {
            return Ended::at_once(format!("the controller did not say Hello within {within:?}"));
        },
    }
    let greeted_at = Instant::now();
    let closed = serving.await;
    Ended { closed, lasted: greeted_at.elapsed() }
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

    async fn serving(millis: u64) -> Closed {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        Closed::because("closed")
    }

    #[tokio::test]
    async fn a_session_lasts_from_its_greeting_to_its_end() {
        let ended = until_end(serving(200), ready(()), WITHIN).await;
        assert_eq!(ended.closed.reason, "closed");
        assert!(ended.lasted > Duration::from_millis(100));
        assert!(ended.lasted < Times::DEFAULT.session_settled, "greeted and closed at once");
        let ended = until_end(serving(50), pending(), WITHIN).await;
        assert_eq!((ended.closed.reason.as_str(), ended.lasted), ("closed", Duration::ZERO));
    }

    #[tokio::test]
    async fn a_connection_that_nobody_greets_is_given_up() {
        let ended = until_end(pending(), pending(), Duration::from_millis(50)).await;
        assert!(ended.closed.reason.contains("did not say Hello"), "{}", ended.closed.reason);
        assert_eq!(ended.lasted, Duration::ZERO);
    }
}
