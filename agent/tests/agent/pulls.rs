//! Pulls by digest, from a small registry of the test's own that moves tags and lies.
#![allow(clippy::disallowed_methods, reason = "tests spawn their peers bare")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use supalove_agent::config::Times;
use supalove_agent::docker::{Engine, PullError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::docker::{docker, try_docker};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest(&SHA256, bytes)))
}

/// What a registry answers: path below `/v2/pinned/` → media type and bytes.
type Contents = Arc<Mutex<HashMap<String, (&'static str, Vec<u8>)>>>;

/// A registry with one repository, on loopback, where engines need no TLS.
struct Registry {
    repository: String,
    contents: Contents,
}

impl Registry {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let repository = format!("{}/pinned", listener.local_addr().unwrap());
        let contents = Contents::default();
        let served = contents.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, served.clone()));
            }
        });
        Self { repository, contents }
    }

    fn put(&self, path: String, media_type: &'static str, bytes: Vec<u8>) {
        self.contents.lock().unwrap().insert(path, (media_type, bytes));
    }

    /// Adds an image with this tag; returns its digest.
    fn push(&self, tag: &str, label: &str) -> String {
        // A tar without files.
        let layer = vec![0; 1024];
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": { "Labels": { "made-by": label } },
            "rootfs": { "type": "layers", "diff_ids": [sha256(&layer)] },
        });
        let config = config.to_string().into_bytes();
        let describe = |media_type: &str, bytes: &[u8]| serde_json::json!({ "mediaType": media_type, "size": bytes.len(), "digest": sha256(bytes) });
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": describe(CONFIG, &config), "layers": [describe(LAYER, &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        let named = sha256(&manifest);
        self.put(format!("blobs/{}", sha256(&config)), CONFIG, config);
        self.put(format!("blobs/{}", sha256(&layer)), LAYER, layer);
        for reference in [tag, named.as_str()] {
            self.put(format!("manifests/{reference}"), MANIFEST, manifest.clone());
        }
        named
    }

    /// From now on a digest names the bytes of another one.
    fn lie(&self, asked: &str, given: &str) {
        let (media_type, bytes) = self.contents.lock().unwrap()[&format!("manifests/{given}")].clone();
        self.put(format!("manifests/{asked}"), media_type, bytes);
    }
}

/// Answers one request.
async fn answer(mut stream: TcpStream, contents: Contents) {
    let mut head = Vec::new();
    // An engine tries TLS first, even on loopback, and waits for an answer.
    if stream.read_u8().await.is_ok_and(|first| {
        head.push(first);
        first == 0x16
    }) {
        return;
    }
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let found = match path.strip_prefix("/v2/pinned/") {
        Some(path) => contents.lock().unwrap().get(path).cloned(),
        None => (path == "/v2/").then(|| ("application/json", b"{}".to_vec())),
    };
    let (status, (media_type, bytes)) = if let Some(found) = found {
        ("200 OK", found)
    } else {
        let error = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        ("404 Not Found", ("application/json", error.to_vec()))
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\ndocker-content-digest: {}\r\nconnection: close\r\n\r\n",
        bytes.len(),
        sha256(&bytes),
    );
    let _ = stream.write_all(head.as_bytes()).await;
    if method != "HEAD" {
        let _ = stream.write_all(&bytes).await;
    }
    let _ = stream.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pulled_by_digest_is_that_image_and_no_other() {
    let registry = Registry::start().await;
    let engine = Engine::connect("unix:///var/run/docker.sock", "pulls", Times::default()).await.unwrap();
    let first = registry.push("1", "first");
    let by_digest = format!("{}:1@{first}", registry.repository);
    assert!(!engine.has_image(&by_digest).await.unwrap());
    engine.pull(&by_digest, |_| ()).await.unwrap();
    assert!(engine.has_image(&by_digest).await.unwrap());
    let label = ["image", "inspect", "--format", "{{ index .Config.Labels \"made-by\" }}", &by_digest];
    assert_eq!(docker(&label), "first");

    // The tag moves; the digest does not.
    let second = registry.push("1", "second");
    let moved = format!("{}:1@{second}", registry.repository);
    assert!(!engine.has_image(&moved).await.unwrap(), "the tag is that of the first image");
    engine.pull(&by_digest, |_| ()).await.unwrap();
    assert_eq!(docker(&label), "first");

    // A registry that gives other bytes is refused by the engine, and the agent has no image.
    let asked = format!("sha256:{}", "5".repeat(64));
    registry.lie(&asked, &second);
    let lied = format!("{}@{asked}", registry.repository);
    let error = engine.pull(&lied, |_| ()).await.unwrap_err();
    assert!(matches!(error, PullError::Failed(_)), "{error}");
    assert!(error.to_string().contains(&asked), "{error}");
    assert!(!engine.has_image(&lied).await.unwrap());
    let unknown = format!("{}@sha256:{}", registry.repository, "6".repeat(64));
    assert!(matches!(engine.pull(&unknown, |_| ()).await.unwrap_err(), PullError::NotFound(_)));

    assert!(try_docker(&["image", "rm", "--force", &by_digest]).status.success());
}
