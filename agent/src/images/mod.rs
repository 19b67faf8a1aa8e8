//! Images that the host lacks, from the controller's image store. In: an image reference. Out: the image in the engine, or why
//! the controller did not give it, so that the caller asks a registry, and what the controller gave to do that.
//!
//! A need is told to the controller ([`needs`]), which answers on the bulk connection. What arrives lies on disk ([`contents`])
//! until the engine has loaded it as an archive ([`archive`]); a broken connection, or a restart of this program, costs at most
//! what was on the way.

mod archive;
mod contents;
mod fetch;
#[cfg(test)]
mod fuzz;
mod needs;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use supalove_proto::node::v1::RegistryCredentials;
use supalove_spec::image::{ImageError, Platform, kept_name};
use supalove_spec::limits::IMAGE_FETCHES;
use tokio::sync::{Mutex as TurnMutex, Semaphore, watch};

use self::contents::{ContentError, Contents};
pub use self::needs::{Answer, Need, Needs};
use crate::config::Times;
use crate::docker::{Engine, EngineError};

/// An image that did not come from the controller.
#[derive(Debug)]
pub struct Unfetched {
    pub why: NotFetched,
    /// What the controller gave for the image's registry. In memory only, for this pull.
    pub credentials: Option<Box<RegistryCredentials>>,
}

impl From<NotFetched> for Unfetched {
    fn from(why: NotFetched) -> Self {
        Self { why, credentials: None }
    }
}

impl From<FetchError> for Unfetched {
    fn from(error: FetchError) -> Self {
        NotFetched::from(error).into()
    }
}

/// Why an image did not come from the controller.
#[derive(Debug, thiserror::Error)]
pub enum NotFetched {
    /// Nobody asks what this host needs: no controller, or an old one.
    #[error("no controller that keeps images is connected")]
    NoController,
    /// A reference with a digest: a loaded image has none.
    #[error("the controller keeps no images by the digest of a registry")]
    ByDigest,
    /// It was told what the host needs and did not say whether it has it.
    #[error("the controller did not say within {0:?} whether it keeps the image")]
    NoAnswer(Duration),
    #[error("the controller does not keep it")]
    NotKept,
    #[error("the controller keeps it for {kept} only, and this host is {host}")]
    OtherPlatform { host: Platform, kept: String },
    /// It has the image, but it did not get here.
    #[error(transparent)]
    Failed(#[from] FetchError),
}

impl NotFetched {
    /// Whether the controller has answered, and so has given all that it has for the image's registry.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::ByDigest | Self::NotKept | Self::OtherPlatform { .. })
    }
}

/// Why an image that the controller has is not in the engine.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(
        "the connection to the controller broke ({why}); {there} of {all} MiB are here, and the rest is fetched next time"
    )]
    Broken { why: String, there: u64, all: u64 },
    #[error("the controller cannot send the image: {0}")]
    Refused(String),
    #[error("what the controller offers is no image: {0}")]
    Invalid(#[from] ImageError),
    #[error(
        "the content {digest} arrived damaged {tries} times; push the image again (`supalove images push`), or check the way \
         to the controller"
    )]
    Damaged { digest: String, tries: u32 },
    #[error("the image is for {image}, and this host is {host}; push it for {host}")]
    WrongPlatform { image: Platform, host: Platform },
    #[error("the image needs {needed} MiB on the disk of {path}, which has {free} MiB free")]
    NoDisk { path: String, needed: u64, free: u64 },
    #[error("cannot store the image's content: {0}")]
    Content(#[from] ContentError),
    #[error("the engine cannot load the image: {0}")]
    Engine(#[from] EngineError),
}

/// The images of this host; cheap to clone.
#[derive(Debug, Clone)]
pub struct Images(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    times: Times,
    needs: Needs,
    contents: Contents,
    /// By image: who fetches it, and how far that is.
    under_way: Mutex<HashMap<String, Arc<UnderWay>>>,
    at_once: Semaphore,
}

/// A fetch of one image: one caller does it, others wait for its end.
#[derive(Debug)]
struct UnderWay {
    turn: TurnMutex<()>,
    percent: watch::Sender<u32>,
}

impl Default for UnderWay {
    fn default() -> Self {
        Self { turn: TurnMutex::default(), percent: watch::Sender::new(0) }
    }
}

impl Images {
    /// With the content of an earlier run that lies in the state directory.
    pub fn open(state_dir: &Path, engine: Engine, times: Times) -> std::io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            engine,
            times,
            needs: Needs::default(),
            contents: Contents::open(&state_dir.join("images"))?,
            under_way: Mutex::default(),
            at_once: Semaphore::new(IMAGE_FETCHES),
        })))
    }

    /// What this host needs, for the controller.
    pub fn needs(&self) -> &Needs {
        &self.0.needs
    }

    /// Fetches an image from the controller into the engine; `on_progress` gets percentages. A reference with a digest is told to
    /// the controller, too: it may have credentials for the registry.
    pub async fn fetch(&self, image: &str, mut on_progress: impl FnMut(u32)) -> Result<(), Unfetched> {
        let name = kept_name(image);
        let (under_way, waited) = self.under_way(name.as_deref().unwrap_or(image));
        let mut percent = under_way.percent.subscribe();
        let turn = under_way.turn.lock();
        let mut turn = std::pin::pin!(turn);
        let _turn = loop {
            tokio::select! {
                guard = &mut turn => break guard,
                Ok(()) = percent.changed() => on_progress(*percent.borrow_and_update()),
            }
        };
        if waited && self.0.engine.has_image(image).await.map_err(FetchError::from)? {
            return Ok(());
        }
        let _slot = self.0.at_once.acquire().await.ok();
        let report = |percent| {
            under_way.percent.send_replace(percent);
            on_progress(percent);
        };
        fetch::fetch(&self.0, image, name.as_deref(), report).await
    }

    /// The fetch of an image, and whether somebody else is at it already.
    fn under_way(&self, name: &str) -> (Arc<UnderWay>, bool) {
        let mut all = self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| Arc::strong_count(one) > 1);
        let waited = all.contains_key(name);
        (all.entry(name.to_owned()).or_default().clone(), waited)
    }
}
