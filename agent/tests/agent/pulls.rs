//! Pulls from a small registry of the test's own: by digest, while it moves tags and lies; and with credentials, which it wants as
//! private registries do.
#![allow(clippy::disallowed_methods, reason = "tests spawn their peers bare")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use supalove_agent::config::Times;
use supalove_agent::docker::{Engine, PullError};
use supalove_proto::node::v1::RegistryCredentials;
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

/// What a registry wants of who pulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Nothing,
    /// The name [`USER`] and the password [`PASSWORD`] with each request.
    Basic,
    /// A token, which it gives for these.
    Token,
}

const USER: &str = "puller";
const PASSWORD: &str = "canary-9f2c";
/// Both as a header has them.
const BASIC: &str = "Basic cHVsbGVyOmNhbmFyeS05ZjJj";
const TOKEN: &str = "token-of-the-registry";

/// A registry with one repository, on loopback, where engines need no TLS.
struct Registry {
    repository: String,
    contents: Contents,
    /// What it was asked for, with the credentials: "HEAD /v2/… Basic …".
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    async fn start(wants: Wants) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let contents = Contents::default();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (served, noted) = (contents.clone(), asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, served.clone(), noted.clone(), wants, address));
            }
        });
        Self { repository: format!("{address}/pinned"), contents, asked }
    }

    /// Credentials of this registry.
    fn credentials(&self, password: &str) -> RegistryCredentials {
        let registry = self.repository.split_once('/').unwrap().0.to_owned();
        RegistryCredentials { registry, username: USER.into(), password: password.into() }
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

/// The answer to who has not got in: a private registry names what it wants in a header.
fn refusal(wants: Wants, address: SocketAddr) -> String {
    let scheme = match wants {
        Wants::Token => format!("Bearer realm=\"http://{address}/token\",service=\"test\""),
        _ => "Basic realm=\"test\"".to_owned(),
    };
    let error = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    format!(
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: {scheme}\r\ncontent-type: application/json\r\ncontent-length: \
         {}\r\nconnection: close\r\n\r\n{error}",
        error.len()
    )
}

/// Answers one request.
async fn answer(
    mut stream: TcpStream,
    contents: Contents,
    asked: Arc<Mutex<Vec<String>>>,
    wants: Wants,
    address: SocketAddr,
) {
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
    let header = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then_some(value)
    });
    let given = header.unwrap_or_default();
    asked.lock().unwrap().push(format!("{method} {path} {given}"));
    let is_token = path.starts_with("/token") && wants == Wants::Token;
    let is_in = match wants {
        Wants::Nothing => true,
        Wants::Token if !is_token => given == format!("Bearer {TOKEN}"),
        _ => given == BASIC,
    };
    if !is_in {
        // Who asks for a token with a wrong password is asked for a password, not for a token.
        let wanted = if is_token { Wants::Basic } else { wants };
        let _ = stream.write_all(refusal(wanted, address).as_bytes()).await;
        let _ = stream.shutdown().await;
        return;
    }
    let found = match path.strip_prefix("/v2/pinned/") {
        None if is_token => Some(("application/json", format!(r#"{{"token":"{TOKEN}"}}"#).into_bytes())),
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
    let registry = Registry::start(Wants::Nothing).await;
    let engine = Engine::connect("unix:///var/run/docker.sock", "pulls", Times::default()).await.unwrap();
    let first = registry.push("1", "first");
    let by_digest = format!("{}:1@{first}", registry.repository);
    assert!(!engine.has_image(&by_digest).await.unwrap());
    engine.pull(&by_digest, None, |_| ()).await.unwrap();
    assert!(engine.has_image(&by_digest).await.unwrap());
    let label = ["image", "inspect", "--format", "{{ index .Config.Labels \"made-by\" }}", &by_digest];
    assert_eq!(docker(&label), "first");

    // The tag moves; the digest does not.
    let second = registry.push("1", "second");
    let moved = format!("{}:1@{second}", registry.repository);
    assert!(!engine.has_image(&moved).await.unwrap(), "the tag is that of the first image");
    engine.pull(&by_digest, None, |_| ()).await.unwrap();
    assert_eq!(docker(&label), "first");

    // A registry that gives other bytes is refused by the engine, and the agent has no image.
    let asked = format!("sha256:{}", "5".repeat(64));
    registry.lie(&asked, &second);
    let lied = format!("{}@{asked}", registry.repository);
    let error = engine.pull(&lied, None, |_| ()).await.unwrap_err();
    assert!(matches!(error, PullError::Failed(_)), "{error}");
    assert!(error.to_string().contains(&asked), "{error}");
    assert!(!engine.has_image(&lied).await.unwrap());
    let unknown = format!("{}@sha256:{}", registry.repository, "6".repeat(64));
    assert!(matches!(engine.pull(&unknown, None, |_| ()).await.unwrap_err(), PullError::NotFound(_)));

    assert!(try_docker(&["image", "rm", "--force", &by_digest]).status.success());
}

/// A registry that refused the user, or a pull without one.
fn refused(error: &PullError, registry: &Registry, user: Option<&str>) {
    let PullError::Refused { registry: named, username, .. } = error else { panic!("{error}") };
    assert!(registry.repository.starts_with(named.as_str()), "{named}");
    assert_eq!(username.as_deref(), user);
    assert!(!error.to_string().contains(PASSWORD), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_registry_gives_its_images_to_the_right_password_only() {
    let engine = Engine::connect("unix:///var/run/docker.sock", "pulls", Times::default()).await.unwrap();
    for wants in [Wants::Basic, Wants::Token] {
        let registry = Registry::start(wants).await;
        let digest = registry.push("1", "private");
        let image = format!("{}:1@{digest}", registry.repository);
        refused(&engine.pull(&image, None, |_| ()).await.unwrap_err(), &registry, None);
        let wrong = registry.credentials("a-wrong-one");
        refused(&engine.pull(&image, Some(&wrong), |_| ()).await.unwrap_err(), &registry, Some(USER));
        // Credentials for another registry never reach this one.
        let other =
            RegistryCredentials { registry: "other.example.com".into(), ..registry.credentials(PASSWORD) };
        registry.asked.lock().unwrap().clear();
        refused(&engine.pull(&image, Some(&other), |_| ()).await.unwrap_err(), &registry, None);
        let asked = registry.asked.lock().unwrap().clone();
        assert!(!asked.is_empty() && !asked.iter().any(|line| line.contains("Basic")), "{asked:?}");

        assert!(!engine.has_image(&image).await.unwrap());
        let right = registry.credentials(PASSWORD);
        engine.pull(&image, Some(&right), |_| ()).await.unwrap();
        assert!(engine.has_image(&image).await.unwrap(), "{wants:?}");
        // The engine has forgotten them: the next pull without credentials is refused again.
        let second = registry.push("2", "private again");
        let again = format!("{}:2@{second}", registry.repository);
        refused(&engine.pull(&again, None, |_| ()).await.unwrap_err(), &registry, None);
        assert!(try_docker(&["image", "rm", "--force", &image]).status.success());
    }
}
