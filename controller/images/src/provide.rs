//! Gives agents the images that their hosts lack. An agent tells its needs on the control session; each is answered on the bulk
//! connection, where the agent asks for the content that it does not have, from the byte on that it does not have.
//!
//! An image that the controller does not keep comes from a registry: the answer then has the cluster's credentials for it.
//!
//! What is read is hashed on the way: content that the store has damaged is marked, so that the next push replaces it.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use futures::future::BoxFuture;
use supalove_core::{
    error::{Error, Result, chain},
    ids::NodeId,
};
use supalove_fleet::{Fleet, Session, SessionHandler, registries};
use supalove_proto::node::v1::{
    ContentWanted, ImageAbsence, ImageFailure, ImageOffer, ProvideImageRequest, WatchImagesRequest,
    WatchImagesResponse, provide_image_request::Part, provide_image_response,
};
use supalove_spec::{
    image::{Digest, Manifest, kept_name},
    limits::{IMAGE_CHUNK_BYTES, IMAGE_FETCHES},
    names,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::{Images, objects, store};

/// Pause before the agent's needs are watched again.
const RETRY: Duration = Duration::from_secs(2);
/// Bytes that are read at once.
const READ: u64 = 1024 * 1024;
/// Messages between reading and sending.
const AHEAD: usize = 8;
/// How long an agent may take to ask for the next content: another fetch of it may have its turn with a shared layer.
const ASKS: Duration = Duration::from_mins(15);

type Out = mpsc::Sender<ProvideImageRequest>;

/// Handles the sessions of nodes. Cheap to clone.
#[derive(Clone)]
pub struct Provider {
    images: Images,
    fleet: Fleet,
}

impl SessionHandler for Provider {
    fn run(&self, session: Session) -> BoxFuture<'static, ()> {
        let provider = self.clone();
        Box::pin(async move {
            let ended = session.ended.clone();
            ended.run_until_cancelled(Box::pin(provider.watch(session))).await;
        })
    }
}

impl Provider {
    pub fn new(images: Images, fleet: &Fleet) -> Self {
        Self { images, fleet: fleet.clone() }
    }

