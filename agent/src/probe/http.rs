//! An HTTP GET that must answer 200.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use supalove_proto::node::v1::HttpProbe;
use tokio::net::TcpStream;

use super::NotReady;

pub(super) async fn get(stream: TcpStream, target: SocketAddr, probe: &HttpProbe) -> Result<(), NotReady> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| NotReady::Answer(error.to_string()))?;
    let request = request(target, probe).map_err(|error| NotReady::Answer(error.to_string()))?;
    let driving = async {
        // An error of the connection is also the request's.
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! {
        answer = sender.send_request(request) => answer,
        () = driving => unreachable!("it is pending for ever"),
    };
    match answer {
        Ok(answer) if answer.status() == StatusCode::OK => Ok(()),
        Ok(answer) => Err(NotReady::Answer(format!("GET {} answered {}", path(probe), answer.status()))),
        Err(error) => Err(NotReady::Answer(error.to_string())),
    }
}

fn request(target: SocketAddr, probe: &HttpProbe) -> Result<Request<Empty<Bytes>>, http::Error> {
    let host = if probe.host.is_empty() { target.to_string() } else { probe.host.clone() };
    let mut request =
        Request::get(&probe.path).header(header::HOST, host).header(header::CONNECTION, "close");
    if !probe.bearer.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", probe.bearer));
    }
    request.body(Empty::new())
}

/// Without the query, which may hold a key.
fn path(probe: &HttpProbe) -> &str {
    probe.path.split('?').next().unwrap_or_default()
}
