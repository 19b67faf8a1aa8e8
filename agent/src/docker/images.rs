//! Images: looked up, or pulled with progress.

use std::time::Duration;

use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt as _;
use tokio::time::Instant;

use super::pull_progress::PullProgress;
use super::{Engine, EngineError};
use supalove_spec::names;

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry does not have the image, or does not show it to us.
    #[error("{0}")]
    NotFound(String),
    /// An image of the local set that this host does not have. It is never pulled: whoever had its name on a public
    /// registry would get the project's secrets.
    #[error(
        "image {0} is not on this host, and it is never pulled: build the local image set here \
         (deploy/images/build.sh), or load it from a host that has it (docker save, docker load)"
    )]
    Local(String),
    /// The engine reports the end of a pull, but has no image with the digest that the reference names.
    #[error("the engine has pulled {0}, but has no image with this digest")]
    OtherDigest(String),
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

impl Engine {
    /// True if the engine has the image.
    pub async fn has_image(&self, image: &str) -> Result<bool, EngineError> {
        match self.ask(self.docker.inspect_image(image)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Pulls an image; `on_progress` gets percentages.
    pub async fn pull(&self, image: &str, mut on_progress: impl FnMut(u32)) -> Result<(), PullError> {
        if names::is_local_image(image) {
            return Err(PullError::Local(image.to_owned()));
        }
        let limit = self.times.pull_total;
        let docker = self.with_timeout(limit);
        // Without a tag the engine would pull every tag.
        let full = if names::has_tag_or_digest(image) { image.to_owned() } else { format!("{image}:latest") };
        let options = CreateImageOptionsBuilder::default().from_image(&full).build();
        let mut reports = std::pin::pin!(docker.create_image(Some(options), None, None));
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
                Ok(Some(Err(error))) => return Err(failure(image, &error.into())),
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
            Err(error) => Err(failure(image, &error)),
        }
    }
}

fn failure(image: &str, error: &EngineError) -> PullError {
    let said = error.to_string();
    let message = format!("image {image}: {said}");
    if error.is_not_found() || says_not_found(&said) {
        PullError::NotFound(message)
    } else {
        PullError::Failed(message)
    }
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
