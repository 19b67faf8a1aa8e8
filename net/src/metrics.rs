//! Metrics in Prometheus' text format, and the port that shows them.
//!
//! The format is lines of text, and the port answers one path; so this is no library of its own. Whoever makes a page is
//! responsible that no label is a secret, and that the number of their values is bounded.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use supalove_tasks::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Time for one scrape.
const SCRAPE: Duration = Duration::from_secs(10);
/// Scrapes at once; more wait.
const AT_ONCE: usize = 4;
/// Bytes of a request.
const REQUEST: usize = 8 * 1024;
/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads where metrics are shown: address and port, or a port of loopback.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.parse::<u16>().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let found = port.or_else(|_| text.parse::<SocketAddr>());
    let found = found.ok().filter(|address| address.port() > 0);
    found.ok_or_else(|| "must be a port, e.g. 9100, or an address with a port, e.g. 10.0.0.5:9100".to_owned())
}

/// How a value changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only grows, until the program starts again.
    Counter,
}

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Begins a family of values. Its name: `supalove_`, words, unit.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Family<'a> {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { page: self, name }
    }

    /// A family of one value without labels.
    pub fn one(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        self.family(name, kind, help).value(&[], value);
    }

    /// The text.
    pub fn text(self) -> String {
        self.0
    }
}

/// Values of one name.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Page,
    name: &'a str,
}

impl Family<'_> {
    /// Adds the value of these labels.
    pub fn value(&mut self, labels: &[(&str, &str)], value: f64) {
        let text = &mut self.page.0;
        text.push_str(self.name);
        for (index, (name, label)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let label = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(text, "{before}{name}=\"{label}\"");
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

/// Answers `GET /metrics` with a page. Never returns. A page that cannot be made is 503.
pub async fn serve<F>(tasks: Tasks, listener: TcpListener, page: impl Fn() -> F + Send + Sync + 'static)
where
    F: Future<Output = Result<Page, String>> + Send + 'static,
{
    let page = Arc::new(page);
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        // The semaphore is never closed.
        let turn = turns.clone().acquire_owned().await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                let page = page.clone();
                tasks.connection("scrape of metrics", async move {
                    if timeout(SCRAPE, answer(stream, peer, || page())).await.is_err() {
                        tracing::debug!(%peer, "scrape of metrics took too long");
                    }
                    drop(turn);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a scrape of metrics");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer<F>(mut stream: TcpStream, peer: SocketAddr, page: impl FnOnce() -> F)
where
    F: Future<Output = Result<Page, String>>,
{
    let answer = match request_line(&mut stream).await {
        Some(line) => match wanted(&line) {
            Ok(()) => match page().await {
                Ok(page) => response("200 OK", &page.text()),
                Err(why) => response("503 Service Unavailable", &format!("{why}\n")),
            },
            Err(status) => response(status, "metrics are at GET /metrics\n"),
        },
        None => return,
    };
    if let Err(error) = stream.write_all(answer.as_bytes()).await {
        tracing::debug!(%peer, %error, "scrape of metrics ended early");
    }
    // The peer may have gone.
    let _ = stream.shutdown().await;
}

/// The first line of a request, once its head is complete.
async fn request_line(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let read = stream.read(&mut part).await.ok().filter(|read| *read > 0)?;
        head.extend_from_slice(&part[..read]);
        if head.len() > REQUEST {
            return None;
        }
    }
    String::from_utf8_lossy(&head).lines().next().map(str::to_owned)
}

fn wanted(line: &str) -> Result<(), &'static str> {
    let mut words = line.split(' ');
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default().split('?').next().unwrap_or_default();
    match (method, path) {
        ("GET", "/metrics") => Ok(()),
        (_, "/metrics") => Err("405 Method Not Allowed"),
        _ => Err("404 Not Found"),
    }
}

fn response(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_prometheus_text() {
        let mut page = Page::default();
        page.one("supalove_up", Kind::Gauge, "Whether it is up.", 1.0);
        let mut nodes = page.family("supalove_nodes", Kind::Counter, "Nodes.");
        nodes.value(&[("state", "a\"b\\c\nd"), ("kind", "x")], 2.5);
        assert_eq!(
            page.text(),
            "# HELP supalove_up Whether it is up.\n# TYPE supalove_up gauge\nsupalove_up 1\n\
             # HELP supalove_nodes Nodes.\n# TYPE supalove_nodes counter\n\
             supalove_nodes{state=\"a\\\"b\\\\c\\nd\",kind=\"x\"} 2.5\n"
        );
    }

    #[test]
    fn requests_of_metrics() {
        let samples = supalove_fuzz::Samples::new(["GET /metrics HTTP/1.1", "GET /metrics?x=1 HTTP/1.1"]);
        supalove_fuzz::text("request of metrics", &samples.words(["POST", "/", "%6d", "\0"]), |line| {
            let answer = wanted(line);
            assert!(answer.is_err() || line.starts_with("GET /metrics"), "{line:?}");
            supalove_fuzz::Verdict::from_result(&answer)
        });
    }

    #[test]
    fn a_port_alone_is_one_of_loopback() {
        assert_eq!(address("9100").unwrap().to_string(), "127.0.0.1:9100");
        assert_eq!(address("[::1]:9100").unwrap().to_string(), "[::1]:9100");
        for wrong in ["", "0", "65536", "host:9100", "127.0.0.1", "127.0.0.1:0"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_port_answers_one_path_and_says_when_it_cannot() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::default();
        let fails = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let failing = fails.clone();
        let page = move || {
            let fails = failing.load(std::sync::atomic::Ordering::Relaxed);
            async move { if fails { Err("no database".to_owned()) } else { Ok(Page::default()) } }
        };
        tasks.job("metrics", serve(tasks.clone(), listener, page));
        let ask = async |line: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("{line}\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
            let mut text = String::new();
            // A request that is too long is not read to its end, and the connection reset.
            let _ = stream.read_to_string(&mut text).await;
            text.lines().next().unwrap_or_default().to_owned()
        };
        assert_eq!(ask("GET /metrics?x=1 HTTP/1.1").await, "HTTP/1.1 200 OK");
        assert_eq!(ask("POST /metrics HTTP/1.1").await, "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(ask("GET / HTTP/1.1").await, "HTTP/1.1 404 Not Found");
        assert_eq!(ask(&"x".repeat(2 * REQUEST)).await, "", "too long");
        fails.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(ask("GET /metrics HTTP/1.1").await, "HTTP/1.1 503 Service Unavailable");
        tasks.stop(Duration::from_millis(10)).await;
    }
}
