//! The control session: dial, serve, and again, for ever. In: the node. Out: a controller that can call it, or a visible
//! reason why not.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use supalove_certs::tls::{NodeChannel, TlsConfigError, node_client_config};
use supalove_proto::node::v1::node_agent_service_server::NodeAgentServiceServer;
use tokio::time::Instant;
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

/// Keeps a session with the controller until `stop` is cancelled.
pub async fn run(node: Arc<Node>, stop: CancellationToken) {
    let times = node.times;
    let mut backoff = Backoff::new(times.reconnect_first, times.reconnect_cap);
    let mut last_reason = Repeated::default();
    while !stop.is_cancelled() {
        node.status.set(SessionStatus::Connecting);
        let began = node.epochs.newest();
        let reason = match one_session(&node, &stop).await {
            Ok(reason) => reason,
            Err(error) => error.to_string(),
        };
        if node.epochs.newest() > began {
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

/// One session from dial to end; the reason of the end.
async fn one_session(node: &Arc<Node>, stop: &CancellationToken) -> Result<String, SessionError> {
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
    let reason = tokio::select! {
        reason = serving => reason,
        () = nobody_greets(node, before) => {
            format!("the controller did not say Hello within {:?}", node.times.hello_within)
        }
    };
    // The bulk connection belongs to the session that asked for it.
    ending.cancel();
    Ok(reason)
}

/// Returns when the time for a Hello is over; never once one has come.
async fn nobody_greets(node: &Node, before: u64) {
    let greeted = node.epochs.superseded(before);
    if tokio::time::timeout(node.times.hello_within, greeted).await.is_ok() {
        std::future::pending::<()>().await;
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
            tracing::debug!(reason, pause_ms, "no session with the controller");
        } else {
            tracing::warn!(reason, pause_ms, "no session with the controller, dialling again");
            self.0 = Some((reason.to_owned(), Instant::now()));
        }
    }
}
