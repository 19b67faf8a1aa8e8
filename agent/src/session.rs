//! The control session: dials, serves, and dials again, without end. In: the node. Out: a controller that can call it, or a
//! visible reason why not.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use supalove_certs::tls::{NodeChannel, TlsConfigError, node_client_config};
use supalove_net::LastHeard;
use supalove_proto::node::v1::node_agent_service_server::NodeAgentServiceServer;
use supalove_proto::node::v1::node_usage_service_server::NodeUsageServiceServer;
use supalove_spec::{Liveness, limits};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::backoff::Backoff;
use crate::bulk::Bulk;
use crate::dial::{Closed, DialError, dial};
use crate::goodbye::Goodbye;
use crate::node::Node;
use crate::service::{NodeAgent, NodeUsage};
use crate::status::SessionStatus;

/// Why no session came about.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    /// The identity on disk cannot be used.
    #[error(transparent)]
    Config(#[from] TlsConfigError),
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
    let mut backoff = Backoff::new(times.protocol.reconnect_first, times.protocol.reconnect_cap);
    let mut last_reason = Repeated::default();
    while !stop.is_cancelled() {
        node.status.set(SessionStatus::Connecting);
        let Ended { closed, lasted } = in_its_task(&node, &stop).await;
        // A controller that greets and hangs up at once must not be dialled without a pause for ever.
        if lasted >= times.protocol.session_settled {
            backoff.reset();
            last_reason = Repeated::default();
        }
        if stop.is_cancelled() {
            break;
        }
        let mut identities = node.identity.subscribe();
        if closed.certificate_refused {
            node.certificate.requests.recover();
        }
        // Sessions that were lost together must not all come back together.
        let spread = node.reconnect_spread.send_replace(Duration::ZERO);
        let pause = backoff.next_jittered() + spread.mul_f64(rand::random::<f64>());
        last_reason.log(&closed.reason, pause);
        node.status.set(SessionStatus::Waiting { reason: closed.reason, next_try: Utc::now() + pause });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = node.last_goodbye.said() => {}
            // A new certificate may be what was missing.
            _ = identities.changed() => {}
            () = stop.cancelled() => {}
        }
        if let Some(goodbye) = node.last_goodbye.take() {
            stay_away(&node, goodbye, &stop).await;
        }
    }
}

/// Waits as long as the controller asked, and says why. A little longer at random, so that two agents with one identity do
/// not come back in step.
async fn stay_away(node: &Node, goodbye: Goodbye, stop: &CancellationToken) {
    let Goodbye { reason, message, retry_after } = goodbye;
    let pause = retry_after.mul_f64(1.0 + rand::random::<f64>() / 10.0);
    tracing::error!(
        reason,
        message,
        ?pause,
        "session refused: the controller has sent this node away; projects keep running"
    );
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

/// One session as a task of its own: one that panics ends alone, and the next one is dialled.
async fn in_its_task(node: &Arc<Node>, stop: &CancellationToken) -> Ended {
    let session = {
        let node = node.clone();
        let stop = stop.clone();
        async move { one_session(&node, &stop).await }
    };
    match node.tasks.connection_until("session", |_| session).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => Ended::at_once(error.to_string()),
        Err(panicked) => Ended::at_once(panicked.to_string()),
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
    let dialled = dial(&identity.controller, config, node.times.protocol.dial).await?;
    node.dialled.send_replace(dialled.address.clone());
    let ending = stop.child_token();
    let bulk = Arc::new(Bulk::new(node.clone(), ending.child_token()));
    let service = NodeAgent::new(node.clone(), bulk, dialled.local);
    let service = NodeAgentServiceServer::new(service)
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    // The bulk connection belongs to the session that asked for it, and ends with it, even if this panics.
    let _end = ending.clone().drop_guard();
    let heard = dialled.heard();
    let liveness = *node.liveness.borrow();
    let routes = Routes::new(service).add_service(NodeUsageServiceServer::new(NodeUsage::new(node.clone())));
    let serving = dialled.serve(&node.tasks, routes, liveness, node.times.shutdown, &ending);
    let greeting = node.epochs.superseded(before);
    let silence = silence(&heard, node.liveness.subscribe());
    Ok(until_end(serving, greeting, silence, node.times.protocol.hello_within).await)
}

/// Waits for the end of a connection. It is given up if the controller does not say Hello in time, and later if the
/// controller is silent.
async fn until_end(
    serving: impl Future<Output = Closed>,
    greeting: impl Future<Output = ()>,
    silence: impl Future<Output = Duration>,
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
    let closed = tokio::select! {
        closed = &mut serving => closed,
        silent_for = silence => Closed::because(format!("the controller was silent for {silent_for:?}")),
    };
    Ended { closed, lasted: greeted_at.elapsed() }
}

/// Returns when the controller has been silent for longer than its Hello allows. HTTP/2's own pings find a dead connection
/// as well, but with the times of before Hello.
async fn silence(heard: &LastHeard, mut liveness: watch::Receiver<Liveness>) -> Duration {
    loop {
        let limit = liveness.borrow_and_update().longest_silence();
        tokio::select! {
            () = heard.silent_for(limit) => return limit,
            // The sender lives as long as the node.
            _ = liveness.changed() => {}
        }
    }
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
            tracing::debug!(reason, pause_ms, "session ended or failed");
        } else {
            tracing::warn!(reason, pause_ms, "session ended or failed, dialling again");
            self.0 = Some((reason.to_owned(), Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use supalove_spec::ProtocolTimes;

    use super::*;

    const WITHIN: Duration = Duration::from_millis(500);

    async fn serving(millis: u64) -> Closed {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        Closed::because("closed")
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_lasts_from_its_greeting_to_its_end() {
        let ended = until_end(serving(200), ready(()), pending(), WITHIN).await;
        assert_eq!(ended.closed.reason, "closed");
        assert_eq!(ended.lasted, Duration::from_millis(200));
        let ended = until_end(serving(50), pending(), pending(), WITHIN).await;
        assert_eq!((ended.closed.reason.as_str(), ended.lasted), ("closed", Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_nobody_greets_is_given_up() {
        let ended = until_end(pending(), pending(), ready(WITHIN), WITHIN).await;
        assert!(ended.closed.reason.contains("did not say Hello"), "{}", ended.closed.reason);
        assert_eq!(ended.lasted, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_controller_is_given_up_after_the_times_that_it_told() {
        let began = Instant::now();
        let heard = LastHeard::now();
        let liveness = watch::Sender::new(ProtocolTimes::DEFAULT.liveness());
        let silent = silence(&heard, liveness.subscribe());
        let tells = async {
            liveness.send_replace(Liveness::from_hello(1000, 4500).unwrap());
            pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = until_end(pending(), ready(()), silent, WITHIN) => ended,
            () = tells => unreachable!(),
        };
        assert_eq!(began.elapsed(), Duration::from_millis(3500));
        assert_eq!(ended.closed.reason, "the controller was silent for 3.5s");
        assert_eq!(ended.lasted, Duration::from_millis(3500));
    }
}