    /// Watches the needs of an agent as long as its session lasts. Never returns: what fails here must not end a session.
    async fn watch(&self, session: Session) {
        let at_once = std::sync::Arc::new(Semaphore::new(IMAGE_FETCHES));
        loop {
            match self.watch_once(&session, &at_once).await {
                Ok(()) => {}
                // An old agent pulls from registries only.
                Err(status) if status.code() == Code::Unimplemented => std::future::pending().await,
                Err(status) => {
                    tracing::debug!(node = %session.node, message = status.message(), "cannot watch which images a node needs; retrying");
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn watch_once(
        &self,
        session: &Session,
        at_once: &std::sync::Arc<Semaphore>,
    ) -> Result<(), tonic::Status> {
        let mut client = session.client.clone();
        let mut needs = client.watch_images(WatchImagesRequest {}).await?.into_inner();
        while let Some(need) = needs.message().await? {
            // Agents ask for no more at once; one that does waits here.
            let Ok(permit) = at_once.clone().acquire_owned().await else { return Ok(()) };
            let (provider, session) = (self.clone(), session.clone());
            self.images.core.tasks.connection("image for a node", async move {
                let ended = session.ended.clone();
                ended.run_until_cancelled(Box::pin(provider.answer(session.node, need, permit))).await;
            });
        }
        Ok(())
    }

    async fn answer(&self, node: NodeId, need: WatchImagesResponse, _permit: OwnedSemaphorePermit) {
        let image = supalove_spec::text::single_line(&need.image, supalove_spec::limits::REASON_CHARS);
        match self.provide(node, &need).await {
            Ok(0) => {}
            Ok(bytes) => tracing::info!(%node, image, bytes, "image sent to a node"),
            Err(error) => {
                tracing::warn!(%node, image, error = chain(&error), "cannot send an image to a node; its agent asks again");
            }
        }
    }

    /// Sends the image that the node needs; returns the bytes that were sent.
    async fn provide(&self, node: NodeId, need: &WatchImagesResponse) -> Result<u64> {
        let found = self.find(node, need).await?;
        let (out, messages) = mpsc::channel(AHEAD);
        let manifest = match found {
            Ok(image) => {
                let manifest = Manifest::parse(image.manifest.as_bytes()).map_err(Error::internal)?;
                let offer = ImageOffer {
                    number: need.number,
                    manifest_digest: image.manifest_digest,
                    manifest: image.manifest.into_bytes(),
                };
                send(&out, Part::Offer(offer)).await?;
                Some(manifest)
            }
            Err(absence) => {
                send(&out, Part::Absence(absence)).await?;
                None
            }
        };
        let mut bulk = self.fleet.bulk(node).await?;
        let limit = self.images.core.times.agent_call;
        let answered = tokio::time::timeout(limit, bulk.provide_image(ReceiverStream::new(messages))).await;
        let answered = answered.map_err(|_| away("its agent did not answer in time"))?;
        let mut asked = answered.map_err(|status| away(status.message()))?.into_inner();
        let Some(manifest) = manifest else { return Ok(0) };
        let mut left = Allowance::of(&manifest);
        let mut sent = 0;
        loop {
            let message = tokio::time::timeout(ASKS, asked.message()).await;
            let message = message.map_err(|_| away("its agent asked for nothing for too long"))?;
            let Some(message) = message.map_err(|status| away(status.message()))? else { return Ok(sent) };
            let Some(provide_image_response::Part::Wanted(wanted)) = message.part else { continue };
            left.take_request()?;
            let bytes = self.send_content(&manifest, &wanted, &out).await?;
            left.take_bytes(bytes)?;
            sent += bytes;
        }
    }

    /// The image, or what the controller has instead. For what a registry must give the node gets its cluster's credentials, each
    /// time it asks.
    async fn find(
        &self,
        node: NodeId,
        need: &WatchImagesResponse,
    ) -> Result<Result<store::Image, ImageAbsence>> {
        match self.find_kept(need).await? {
            Ok(image) => Ok(Ok(image)),
            Err(platforms) => {
                let credentials = registries::for_node(&self.images.core, node, &need.image).await?;
                Ok(Err(ImageAbsence { number: need.number, platforms, credentials }))
            }
        }
    }

    /// The image, or the platforms for which the controller keeps one of this name.
    async fn find_kept(&self, need: &WatchImagesResponse) -> Result<Result<store::Image, Vec<String>>> {
        let name =
            Some(&need.image).filter(|image| names::is_image(image)).and_then(|image| kept_name(image));
        let Some(name) = name else { return Ok(Err(Vec::new())) };
        let db = &self.images.core.db;
        let mut found = store::named(db, &name).await?;
        let fits = |image: &store::Image| image.os == need.os && image.architecture == need.architecture;
        let Some(at) = found.iter().position(fits) else {
            let platforms = found.iter().map(|image| format!("{}/{}", image.os, image.architecture));
            return Ok(Err(platforms.collect()));
        };
        Ok(Ok(found.swap_remove(at)))
    }

    async fn send_content(&self, manifest: &Manifest, wanted: &ContentWanted, out: &Out) -> Result<u64> {
        let refuse = |message: String| ImageFailure { message, permanent: true };
        let digest = wanted.digest.parse::<Digest>().ok();
        let known = digest.filter(|digest| manifest.blobs().iter().any(|blob| blob.digest == *digest));
        let Some(digest) = known else {
            send(out, Part::Failure(refuse("this content is no part of the image".to_owned()))).await?;
            return Ok(0);
        };
        let core = &self.images.core;
        let mut write = core.system_write("images.provide");
        store::touch_one(&mut write, &digest).await?;
        write.commit([]).await?;
        let Some(content) = store::content(&core.db, &digest).await? else {
            send(out, Part::Failure(refuse(gone(&digest)))).await?;
            return Ok(0);
        };
        let Some(pieces) = objects::from_offset(&content.parts, wanted.offset) else {
            send(out, Part::Failure(refuse(format!("the content {digest} has no byte {}", wanted.offset))))
                .await?;
            return Ok(0);
        };
        let mut hash = Context::new(&SHA256);
        let mut sent = 0;
        for (key, mut from, to) in pieces {
            while from < to {
                let until = to.min(from + READ);
                let bytes = match self.images.objects.read(key, from, until).await {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        tracing::error!(%error, %digest, "cannot read content of the image store");
                        let missing = matches!(error, object_store::Error::NotFound { .. });
                        if missing {
                            self.note_damage(&digest, &content.parts).await?;
                        }
                        let message = if missing { gone(&digest) } else { unreadable(&digest) };
                        send(out, Part::Failure(ImageFailure { message, permanent: missing })).await?;
                        return Ok(sent);
                    }
                };
                from = until;
                sent += bytes.len() as u64;
                hash.update(&bytes);
                send_chunks(out, bytes).await?;
            }
        }
        if wanted.offset == 0 && Digest::from_sha256(hash.finish().as_ref()) != digest {
            self.note_damage(&digest, &content.parts).await?;
        }
        Ok(sent)
    }

    async fn note_damage(&self, digest: &Digest, parts: &[String]) -> Result<()> {
        let mut write = self.images.core.system_write("images.provide");
        if store::note_damage(&mut write, digest, parts).await? {
            tracing::error!(%digest, "content of the image store is damaged or missing; push its images again");
            write.audit_outcome("ProvideImage", digest.as_str(), "DAMAGED");
        }
        write.commit([]).await
    }
}

/// How often an agent may get the whole of an offer: it fetches content that arrives damaged again.
const FETCHES: usize = 3;
const MORE: &str = "its agent asked for more than three times the image";

/// What an agent may still ask for of one offer, so that a host in other hands costs no more than one that fetches.
#[derive(Debug)]
struct Allowance {
    requests: usize,
    bytes: u64,
}

impl Allowance {
    fn of(manifest: &Manifest) -> Self {
        let blobs = manifest.blobs();
        let size = blobs.iter().fold(0u64, |sum, blob| sum.saturating_add(blob.size));
        Self { requests: blobs.len() * FETCHES, bytes: size.saturating_mul(FETCHES as u64) }
    }

    fn take_request(&mut self) -> Result<()> {
        self.requests = self.requests.checked_sub(1).ok_or_else(|| away(MORE))?;
        Ok(())
    }

    fn take_bytes(&mut self, bytes: u64) -> Result<()> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| away(MORE))?;
        Ok(())
    }
}

async fn send_chunks(out: &Out, mut bytes: Bytes) -> Result<()> {
    while !bytes.is_empty() {
        let chunk = bytes.split_to(bytes.len().min(IMAGE_CHUNK_BYTES));
        send(out, Part::Chunk(chunk.into())).await?;
    }
    Ok(())
}

async fn send(out: &Out, part: Part) -> Result<()> {
    let sent = out.send(ProvideImageRequest { part: Some(part) }).await;
    sent.map_err(|_| away("it takes no more of the image"))
}

fn away(why: &str) -> Error {
    Error::Unavailable { message: format!("the node went away: {why}"), retry_after: RETRY }
}

fn gone(digest: &Digest) -> String {
    format!(
        "the controller's image store has lost the content {digest}; push the image again (`supalove images push`)"
    )
}

fn unreadable(digest: &Digest) -> String {
    format!("the controller cannot read the content {digest} of its image store now")
}
