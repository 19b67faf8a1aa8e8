//! The fetch of one image: asks the controller, takes the content that is not on disk, loads all of it into the engine.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::TryStreamExt as _;
use supalove_failpoints::failpoint;
use supalove_proto::node::v1::{
    ContentWanted, ImageAbsence, ImageOffer, ProvideImageResponse, provide_image_request::Part,
    provide_image_response,
};
use supalove_spec::image::{Blob, Config, Manifest, Platform};
use supalove_spec::text::single_line;
use tokio::time::timeout;

use super::archive::Archive;
use super::contents::ContentError;
use super::{Answer, FetchError, Inner, NotFetched, Unfetched};

/// How often content is fetched that arrives damaged.
const TRIES: u32 = 3;
/// Share of the percentage that is fetching; the rest is loading.
const FETCH_SHARE: u64 = 80;
const MIB: u64 = 1024 * 1024;
/// Free bytes that a fetch leaves on each disk.
const LEFT_FREE: u64 = 64 * MIB;
/// Characters of the controller's words.
const WORDS: usize = 400;

/// Why the content is not all there.
enum Ended {
    /// The connection; the next one goes on.
    Broken(String),
    Failed(FetchError),
}

impl From<FetchError> for Ended {
    fn from(error: FetchError) -> Self {
        Self::Failed(error)
    }
}

impl From<ContentError> for Ended {
    fn from(error: ContentError) -> Self {
        Self::Failed(error.into())
    }
}

/// Fetches an image and loads it. `name` is the one under which the controller keeps it, and the engine will; none: it cannot.
pub async fn fetch(
    images: &Inner,
    image: &str,
    name: Option<&str>,
    mut report: impl FnMut(u32),
) -> Result<(), Unfetched> {
    if !images.needs.is_watched(images.times.image_watch).await {
        return Err(NotFetched::NoController.into());
    }
    let host = images.engine.platform().await.map_err(FetchError::from)?;
    let mut broken: Option<FetchError> = None;
    loop {
        let mut need = images.needs.add(image, &host);
        // Who has begun waits for the controller to come back; who has not asks a registry soon.
        let limit = if broken.is_some() { images.times.pull_idle } else { images.times.image_answer };
        let Ok(Some(answer)) = timeout(limit, need.answer()).await else {
            return Err(broken.map_or(NotFetched::NoAnswer(limit), NotFetched::Failed).into());
        };
        let Answer { has, messages, out } = answer;
        let (offer, name) = match (has, name) {
            (Ok(offer), Some(name)) => (offer, name),
            (Ok(_), None) => return Err(NotFetched::ByDigest.into()),
            (Err(absence), name) => {
                let why = if name.is_some() { not_kept(&absence, &host) } else { NotFetched::ByDigest };
                return Err(Unfetched { why, credentials: absence.credentials.map(Box::new) });
            }
        };
        let manifest = Manifest::parse(&offer.manifest).map_err(FetchError::from)?;
        check_digest(&offer)?;
        if images.engine.adopt_image(manifest.config.digest.as_str(), name).await.map_err(FetchError::from)? {
            tracing::info!(image, "the engine has the image without its name: named it");
            return Ok(());
        }
        let in_use = images.contents.use_all(manifest.blobs().into_iter().map(|blob| &blob.digest));
        let mut source = Source { images, messages, out };
        match source.fetch_all(&manifest, &host, &mut report).await {
            Ok(()) => {}
            Err(Ended::Failed(error)) => return Err(error.into()),
            Err(Ended::Broken(why)) => {
                tracing::warn!(
                    image,
                    why,
                    "the fetch of an image was cut off; it goes on when the controller is back"
                );
                broken = Some(FetchError::Broken {
                    why,
                    there: there(images, &manifest) / MIB,
                    all: manifest.size() / MIB,
                });
                continue;
            }
        }
        failpoint!("agent.images.fetched");
        // The controller need not wait for the engine.
        drop(source);
        load(images, image, name, &manifest, &mut report).await?;
        failpoint!("agent.images.loaded");
        in_use.remove();
        return Ok(());
    }
}

pub(super) fn check_digest(offer: &ImageOffer) -> Result<(), FetchError> {
    use aws_lc_rs::digest::{SHA256, digest};
    let found = supalove_spec::image::Digest::from_sha256(digest(&SHA256, &offer.manifest).as_ref());
    if found.as_str() != offer.manifest_digest {
        return Err(FetchError::Refused("the manifest is not what its digest says".to_owned()));
    }
    Ok(())
}

