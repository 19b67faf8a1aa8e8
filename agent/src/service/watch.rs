//! `WatchState`: the node's conditions and every project once, the end of the snapshot, then changes, and now and then the
//! digests of all states. A slow reader misses progress, never a state.

use std::sync::Arc;
use std::time::Duration;

use supalove_failpoints::failpoint;
use supalove_proto::node::v1::watch_state_response::Report;
use supalove_proto::node::v1::{
    NodeCondition, NodeConditions, ObservedStack, Progress, SnapshotEnd, WatchStateResponse,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::error::stale_epoch;
use crate::node::Node;
use crate::reports::{News, Subscription};

/// Reports that are queued for one reader.
const ON_THE_WAY: usize = 64;

type Sender = mpsc::Sender<Result<WatchStateResponse, Status>>;

/// The reader is gone.
struct Gone;

/// Starts a stream for one session.
///
/// `every`: how often it repeats the digests of all states.
pub fn start(
    node: Arc<Node>,
    epoch: u64,
    every: Option<Duration>,
) -> ReceiverStream<Result<WatchStateResponse, Status>> {
    let (out, reader) = mpsc::channel(ON_THE_WAY);
    let tasks = node.tasks.clone();
    tasks.connection("watch of states", async move {
        tokio::select! {
            _ = feed(node.reports.subscribe(), node.supervisor.shared().conditions.subscribe(), every, &out) => {}
            () = out.closed() => {}
            () = node.epochs.superseded(epoch) => {
                // A reader that is gone needs no reason.
                let _ = out.try_send(Err(stale_epoch(epoch, node.epochs.newest())));
            }
        }
    });
    ReceiverStream::new(reader)
}

async fn feed(
    mut news: Subscription,
    mut conditions: watch::Receiver<Vec<NodeCondition>>,
    every: Option<Duration>,
    out: &Sender,
) -> Result<(), Gone> {
    let mut last = Instant::now();
    send_conditions(&mut conditions, out).await?;
    send_states(news.snapshot(), out).await?;
    send(Report::SnapshotEnd(SnapshotEnd {}), out).await?;
    loop {
        let repeat = async {
            match every {
                Some(every) => tokio::time::sleep_until(last + every).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // First, or a busy node would never repeat them.
            biased;
            () = repeat => {
                let (states, digests) = news.levels();
                send_states(states, out).await?;
                send(Report::Digests(digests), out).await?;
                last = Instant::now();
            }
            changed = conditions.changed() => match changed {
                Ok(()) => send_conditions(&mut conditions, out).await?,
                Err(_) => return Ok(()),
            },
            next = news.next() => match next {
                Some(News::States(states)) => send_states(states, out).await?,
                Some(News::Progress(progress)) => send_progress(progress, out),
                None => return Ok(()),
            },
        }
    }
}

async fn send_conditions(
    conditions: &mut watch::Receiver<Vec<NodeCondition>>,
    out: &Sender,
) -> Result<(), Gone> {
    let conditions = conditions.borrow_and_update().clone();
    send(Report::Conditions(NodeConditions { conditions }), out).await
}

async fn send_states(states: Vec<ObservedStack>, out: &Sender) -> Result<(), Gone> {
    for state in states {
        failpoint!("agent.report.sending", &state.project_ref);
        send(Report::Observed(state), out).await?;
        failpoint!("agent.report.sent");
    }
    Ok(())
}

async fn send(report: Report, out: &Sender) -> Result<(), Gone> {
    out.send(Ok(WatchStateResponse { report: Some(report) })).await.map_err(|_| Gone)
}

/// Dropped while the reader is slow.
fn send_progress(progress: Progress, out: &Sender) {
    let _ = out.try_send(Ok(WatchStateResponse { report: Some(Report::Progress(progress)) }));
}
