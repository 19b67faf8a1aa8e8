//! Copies bytes between a gRPC stream and a container's port. The caller may close its direction first and go on reading;
//! when the service closes its direction, or the caller leaves, the tunnel ends.

use std::net::Ipv4Addr;
use std::time::Duration;

use supalove_proto::node::v1::tunnel_request::Part;
use supalove_proto::node::v1::{TunnelRequest, TunnelResponse};
use supalove_tasks::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

/// Bytes of one message to the reader.
const CHUNK: usize = 32 * 1024;
/// Messages queued for the reader: with the stream's window, the memory that a stalled reader can hold.
const ON_THE_WAY: usize = 4;

type Answer = Result<TunnelResponse, Status>;

/// Connects to a container.
pub async fn dial(address: Ipv4Addr, port: u16, limit: Duration) -> Result<TcpStream, Status> {
    let failed = |reason: String| Status::unavailable(format!("port {port} of the service: {reason}"));
    let stream = tokio::time::timeout(limit, TcpStream::connect((address, port)))
        .await
        .map_err(|_| failed(format!("no answer within {limit:?}")))?
        .map_err(|error| failed(error.to_string()))?;
    stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
    Ok(stream)
}

/// Copies both ways until the service closes its side or the caller leaves: the end of the answers is the end of the call.
/// A caller that has closed its direction may go on reading. The first message says that the connection is open.
pub fn start<S>(tasks: &Tasks, stream: TcpStream, incoming: S) -> ReceiverStream<Answer>
where
    S: Stream<Item = Result<TunnelRequest, Status>> + Send + Unpin + 'static,
{
    let (out, reader) = mpsc::channel(ON_THE_WAY);
    let (from_service, to_service) = stream.into_split();
    tasks.connection("tunnel", async move {
        let uploading = async {
            upload(incoming, to_service).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // The reader's end is dropped when the call is cancelled or its connection ends.
            () = out.closed() => {}
            () = download(from_service, out.clone()) => {}
            () = uploading => {}
        }
    });
    ReceiverStream::new(reader)
}

async fn download(mut from: OwnedReadHalf, out: mpsc::Sender<Answer>) {
    if out.send(Ok(TunnelResponse::default())).await.is_err() {
        return;
    }
    let mut buffer = vec![0; CHUNK];
    loop {
        let answer = match from.read(&mut buffer).await {
            Ok(0) => return,
            Ok(length) => Ok(TunnelResponse { data: buffer[..length].to_vec() }),
            Err(error) => Err(Status::unavailable(format!("the connection to the service failed: {error}"))),
        };
        let ended = answer.is_err();
        if out.send(answer).await.is_err() || ended {
            return;
        }
    }
}

async fn upload(
    mut incoming: impl Stream<Item = Result<TunnelRequest, Status>> + Unpin,
    mut to: OwnedWriteHalf,
) {
    while let Some(Ok(message)) = incoming.next().await {
        if let Some(Part::Data(data)) = message.part
            && to.write_all(&data).await.is_err()
        {
            return;
        }
    }
    // Nothing more will come: the service sees the end and may still answer.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = dial(Ipv4Addr::LOCALHOST, port, Duration::from_secs(1)).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[expect(clippy::unnecessary_wraps, reason = "an item of the stream")]
    fn data(bytes: &[u8]) -> Result<TunnelRequest, Status> {
        Ok(TunnelRequest { part: Some(Part::Data(bytes.to_vec())) })
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_a_half_close_is_passed_on() {
        let (client, mut service) = pair().await;
        let mut answers =
            start(&Tasks::default(), client, tokio_stream::iter(vec![data(b"he"), data(b"llo")]));
        let opened = answers.next().await.unwrap().unwrap();
        assert!(opened.data.is_empty());
        let mut received = Vec::new();
        service.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"hello");
        service.write_all(b"after the end").await.unwrap();
        drop(service);
        let mut answer = Vec::new();
        while let Some(Ok(message)) = answers.next().await {
            answer.extend(message.data);
        }
        assert_eq!(answer, b"after the end");
    }

    #[tokio::test]
    async fn the_answers_end_when_the_service_closes_though_the_peer_could_still_send() {
        let (client, service) = pair().await;
        let mut answers = start(&Tasks::default(), client, tokio_stream::pending());
        assert!(answers.next().await.unwrap().is_ok());
        drop(service);
        assert!(answers.next().await.is_none());
    }

    #[tokio::test]
    async fn the_service_side_ends_when_the_reader_goes() {
        let (client, mut service) = pair().await;
        let answers = start(&Tasks::default(), client, tokio_stream::pending());
        drop(answers);
        assert_eq!(service.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