pub(super) fn not_kept(absence: &ImageAbsence, host: &Platform) -> NotFetched {
    if absence.platforms.is_empty() {
        return NotFetched::NotKept;
    }
    let kept: Vec<String> = absence.platforms.iter().take(8).map(|one| single_line(one, 64)).collect();
    NotFetched::OtherPlatform { host: host.clone(), kept: kept.join(", ") }
}

/// Bytes of an image that are on disk.
fn there(images: &Inner, manifest: &Manifest) -> u64 {
    manifest.blobs().into_iter().map(|blob| images.contents.there(blob)).sum()
}

/// The controller that sends.
struct Source<'a> {
    images: &'a Inner,
    messages: tonic::Streaming<supalove_proto::node::v1::ProvideImageRequest>,
    out: tokio::sync::mpsc::Sender<Result<ProvideImageResponse, tonic::Status>>,
}

impl Source<'_> {
    /// Fetches what is not on disk. The configuration comes first: it says whether this host can run the image.
    async fn fetch_all(
        &mut self,
        manifest: &Manifest,
        host: &Platform,
        report: &mut impl FnMut(u32),
    ) -> Result<(), Ended> {
        check_disk(self.images, manifest).await?;
        let all = manifest.size().max(1);
        let mut done = 0;
        for blob in manifest.blobs() {
            let turn = self.images.contents.turn(&blob.digest).await;
            if !self.images.contents.is_complete(blob) {
                let mut progress = |there: u64| report(percent(done + there, all));
                self.fetch_one(blob, &mut progress).await?;
            }
            drop(turn);
            done += blob.size;
            report(percent(done, all));
            if blob.digest == manifest.config.digest {
                self.check_config(manifest, host)?;
            }
        }
        Ok(())
    }

    fn check_config(&self, manifest: &Manifest, host: &Platform) -> Result<(), FetchError> {
        let path = self.images.contents.path(&manifest.config.digest);
        let json = fs::read(&path)
            .map_err(|error| FetchError::Refused(format!("cannot read {}: {error}", path.display())))?;
        let config = Config::parse(&json)?;
        config.check(manifest)?;
        if config.platform != *host {
            return Err(FetchError::WrongPlatform { image: config.platform, host: host.clone() });
        }
        Ok(())
    }

    async fn fetch_one(&mut self, blob: &Blob, progress: &mut impl FnMut(u64)) -> Result<(), Ended> {
        for attempt in 1..=TRIES {
            if self.try_fetch(blob, progress).await? {
                return Ok(());
            }
            tracing::warn!(digest = %blob.digest, attempt, "content of an image arrived damaged; fetching it again");
        }
        Err(FetchError::Damaged { digest: blob.digest.to_string(), tries: TRIES }.into())
    }

    /// False if what arrived is not what it should be.
    async fn try_fetch(&mut self, blob: &Blob, progress: &mut impl FnMut(u64)) -> Result<bool, Ended> {
        let mut content = self.images.contents.resume(blob).await?;
        let wanted = ContentWanted { digest: blob.digest.to_string(), offset: content.length() };
        if content.length() < blob.size {
            let message = ProvideImageResponse { part: Some(provide_image_response::Part::Wanted(wanted)) };
            if self.out.send(Ok(message)).await.is_err() {
                content.keep().await?;
                return Err(Ended::Broken("the controller left".to_owned()));
            }
        }
        while content.length() < blob.size {
            let chunk = match self.chunk().await {
                Ok(chunk) => chunk,
                Err(ended) => {
                    content.keep().await?;
                    return Err(ended);
                }
            };
            if content.length() + chunk.len() as u64 > blob.size {
                return Err(
                    FetchError::Refused(format!("{} is longer than the manifest says", blob.digest)).into()
                );
            }
            content.append(&chunk).await?;
            failpoint!("agent.images.chunk");
            progress(content.length());
        }
        Ok(content.finish(&blob.digest).await?)
    }

    /// The next bytes.
    async fn chunk(&mut self) -> Result<Vec<u8>, Ended> {
        let limit = self.images.times.pull_idle;
        let message = match timeout(limit, self.messages.message()).await {
            Err(_) => return Err(Ended::Broken(format!("nothing arrived for {limit:?}"))),
            Ok(Err(status)) => return Err(Ended::Broken(single_line(status.message(), WORDS))),
            Ok(Ok(None)) => return Err(Ended::Broken("the controller ended it".to_owned())),
            Ok(Ok(Some(message))) => message,
        };
        match message.part {
            Some(Part::Chunk(chunk)) => Ok(chunk),
            Some(Part::Failure(failure)) => {
                Err(FetchError::Refused(single_line(&failure.message, WORDS)).into())
            }
            _ => Err(FetchError::Refused("a message that is no content".to_owned()).into()),
        }
    }
}

