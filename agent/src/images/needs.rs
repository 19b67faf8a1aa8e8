//! What the host needs, until the controller has answered. In: needs of projects. Out: a stream of them for each controller that
//! watches, and each answer to whoever waits for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use supalove_proto::node::v1::{
    ImageAbsence, ImageOffer, ProvideImageRequest, ProvideImageResponse, WatchImagesResponse,
    provide_image_request::Part,
};
use supalove_spec::image::Platform;
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};

/// The controller's answer to a need.
#[derive(Debug)]
pub struct Answer {
    /// What it has.
    pub has: Result<ImageOffer, ImageAbsence>,
    /// Its further messages.
    pub messages: Streaming<ProvideImageRequest>,
    /// Our messages.
    pub out: mpsc::Sender<Result<ProvideImageResponse, Status>>,
}

impl Answer {
    /// Splits the first message of the controller from its number.
    pub fn first(part: Option<Part>) -> Option<(u64, Result<ImageOffer, ImageAbsence>)> {
        match part? {
            Part::Offer(offer) => Some((offer.number, Ok(offer))),
            Part::Absence(absence) => Some((absence.number, Err(absence))),
            Part::Chunk(_) | Part::Failure(_) => None,
        }
    }
}

/// All needs; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Needs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: Mutex<All>,
    /// Number of the newest need.
    newest: watch::Sender<u64>,
    watchers: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct All {
    last: u64,
    needs: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    told: WatchImagesResponse,
    answers: mpsc::Sender<Answer>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { all: Mutex::default(), newest: watch::Sender::new(0), watchers: watch::Sender::new(0) }
    }
}

impl Needs {
    /// Adds a need; it ends when the returned value is dropped.
    pub fn add(&self, image: &str, platform: &Platform) -> Need {
        let (answers, receiver) = mpsc::channel(1);
        let mut all = self.lock();
        all.last += 1;
        let number = all.last;
        let told = WatchImagesResponse {
            number,
            image: image.to_owned(),
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
        };
        all.needs.insert(number, Waiting { told, answers });
        self.0.newest.send_replace(number);
        Need { needs: self.clone(), number, answers: receiver }
    }

    /// Gives an answer to whoever waits for it; false if nobody does any more.
    pub fn answer(&self, number: u64, answer: Answer) -> bool {
        self.lock().needs.get(&number).is_some_and(|waiting| waiting.answers.try_send(answer).is_ok())
    }

    /// Begins to watch. The controller that watches answers.
    pub fn watch(&self) -> Watching {
        self.0.watchers.send_modify(|watchers| *watchers += 1);
        Watching { needs: self.clone(), told: 0, newest: self.0.newest.subscribe() }
    }

    /// Whether a controller watches, or begins to within the time.
    pub async fn is_watched(&self, within: Duration) -> bool {
        let mut watchers = self.0.watchers.subscribe();
        tokio::time::timeout(within, watchers.wait_for(|watchers| *watchers > 0)).await.is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A need of one image.
#[derive(Debug)]
pub struct Need {
    needs: Needs,
    number: u64,
    answers: mpsc::Receiver<Answer>,
}

impl Need {
    /// The controller's answer.
    pub async fn answer(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }
}

impl Drop for Need {
    fn drop(&mut self) {
        self.needs.lock().needs.remove(&self.number);
    }
}

/// A controller that watches, until it is dropped.
#[derive(Debug)]
pub struct Watching {
    needs: Needs,
    told: u64,
    newest: watch::Receiver<u64>,
}

impl Watching {
    /// Needs that were not told yet; waits for one.
    pub async fn next(&mut self) -> Vec<WatchImagesResponse> {
        loop {
            self.newest.borrow_and_update();
            let new: Vec<_> = {
                let all = self.needs.lock();
                all.needs.range(self.told + 1..).map(|(_, waiting)| waiting.told.clone()).collect()
            };
            if let Some(last) = new.last() {
                self.told = last.number;
                return new;
            }
            if self.newest.changed().await.is_err() {
                return Vec::new();
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.needs.0.watchers.send_modify(|watchers| *watchers -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_need_is_told_once_to_each_that_watches_and_ends_with_who_has_it() {
        let needs = Needs::default();
        let platform = Platform::of_host("linux", "x86_64");
        assert!(!needs.is_watched(Duration::from_secs(1)).await);
        let first = needs.add("a:1", &platform);
        let gone = needs.add("b:1", &platform);
        drop(gone);
        let mut watching = needs.watch();
        assert!(needs.is_watched(Duration::ZERO).await);
        let told = watching.next().await;
        assert_eq!(told.len(), 1, "what nobody needs any more is not told");
        assert_eq!((told[0].image.as_str(), told[0].architecture.as_str()), ("a:1", "amd64"));
        let second = {
            let mut next = std::pin::pin!(watching.next());
            assert!(futures::poll!(&mut next).is_pending());
            let second = needs.add("c:1", &platform);
            assert_eq!(next.await[0].image, "c:1");
            second
        };
        assert_eq!(needs.watch().next().await.len(), 2, "a new session hears all of them");
        drop((first, second, watching));
        assert!(!needs.is_watched(Duration::ZERO).await);
    }
}
