//! Images: looked up, pulled with progress, or loaded from an archive.

use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ImportImageOptionsBuilder, TagImageOptionsBuilder,
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::time::Instant;

use super::pull_progress::PullProgress;
use super::{Engine, EngineError};
use supalove_proto::node::v1::RegistryCredentials;
use supalove_spec::names;
use supalove_spec::registry::Registry;

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry does not have the image, or does not show it to us.
    #[error("{0}")]
    NotFound(String),
    /// An image of the local set that this host does not have. It is never pulled: whoever had its name on a public
    /// registry would get the project's secrets.
    #[error(
        "image {0} is not on this host, and it is never pulled from a registry: push it to the controller from a host that has \
         it (supalove images push {0}), or build the local image set here (deploy/images/build.sh)"
    )]
    Local(String),
    /// The engine reports the end of a pull, but has no image with the digest that the reference names.
    #[error("the engine has pulled {0}, but has no image with this digest")]
    OtherDigest(String),
    /// The registry wants other credentials, or any.
    #[error("image {image}: the registry {registry} refuses {}: {said}", who(.username.as_deref()))]
    Refused { image: String, registry: String, username: Option<String>, said: String },
    /// Another failure, in the engine's words.
    #[error("{0}")]
    Failed(String),
    /// The engine reported no progress for too long.
    #[error("the pull of {image} made no progress for {limit:?}")]
    Stalled { image: String, limit: Duration },
    /// The whole pull took too long.
    #[error("the pull of {image} did not end within {limit:?}")]
    TooLong { image: String, limit: Duration },
}

fn who(username: Option<&str>) -> String {
    username.map_or_else(|| "a pull without credentials".to_owned(), |name| format!("the user {name:?}"))
}

