//! The port of metrics, as Prometheus reads it, and the dashboard that shows them.

use std::collections::BTreeSet;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::root;

/// What a program on this machine shows on its port of metrics.
pub async fn scrape(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    let (head, page) = text.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    Some(page.to_owned())
}

/// The metrics that the dashboard of `deploy/grafana` shows.
pub fn on_dashboard() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("deploy/grafana/supalove.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    let words = expressions.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_lowercase() && c != '_'));
    words.filter(|word| word.starts_with("supalove_")).map(str::to_owned).collect()
}

/// Names of the metrics of a page. Panics if the page is not what Prometheus takes: a family once, and each value once.
pub fn families(page: &str) -> BTreeSet<String> {
    let mut families = BTreeSet::new();
    let mut values = BTreeSet::new();
    for line in page.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let name = family.split(' ').next().unwrap().to_owned();
            assert!(families.insert(name), "twice: {line}");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(values.insert(name.to_owned()), "twice: {line}");
            let family = name.split('{').next().unwrap();
            assert!(families.contains(family), "no TYPE before it: {line}");
        }
    }
    families
}
