//! Byte streams to services of projects, over the bulk connection of the node.

use std::{
    io::{self, Cursor},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{StreamExt as _, stream};
use supalove_proto::node::v1::{TunnelOpen, TunnelRequest, TunnelResponse, tunnel_request::Part};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tokio_util::{io::StreamReader, sync::PollSender};
use tonic::{Code, Status, Streaming};

use super::Fleet;
use supalove_core::{
    error::{Error, Result},
    ids::NodeId,
};

/// Bytes of one message to the agent.
const CHUNK: usize = 32 * 1024;
/// Messages queued for the agent: with the stream's window, the memory that a stalled service can hold.
const ON_THE_WAY: usize = 4;

impl Fleet {
    /// A byte stream to a port of a service of a project on the node; returns when the service has taken the connection.
    /// A shutdown of the stream ends the direction to the service, and what the service still sends can be read.
    ///
    /// Like [`Fleet::agent`], it reaches the nodes with a session on this replica.
    pub async fn tunnel(
        &self,
        node: NodeId,
        service: TunnelOpen,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>> {
        let name = format!("{}/{}:{}", service.project_ref, service.service, service.port);
        let mut bulk = self.bulk(node).await?;
        let (sender, mut queued) = mpsc::channel(ON_THE_WAY);
        sender.try_send(TunnelRequest { part: Some(Part::Open(service)) }).map_err(Error::internal)?;
        let opened = async {
            let mut answers =
                bulk.tunnel(stream::poll_fn(move |cx| queued.poll_recv(cx))).await?.into_inner();
            match answers.message().await? {
                Some(first) if first.data.is_empty() => Ok(answers),
                Some(_) => {
                    Err(Status::internal("the agent sent bytes before it said that the tunnel is open"))
                }
                None => Err(Status::unavailable("the agent ended the tunnel at once")),
            }
        };
        let answers = tokio::time::timeout(self.core().times.agent_call, opened)
            .await
            .unwrap_or_else(|_| {
                Err(Status::unavailable(format!("node {node} did not open the tunnel in time")))
            })
            .map_err(|status| self.not_opened(&status, name))?;
        Ok(tokio::io::join(reader(answers), Writer(PollSender::new(sender))))
    }

    fn not_opened(&self, status: &Status, service: String) -> Error {
        match status.code() {
            Code::NotFound => Error::NotFound { kind: "service", name: service },
            Code::Unavailable => Error::Unavailable {
                message: format!("cannot connect to {service}: {}", status.message()),
                retry_after: self.core().times.poll,
            },
            _ => Error::internal(status.clone()),
        }
    }
}

fn reader(answers: Streaming<TunnelResponse>) -> impl AsyncRead + Send + Unpin {
    StreamReader::new(answers.map(|answer| answer.map(|a| Cursor::new(a.data)).map_err(io::Error::other)))
}

/// What is written to the service. Its end is the end of the requests.
struct Writer(PollSender<TunnelRequest>);

impl AsyncWrite for Writer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let chunk = &bytes[..bytes.len().min(CHUNK)];
        ready!(self.0.poll_reserve(cx)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        let request = TunnelRequest { part: Some(Part::Data(chunk.to_vec())) };
        self.0.send_item(request).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Poll::Ready(Ok(chunk.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.close();
        Poll::Ready(Ok(()))
    }
}