impl Engine {
    /// True if the engine has the image.
    pub async fn has_image(&self, image: &str) -> Result<bool, EngineError> {
        match self.ask(self.docker.inspect_image(image)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives an image that the engine has under no name, or another one, this name. False if it has no such image. `id` is the
    /// digest of its configuration.
    pub async fn adopt_image(&self, id: &str, name: &str) -> Result<bool, EngineError> {
        if !self.has_image(id).await? {
            return Ok(false);
        }
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        self.change(self.docker.tag_image(id, Some(options))).await?;
        Ok(true)
    }

    /// Loads an archive, as `docker save` writes it, with this image in it.
    pub async fn load_image(
        &self,
        image: &str,
        archive: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), EngineError> {
        let limit = self.times.pull_total;
        let docker = self.with_timeout(limit);
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let loading = async {
            let mut said = std::pin::pin!(docker.import_image_stream(options, archive, None));
            while let Some(line) = said.next().await {
                if let Some(error) = line?.error_detail.and_then(|detail| detail.message) {
                    return Err(EngineError::Refused { status: 200, message: error });
                }
            }
            Ok(())
        };
        let _permit = self.changes.acquire().await.ok();
        let _unanswered = self.unanswered.begin(Instant::now() + limit + self.times.engine_silent);
        tokio::time::timeout(limit, loading).await.map_err(|_| EngineError::Timeout(limit))??;
        if self.has_image(image).await? {
            return Ok(());
        }
        let message = format!("the engine has loaded an archive with {image}, but does not have the image");
        Err(EngineError::Refused { status: 200, message })
    }

    /// Pulls an image; `on_progress` gets percentages. The engine forgets the credentials with the pull; those for another registry
    /// than the image's are not given to it.
    pub async fn pull(
        &self,
        image: &str,
        credentials: Option<&RegistryCredentials>,
        mut on_progress: impl FnMut(u32),
    ) -> Result<(), PullError> {
        if names::is_local_image(image) {
            return Err(PullError::Local(image.to_owned()));
        }
        let limit = self.times.pull_total;
        let docker = self.with_timeout(limit);
        // Without a tag the engine would pull every tag.
        let full = if names::has_tag_or_digest(image) { image.to_owned() } else { format!("{image}:latest") };
        let options = CreateImageOptionsBuilder::default().from_image(&full).build();
        let registry = Registry::of_image(image);
        let credentials =
            credentials.filter(|given| registry.as_ref().is_some_and(|of| of.as_str() == given.registry));
        let header = registry.as_ref().zip(credentials).map(|(registry, given)| DockerCredentials {
            username: Some(given.username.clone()),
            password: Some(given.password.clone()),
            serveraddress: Some(registry.server_address()),
            ..DockerCredentials::default()
        });
        let mut reports = std::pin::pin!(docker.create_image(Some(options), None, header));
        let mut progress = PullProgress::default();
        let deadline = Instant::now() + limit;
        loop {
            let idle = self.times.pull_idle.min(deadline.saturating_duration_since(Instant::now()));
            match tokio::time::timeout(idle, reports.next()).await {
                Err(_) if Instant::now() >= deadline => {
                    return Err(PullError::TooLong { image: image.to_owned(), limit });
                }
                Err(_) => {
                    return Err(PullError::Stalled { image: image.to_owned(), limit: self.times.pull_idle });
                }
                Ok(None) => return self.check_digest(image).await,
                Ok(Some(Err(error))) => return Err(failure(image, credentials, &error.into())),
                Ok(Some(Ok(report))) => {
                    let detail = report.progress_detail.unwrap_or_default();
                    on_progress(progress.report(
                        report.id.as_deref().unwrap_or_default(),
                        report.status.as_deref().unwrap_or_default(),
                        detail.current.unwrap_or_default(),
                        detail.total.unwrap_or_default(),
                    ));
                }
            }
        }
    }

    /// A reference with a digest is looked up by the digest alone, whatever its tag says.
    async fn check_digest(&self, image: &str) -> Result<(), PullError> {
        if !image.contains('@') {
            return Ok(());
        }
        match self.has_image(image).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(PullError::OtherDigest(image.to_owned())),
            Err(error) => Err(failure(image, None, &error)),
        }
    }
}

fn failure(image: &str, credentials: Option<&RegistryCredentials>, error: &EngineError) -> PullError {
    // Nobody should repeat a password; a registry could.
    let said = match credentials {
        Some(given) if !given.password.is_empty() => error.to_string().replace(&given.password, "…"),
        _ => error.to_string(),
    };
    if says_refused(&said, credentials.is_some()) {
        let registry = Registry::of_image(image).map_or_else(String::new, |registry| registry.to_string());
        let username = credentials.map(|given| given.username.clone());
        return PullError::Refused { image: image.to_owned(), registry, username, said };
    }
    let message = format!("image {image}: {said}");
    if error.is_not_found() || says_not_found(&said) {
        PullError::NotFound(message)
    } else {
        PullError::Failed(message)
    }
}

/// Whether a registry wants other credentials, or any: the messages of the engine, of its two ways to store images, and of the
/// distribution registry. An image that Docker Hub does not have is "denied" to who has no credentials, so that this says nothing
/// then.
fn says_refused(message: &str, with_credentials: bool) -> bool {
    let denied = message.contains("pull access denied");
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    // The last one: a refusal without a body, as the answer to HEAD is.
    says(&["no basic auth credentials", "incorrect username or password", "401 Unauthorized"])
        || message.trim_end().ends_with("unauthorized")
        || (!denied && says(&["unauthorized: ", "authentication required"]))
        || (with_credentials
            && (denied || says(&["denied: requested access", "denied: denied", "403 Forbidden"])))
}

/// The engine passes the registry's message on. These are the messages of Docker Hub and of the distribution registry.
fn says_not_found(message: &str) -> bool {
    [
        "manifest unknown",
        "repository does not exist",
        "pull access denied",
        "name unknown",
        "not found: manifest",
    ]
    .iter()
    .any(|words| message.contains(words))
        || (message.contains("manifest for") && message.contains("not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> RegistryCredentials {
        RegistryCredentials {
            registry: "registry.example.com".into(),
            username: "puller".into(),
            password: "canary".into(),
        }
    }

    fn pull_failure(said: &str, credentials: Option<&RegistryCredentials>) -> PullError {
        let error = EngineError::Refused { status: 500, message: said.to_owned() };
        failure("registry.example.com/a:1", credentials, &error)
    }

    #[test]
    fn a_registry_that_wants_credentials_is_told_from_one_without_the_image() {
        let given = credentials();
        for said in [
            "Head \"https://registry.example.com/v2/a/manifests/1\": no basic auth credentials",
            "Head \"https://registry.example.com/v2/a/manifests/1\": unauthorized: authentication required",
            "pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth \
             credentials",
            "Get \"https://registry.example.com/v2/\": unauthorized: incorrect username or password",
            "failed to fetch anonymous token: unexpected status from GET request to https://a.b/token: 401 Unauthorized",
        ] {
            let without = pull_failure(said, None);
            assert!(matches!(&without, PullError::Refused { username: None, .. }), "{without}");
            let with = pull_failure(said, Some(&given));
            assert!(
                matches!(&with, PullError::Refused { username: Some(name), .. } if name == "puller"),
                "{with}"
            );
            let text = with.to_string();
            assert!(text.contains("the registry registry.example.com refuses the user \"puller\""), "{text}");
        }
        let denied = "pull access denied for a/b, repository does not exist or may require 'docker login': denied: requested \
            access to the resource is denied";
        assert!(matches!(pull_failure(denied, None), PullError::NotFound(_)));
        assert!(matches!(pull_failure(denied, Some(&given)), PullError::Refused { .. }));
        let missing = "manifest for a:1 not found: manifest unknown: manifest unknown";
        assert!(matches!(pull_failure(missing, Some(&given)), PullError::NotFound(_)));
        let busy = "toomanyrequests: You have reached your pull rate limit";
        assert!(matches!(pull_failure(busy, Some(&given)), PullError::Failed(_)));
    }

    #[test]
    fn a_registry_that_repeats_the_password_does_not_bring_it_into_an_error() {
        for said in ["unauthorized: the password canary is wrong", "no canary here"] {
            let text = pull_failure(said, Some(&credentials())).to_string();
            assert!(!text.contains("canary"), "{text}");
        }
    }

    #[test]
    fn a_missing_image_is_told_from_a_missing_network() {
        for missing in [
            "manifest for nginx:nope not found: manifest unknown: manifest unknown",
            "pull access denied for a/b, repository does not exist or may require 'docker login'",
        ] {
            assert!(says_not_found(missing), "{missing}");
        }
        for other in [
            "Get https://registry-1.docker.io/v2/: dial tcp: lookup registry-1.docker.io: no such host",
            "toomanyrequests: You have reached your pull rate limit",
        ] {
            assert!(!says_not_found(other), "{other}");
        }
    }
}
