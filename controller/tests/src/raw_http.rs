//! An HTTP/1.1 client that sends the request line as it is given. Others normalise the path.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

/// Longest silence of a server.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, by the origin of its URL.
#[derive(Debug, Clone)]
pub struct Server {
    /// host:port
    pub address: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// Body, without its transfer coding.
    pub body: Vec<u8>,
}

impl Server {
    /// From `http://host:port`.
    pub fn new(origin: &str) -> Self {
        Self { address: origin.strip_prefix("http://").unwrap().trim_end_matches('/').to_owned() }
    }

    /// GET without a body.
    pub fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", target, headers, &[])
    }

    /// Any request. `target` goes out byte by byte; Host is set unless given.
    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let length = body.len().to_string();
        let mut fields = vec![("Connection", "close")];
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            fields.push(("Host", &self.address));
        }
        if !body.is_empty() {
            fields.push(("Content-Length", &length));
        }
        fields.extend_from_slice(headers);
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("{method} {target} HTTP/1.1\r\n{}\r\n", fields.concat());
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        // A server that refuses early closes while the body is still on its way; its answer counts.
        let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let answer = read_to_end(&mut stream);
        Answer::parse(&answer).unwrap_or_else(|| {
            panic!("{method} {target}: no answer (sending: {sent:?}): {}", String::from_utf8_lossy(&answer))
        })
    }
}

fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("reading the answer: {error}"),
        _ => all,
    }
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let (status_line, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
        let status = status_line.split(' ').nth(1)?.parse().ok()?;
        let headers = fields
            .split("\r\n")
            .filter_map(|field| field.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Self { status, headers, body: bytes[end + 4..].to_vec() };
        if answer.header("transfer-encoding") == ["chunked"] {
            answer.body = join_chunks(&answer.body);
        }
        Some(answer)
    }

    /// All values of a header.
    pub fn header(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(one, _)| one == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The body of a JSON answer. Panics if it is none.
    pub fn json(&self) -> Value {
        let kind = self.header("content-type");
        assert!(kind.len() == 1 && kind[0].starts_with("application/json"), "not JSON: {self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn join_chunks(mut rest: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        let start = end + 2;
        all.extend_from_slice(&rest[start..start + size]);
        if size == 0 {
            break;
        }
        rest = &rest[start + size + 2..];
    }
    all
}
