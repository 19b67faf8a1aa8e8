//! `NodeUsageService`: the records of the spool, oldest first, one batch after the acknowledgement of the one before; and what
//! the databases of projects may hold by their plans.

use std::sync::Arc;

use supalove_proto::node::v1::node_usage_service_server::NodeUsageService;
use supalove_proto::node::v1::{
    SetDatabaseLimitsRequest, SetDatabaseLimitsResponse, StreamUsageRequest, StreamUsageResponse, UsageRecord,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::error::{check_epoch, invalid_field, stale_epoch};
use crate::node::Node;
use crate::stack::parse_database_limits;
use crate::usage::Clock;

/// About as many bytes of records go into a batch: other calls of the session wait for no more than that.
const BATCH_BYTES: usize = 128 * 1024;

type Sender = mpsc::Sender<Result<StreamUsageResponse, Status>>;

/// The service on one session.
#[derive(Debug)]
pub struct NodeUsage {
    node: Arc<Node>,
}

impl NodeUsage {
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl NodeUsageService for NodeUsage {
    type StreamUsageStream = ReceiverStream<Result<StreamUsageResponse, Status>>;

    async fn stream_usage(
        &self,
        request: Request<Streaming<StreamUsageRequest>>,
    ) -> Result<Response<Self::StreamUsageStream>, Status> {
        let epoch = check_epoch(&self.node.epochs, &request)?;
        let mut acknowledgements = request.into_inner();
        let begin = acknowledgements.message().await?;
        let begin = begin.ok_or_else(|| invalid_field("spool", "the first message says where to begin"))?;
        let (out, reader) = mpsc::channel(1);
        let node = self.node.clone();
        self.node.tasks.connection("stream of usage", async move {
            tokio::select! {
                ended = feed(&node, begin, acknowledgements, &out) => if let Err(status) = ended {
                    // A reader that is gone needs no reason.
                    let _ = out.try_send(Err(status));
                },
                () = out.closed() => {}
                () = node.epochs.superseded(epoch) => {
                    let _ = out.try_send(Err(stale_epoch(epoch, node.epochs.newest())));
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(reader)))
    }

    async fn set_database_limits(
        &self,
        request: Request<SetDatabaseLimitsRequest>,
    ) -> Result<Response<SetDatabaseLimitsResponse>, Status> {
        check_epoch(&self.node.epochs, &request)?;
        let limits = parse_database_limits(request.get_ref())
            .map_err(|wrong| invalid_field(wrong.field, wrong.problem))?;
        let shared = self.node.supervisor.shared().clone();
        match tokio::task::spawn_blocking(move || shared.database_limits.set(limits)).await {
            Ok(Ok(())) => Ok(Response::new(SetDatabaseLimitsResponse {})),
            Ok(Err(error)) => Err(Status::internal(format!("cannot store the limits of databases: {error}"))),
            Err(error) => Err(Status::internal(error.to_string())),
        }
    }
}

/// Returns when the controller has ended the stream.
async fn feed(
    node: &Node,
    begin: StreamUsageRequest,
    mut acknowledgements: Streaming<StreamUsageRequest>,
    out: &Sender,
) -> Result<(), Status> {
    let mut newest = node.usage.subscribe();
    let mut after = acknowledged(node, &begin).await?;
    loop {
        newest.mark_unchanged();
        let batch = batch(node, after).await?;
        if batch.records.is_empty() {
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return Ok(()) },
                // Nothing is to be acknowledged: the controller has gone.
                _ = acknowledgements.message() => return Ok(()),
            }
            continue;
        }
        if out.send(Ok(batch)).await.is_err() {
            return Ok(());
        }
        match acknowledgements.message().await? {
            Some(taken) => after = acknowledged(node, &taken).await?,
            None => return Ok(()),
        }
    }
}

/// Deletes what the controller has stored; returns the number after which to go on.
async fn acknowledged(node: &Node, taken: &StreamUsageRequest) -> Result<u64, Status> {
    if taken.spool != node.usage.id() {
        return Ok(0);
    }
    let seq = possible(taken.acknowledged)?;
    let spool = node.usage.clone();
    blocking(move || spool.acknowledge(seq)).await?;
    Ok(seq)
}

/// A number that a record can have: the numbers of those after it must exist as well.
fn possible(acknowledged: u64) -> Result<u64, Status> {
    if i64::try_from(acknowledged).is_ok() {
        return Ok(acknowledged);
    }
    Err(invalid_field("acknowledged", "no record has this number"))
}

async fn batch(node: &Node, after: u64) -> Result<StreamUsageResponse, Status> {
    let (spool, boot) = (node.usage.clone(), node.boot_id.clone());
    blocking(move || {
        let stored = spool.after(after, BATCH_BYTES)?;
        let now = Clock::now(&boot)?;
        let records = stored.into_iter().map(|record| UsageRecord {
            seq: record.seq,
            age_ms: now.since_ms(&record.made()),
            projects: record.projects,
        });
        Ok(StreamUsageResponse {
            records: records.collect(),
            spool: spool.id().to_owned(),
            dropped: spool.dropped(),
        })
    })
    .await
}

/// Runs file work where blocking is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Status::internal(format!("the spool of usage cannot be used: {error}"))),
        Err(error) => Err(Status::internal(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_after_which_none_could_follow_is_refused() {
        assert_eq!(possible(i64::MAX.unsigned_abs()).unwrap(), i64::MAX.unsigned_abs());
        let refused = possible(u64::MAX).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
}
