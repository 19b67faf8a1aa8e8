//! Takes content in: cut into parts, each durable before its row says so, so that whoever was cut off goes on behind the last
//! part, on any replica. Content is kept only when its sha256 is its digest.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use supalove_core::{
    Mutation, SystemWrite,
    error::{Error, Result},
};
use supalove_failpoints::failpoint;
use supalove_proto::v1::ErrorReason;
use supalove_spec::image::Digest;
use tonic::Status;

use crate::{
    Images, objects,
    store::{self, Content},
};

/// Bytes of a part: what a broken upload loses at most, and what it holds in memory.
const PART: usize = 8 * 1024 * 1024;
/// Bytes that are read at once to go on with a hash.
const READ: u64 = 1024 * 1024;

/// How an upload ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Uploaded {
    pub received: u64,
    pub complete: bool,
}

/// Content that arrives.
struct Upload<'a> {
    images: &'a Images,
    digest: &'a Digest,
    size: u64,
    received: u64,
    parts: Vec<String>,
    hash: Context,
}

impl Images {
    /// Takes `size` bytes of `digest` in, from `offset` on. The change of a complete upload is the caller's.
    pub async fn upload(
        &self,
        mutation: Mutation,
        digest: &Digest,
        size: u64,
        offset: u64,
        chunks: impl Stream<Item = Result<Bytes, Status>> + Send,
    ) -> Result<Uploaded> {
        let _one_of_few = self.uploads.clone().try_acquire_owned().map_err(|_| Error::Busy)?;
        let mut write = self.system_write();
        if !store::touch(&mut write, &[digest.to_string()]).await?.is_empty() {
            write.commit([]).await?;
            mutation.commit(digest.as_str(), []).await?;
            return Ok(Uploaded { received: size, complete: true });
        }
        let known = store::begin_upload(&mut write, digest, signed(size)).await?;
        write.commit([]).await?;
        if known.size_bytes != signed(size) {
            return Err(Error::field(
                "start.content.size_bytes",
                format!("another upload of this content says {} bytes", known.size_bytes),
            ));
        }
        if known.received_bytes != signed(offset) {
            return Err(elsewhere());
        }
        let mut upload = Upload {
            images: self,
            digest,
            size,
            received: offset,
            parts: known.parts,
            hash: Context::new(&SHA256),
        };
        upload.hash_what_is_there().await?;
        upload.receive(chunks).await?;
        let received = upload.received;
        if received < size {
            return Ok(Uploaded { received, complete: false });
        }
        upload.finish(mutation).await?;
        Ok(Uploaded { received, complete: true })
    }

    fn system_write(&self) -> SystemWrite {
        self.core.system_write("images.upload")
    }

    /// Removes objects that no row names any more. One that cannot be removed is found again as one without a row.
    pub(crate) async fn remove_objects(&self, keys: &[String]) {
        for key in keys {
            if let Err(error) = self.objects.remove(key).await {
                tracing::warn!(%error, key, "cannot remove an object of the image store; it is tried again");
            }
        }
    }
}

impl Upload<'_> {
    /// The hash goes on behind what had arrived before.
    async fn hash_what_is_there(&mut self) -> Result<()> {
        for key in &self.parts {
            let length = objects::length(key).ok_or_else(|| Error::internal("a part has no length"))?;
            let mut from = 0;
            while from < length {
                let to = length.min(from + READ);
                let bytes = self.images.objects.read(key, from, to).await.map_err(Error::internal)?;
                self.hash.update(&bytes);
                from = to;
            }
        }
        Ok(())
    }

    async fn receive(&mut self, chunks: impl Stream<Item = Result<Bytes, Status>> + Send) -> Result<()> {
        let mut chunks = std::pin::pin!(chunks);
        let mut buffer = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let Ok(chunk) = chunk else {
                // The caller is gone: what has arrived is kept for the next time.
                break;
            };
            let after = self.received + buffer.len() as u64 + chunk.len() as u64;
            if after > self.size {
                return Err(Error::field(
                    "chunk",
                    format!("the content has {} bytes, and more arrive", self.size),
                ));
            }
            self.hash.update(&chunk);
            buffer.extend_from_slice(&chunk);
            if buffer.len() >= PART {
                self.add(buffer.split().freeze()).await?;
            }
        }
        if !buffer.is_empty() {
            self.add(buffer.freeze()).await?;
        }
        Ok(())
    }

    async fn add(&mut self, bytes: Bytes) -> Result<()> {
        let length = bytes.len() as u64;
        let key = self.images.objects.put(bytes).await?;
        failpoint!("controller.images.part_written");
        let mut write = self.images.system_write();
        let added =
            store::add_part(&mut write, self.digest, signed(self.received), signed(length), &key).await;
        if !matches!(added, Ok(true)) {
            self.images.remove_objects(&[key]).await;
            added?;
            return Err(elsewhere());
        }
        write.commit([]).await?;
        failpoint!("controller.images.part_noted");
        self.received += length;
        self.parts.push(key);
        Ok(())
    }

    async fn finish(self, mut mutation: Mutation) -> Result<()> {
        let found = Digest::from_sha256(self.hash.finish().as_ref());
        if found != *self.digest {
            let mut write = self.images.system_write();
            let ended = store::end_upload(&mut write, self.digest, &self.parts).await?;
            write.commit([]).await?;
            if ended {
                self.images.remove_objects(&self.parts).await;
            }
            return Err(Error::FailedPrecondition {
                reason: ErrorReason::ImageContentWrong,
                message: format!(
                    "what was uploaded as {} has the sha256 {}; it was dropped; push the image again",
                    self.digest,
                    found.hex()
                ),
            });
        }
        if !store::end_upload(&mut mutation, self.digest, &self.parts).await? {
            return Err(elsewhere());
        }
        let content = Content { size_bytes: signed(self.size), parts: self.parts };
        let not_needed = store::keep(&mut mutation, self.digest, &content).await?;
        mutation.commit(self.digest.as_str(), []).await?;
        self.images.remove_objects(&not_needed).await;
        Ok(())
    }
}

/// Sizes are checked against limits far below this bound.
pub fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn elsewhere() -> Error {
    Error::Aborted(
        "the upload is not at this byte: another caller uploads the same content, or what had arrived was given up; ask \
         FindMissingContent again",
    )
}