fn percent(done: u64, all: u64) -> u32 {
    u32::try_from(done.saturating_mul(FETCH_SHARE) / all).unwrap_or(0)
}

/// Bytes that a fetch needs on a disk, and what is free there.
#[derive(Debug, PartialEq, Eq)]
struct Room {
    path: String,
    device: u64,
    free: u64,
    needed: u64,
}

/// The disk of the content, and the engine's.
async fn check_disk(images: &Inner, manifest: &Manifest) -> Result<(), FetchError> {
    let missing = manifest.size().saturating_sub(there(images, manifest));
    let engine_dir = images.engine.info().await?.root_dir;
    let ours = room(images.contents.dir(), missing);
    // An engine whose directory cannot be seen from here says itself that its disk is full.
    let engines = room(Path::new(&engine_dir), manifest.size());
    short_of(ours, engines).map_or(Ok(()), |room| {
        let mib = |bytes: u64| bytes.div_ceil(MIB);
        Err(FetchError::NoDisk { path: room.path, needed: mib(room.needed), free: room.free / MIB })
    })
}

fn room(path: &Path, needed: u64) -> Option<Room> {
    let device = fs::metadata(path).ok()?.dev();
    let stat = rustix::fs::statvfs(path).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    Some(Room { path: path.display().to_string(), device, free, needed })
}

/// The disk that has too little room. Both may be one.
fn short_of(ours: Option<Room>, engines: Option<Room>) -> Option<Room> {
    let mut rooms: Vec<Room> = ours.into_iter().collect();
    if let Some(engines) = engines {
        match rooms.iter_mut().find(|room| room.device == engines.device) {
            Some(room) => room.needed += engines.needed,
            None => rooms.push(engines),
        }
    }
    rooms.into_iter().find(|room| room.needed > 0 && room.free < room.needed.saturating_add(LEFT_FREE))
}

/// Loads the content into the engine.
async fn load(
    images: &Inner,
    image: &str,
    name: &str,
    manifest: &Manifest,
    report: &mut impl FnMut(u32),
) -> Result<(), FetchError> {
    let unreadable = |error: std::io::Error| FetchError::Refused(format!("cannot make its archive: {error}"));
    let archive =
        Archive::new(name, manifest, |blob| images.contents.path(&blob.digest)).map_err(unreadable)?;
    let length = archive.length.max(1);
    let read = Arc::new(AtomicU64::new(0));
    let counted = read.clone();
    let bytes = archive.stream().inspect_ok(move |bytes| {
        counted.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    });
    let mut loading = std::pin::pin!(images.engine.load_image(image, bytes));
    let mut tick = tokio::time::interval(images.times.progress_every);
    loop {
        tokio::select! {
            loaded = &mut loading => return loaded.map_err(FetchError::from),
            _ = tick.tick() => {
                let done = read.load(Ordering::Relaxed).saturating_mul(100 - FETCH_SHARE) / length;
                report(u32::try_from(FETCH_SHARE + done).unwrap_or(100).min(99));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(device: u64, free: u64, needed: u64) -> Room {
        Room { path: format!("/{device}"), device, free, needed }
    }

    #[test]
    fn content_and_image_both_need_room() {
        let big = 10 * 1024 * MIB;
        assert_eq!(short_of(Some(room(1, big, MIB)), Some(room(2, big, MIB))), None);
        assert_eq!(short_of(Some(room(1, MIB, MIB)), Some(room(2, big, MIB))).unwrap().path, "/1");
        assert_eq!(short_of(Some(room(1, big, MIB)), Some(room(2, MIB, MIB))).unwrap().path, "/2");
        // On one disk both count.
        let enough_for_one = 100 * MIB + LEFT_FREE;
        let one = short_of(Some(room(1, enough_for_one, 60 * MIB)), Some(room(1, enough_for_one, 60 * MIB)))
            .unwrap();
        assert_eq!(one.needed, 120 * MIB);
        assert_eq!(short_of(Some(room(1, enough_for_one, 60 * MIB)), None), None);
        assert_eq!(short_of(Some(room(1, 0, 0)), None), None, "all of it is here already");
    }

    #[test]
    fn fetching_is_most_of_the_percentage() {
        assert_eq!([percent(0, 10), percent(5, 10), percent(10, 10)], [0, 40, 80]);
    }
}
