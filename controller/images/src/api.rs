//! `supalove.v1.ImageService`. For the operator: the call layer has let nobody else through.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use futures::{StreamExt as _, future::ready};
use supalove_core::{
    access::Call,
    error::{Error, Result},
    wire::{page, page_size, parse_page_token, timestamp},
};
use supalove_proto::v1::{
    self as pb, CollectImageGarbageRequest, CollectImageGarbageResponse, DeleteImageRequest,
    DeleteImageResponse, ErrorReason, FindMissingContentRequest, FindMissingContentResponse, ImageContent,
    ListImagesRequest, ListImagesResponse, MissingContent, PushImageRequest, PushImageResponse,
    UploadContentRequest, UploadContentResponse, image_service_server::ImageService,
    upload_content_request::Part,
};
use supalove_spec::{
    image::{Config, Digest, Manifest, kept_name},
    limits::{IMAGE_CHUNK_BYTES, IMAGE_LAYER_BYTES, IMAGE_LAYERS},
    names,
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    GIVEN_UP, Images, RECENT, garbage, objects,
    store::{self, Image, NewImage},
    upload::signed,
};

/// The service.
#[derive(Clone)]
pub struct ImageApi(Images);

impl ImageApi {
    pub fn new(images: Images) -> Self {
        Self(images)
    }
}

#[tonic::async_trait]
impl ImageService for ImageApi {
    async fn find_missing_content(
        &self,
        request: Request<FindMissingContentRequest>,
    ) -> Result<Response<FindMissingContentResponse>, Status> {
        let asked = request.into_inner().content;
        if asked.len() > IMAGE_LAYERS + 1 {
            return Err(Error::field("content", format!("must be at most {}", IMAGE_LAYERS + 1)).into());
        }
        let mut digests: Vec<String> = Vec::with_capacity(asked.len());
        for (at, one) in asked.iter().enumerate() {
            let (digest, _) = content(&format!("content[{at}]"), one)?;
            if !digests.iter().any(|known| known == digest.as_str()) {
                digests.push(digest.into());
            }
        }
        let core = &self.0.core;
        let mut write = core.system_write("images.find_missing");
        let there = store::touch(&mut write, &digests).await?;
        write.commit([]).await?;
        digests.retain(|digest| !there.contains(digest));
        let uploads = store::uploads(&core.db, &digests).await?;
        let offset = |digest: &String| {
            uploads.iter().find(|upload| upload.digest == *digest).map_or(0, |upload| upload.received_bytes)
        };
        let missing =
            digests.iter().map(|digest| MissingContent { digest: digest.clone(), offset: offset(digest) });
        Ok(Response::new(FindMissingContentResponse { missing: missing.collect() }))
    }

    async fn upload_content(
        &self,
        request: Request<Streaming<UploadContentRequest>>,
    ) -> Result<Response<UploadContentResponse>, Status> {
        let call = Call::from_request(&request)?;
        let mut messages = request.into_inner();
        let Some(Part::Start(start)) = messages.message().await?.and_then(|message| message.part) else {
            return Err(Error::field("start", "must be the first message").into());
        };
        let (digest, size) = content("start.content", &start.content.unwrap_or_default())?;
        call.names(digest.as_str());
        let offset = u64::try_from(start.offset).ok().filter(|offset| *offset <= size);
        let offset = offset.ok_or_else(|| Error::field("start.offset", "must be 0 to size_bytes"))?;
        let chunks = messages.map(|message| match message?.part {
            Some(Part::Chunk(chunk)) if chunk.len() <= IMAGE_CHUNK_BYTES => Ok(Bytes::from(chunk)),
            Some(Part::Chunk(_)) => {
                Err(Error::field("chunk", format!("must be at most {IMAGE_CHUNK_BYTES} bytes")).into())
            }
            _ => Err(Error::field("chunk", "must follow start").into()),
        });
        // A message that is wrong ends the call; a caller who goes away leaves what has arrived.
        let mut wrong = None;
        let chunks = chunks.take_while(|chunk: &Result<Bytes, Status>| {
            if let Err(status) = chunk
                && status.code() == tonic::Code::InvalidArgument
            {
                wrong = Some(status.clone());
            }
            ready(chunk.is_ok())
        });
        let uploaded = self.0.upload(self.0.core.mutation(&call), &digest, size, offset, chunks).await?;
        if let Some(status) = wrong {
            return Err(status);
        }
        Ok(Response::new(UploadContentResponse {
            received_bytes: signed(uploaded.received),
            complete: uploaded.complete,
        }))
    }

    async fn push_image(
        &self,
        request: Request<PushImageRequest>,
    ) -> Result<Response<PushImageResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let name = name("name", &body.name)?;
        call.names(&name);
        let manifest =
            Manifest::parse(&body.manifest).map_err(|error| Error::field("manifest", error.to_string()))?;
        let json =
            std::str::from_utf8(&body.manifest).map_err(|_| Error::field("manifest", "must be UTF-8"))?;
        let config = self.check_content(&manifest).await?;
        let new = NewImage {
            name: &name,
            platform: &config.platform,
            manifest: &manifest,
            json,
            digest: &Digest::from_sha256(digest(&SHA256, json.as_bytes()).as_ref()),
        };
        let mut mutation = self.0.core.mutation(&call);
        let replaced = store::put_image(&mut mutation, &new).await?;
        let target = format!("{name} {} {}", config.platform, new.digest);
        mutation.commit(&target, []).await?;
        let kept = store::named(&self.0.core.db, &name).await?;
        let kept = kept.into_iter().find(|image| {
            image.os == config.platform.os && image.architecture == config.platform.architecture
        });
        let image = match kept {
            Some(image) => Some(self.wire(image).await?),
            None => None,
        };
        Ok(Response::new(PushImageResponse { image, replaced }))
    }

    async fn list_images(
        &self,
        request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let after = parse_page_token(&body.page_token)?;
        let db = &self.0.core.db;
        let found = store::list(db, after.as_deref(), size + 1).await?;
        let (found, next_page_token) = page(found, size, store::list_key);
        let mut images = Vec::with_capacity(found.len());
        for image in found {
            images.push(self.wire(image).await?);
        }
        let kept_bytes = store::kept_bytes(db).await?;
        Ok(Response::new(ListImagesResponse { images, next_page_token, kept_bytes }))
    }

    async fn delete_image(
        &self,
        request: Request<DeleteImageRequest>,
    ) -> Result<Response<DeleteImageResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let name = name("name", &body.name)?;
        call.names(&name);
        if body.architecture.contains('\0') {
            return Err(Error::field("architecture", "must be a word like amd64").into());
        }
        let releases = self.0.releases_of(&name);
        let projects = store::projects_on(&self.0.core.db, releases).await?;
        if projects > 0 && !body.allow_in_use {
            return Err(Error::FailedPrecondition {
                reason: ErrorReason::ImageInUse,
                message: format!(
                    "{projects} projects are on releases that name this image ({}); hosts that lose it could not load it \
                     again. Delete it with allow_in_use, or keep it",
                    releases.join(", ")
                ),
            }
            .into());
        }
        let architecture = Some(body.architecture.as_str()).filter(|text| !text.is_empty());
        let mut mutation = self.0.core.mutation(&call);
        let gone = store::delete(&mut mutation, &name, architecture).await?;
        if gone.is_empty() {
            return Err(Error::NotFound { kind: "image", name }.into());
        }
        mutation.commit(&name, []).await?;
        let mut images = Vec::with_capacity(gone.len());
        for image in gone {
            images.push(self.wire(image).await?);
        }
        Ok(Response::new(DeleteImageResponse { images }))
    }

    async fn collect_image_garbage(
        &self,
        request: Request<CollectImageGarbageRequest>,
    ) -> Result<Response<CollectImageGarbageResponse>, Status> {
        let call = Call::from_request(&request)?;
        let db = &self.0.core.db;
        let (contents, uploads) = if request.get_ref().dry_run {
            (store::unneeded(db, RECENT).await?, store::given_up(db, GIVEN_UP).await?)
        } else {
            let mut mutation = self.0.core.mutation(&call);
            let found = garbage::mark(&mut mutation).await?;
            mutation.commit("images", []).await?;
            garbage::remove(&self.0, &found).await;
            (found.contents, i64::try_from(found.uploads.len()).unwrap_or(i64::MAX))
        };
        let recent = store::recent(db, RECENT).await?;
        let removed_bytes = contents.iter().map(|one| one.size_bytes).sum();
        let removed =
            contents.into_iter().map(|one| ImageContent { digest: one.digest, size_bytes: one.size_bytes });
        Ok(Response::new(CollectImageGarbageResponse {
            removed: removed.collect(),
            removed_bytes,
            uploads: count(uploads),
            recent: count(recent),
        }))
    }
}

impl ImageApi {
    /// All content of a manifest is there with its size, and its configuration belongs to it.
    async fn check_content(&self, manifest: &Manifest) -> Result<Config> {
        let core = &self.0.core;
        let digests: Vec<String> = manifest.blobs().iter().map(|blob| blob.digest.to_string()).collect();
        let mut write = core.system_write("images.push");
        let there = store::touch(&mut write, &digests).await?;
        write.commit([]).await?;
        for blob in manifest.blobs() {
            if !there.iter().any(|digest| digest == blob.digest.as_str()) {
                return Err(store::incomplete(Some(blob)));
            }
            let size = store::content(&core.db, &blob.digest).await?.map(|content| content.size_bytes);
            if size != Some(signed(blob.size)) {
                return Err(store::incomplete(Some(blob)));
            }
        }
        let wrong = |error: supalove_spec::image::ImageError| Error::field("manifest", error.to_string());
        let config = Config::parse(&self.read_config(manifest).await?).map_err(wrong)?;
        config.check(manifest).map_err(wrong)?;
        Ok(config)
    }

    /// Reads a configuration, whose size is limited.
    async fn read_config(&self, manifest: &Manifest) -> Result<Vec<u8>> {
        let blob = &manifest.config;
        let found = store::content(&self.0.core.db, &blob.digest).await?;
        let found = found.ok_or_else(|| store::incomplete(Some(blob)))?;
        let pieces =
            objects::from_offset(&found.parts, 0).ok_or_else(|| Error::internal("parts without a length"))?;
        let mut json = Vec::new();
        for (key, from, to) in pieces {
            json.extend_from_slice(&self.0.objects.read(key, from, to).await.map_err(Error::internal)?);
        }
        Ok(json)
    }

    async fn wire(&self, image: Image) -> Result<pb::Image> {
        let releases = self.0.releases_of(&image.name).to_vec();
        let projects = store::projects_on(&self.0.core.db, &releases).await?;
        Ok(pb::Image {
            name: image.name,
            os: image.os,
            architecture: image.architecture,
            digest: image.manifest_digest,
            config_digest: image.config_digest,
            size_bytes: image.size_bytes,
            own_bytes: image.own_bytes,
            releases,
            projects: count(projects),
            push_time: Some(timestamp(image.pushed_at)),
            damaged: image.damaged,
        })
    }
}

fn count(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn content(field: &str, content: &ImageContent) -> Result<(Digest, u64)> {
    let digest = content.digest.parse();
    let digest = digest.map_err(|error: supalove_spec::image::ImageError| {
        Error::field(format!("{field}.digest"), error.to_string())
    })?;
    let size = u64::try_from(content.size_bytes).ok().filter(|size| *size <= IMAGE_LAYER_BYTES);
    let size = size.ok_or_else(|| {
        Error::field(format!("{field}.size_bytes"), format!("must be 0 to {IMAGE_LAYER_BYTES}"))
    })?;
    Ok((digest, size))
}

/// The name under which an image is kept.
fn name(field: &str, text: &str) -> Result<String> {
    if !names::is_image(text) {
        return Err(Error::field(field, "must be an image's name and tag, as in `docker pull`"));
    }
    kept_name(text).ok_or_else(|| {
        Error::field(field, "must have no digest: an engine that loads an image does not know under which digest a registry has it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_an_engine_can_look_up() {
        assert_eq!(name("name", "docker.io/supalove/gateway:1-2").unwrap(), "supalove/gateway:1-2");
        for wrong in ["", "--help", "a b", "A/b"] {
            assert!(name("name", wrong).is_err(), "{wrong}");
        }
        let digest = format!("a/b@sha256:{}", "0".repeat(64));
        assert!(name("name", &digest).unwrap_err().to_string().contains("no digest"));
    }

    #[test]
    fn content_has_a_digest_and_a_bounded_size() {
        let of = |digest: &str, size_bytes| content("c", &ImageContent { digest: digest.into(), size_bytes });
        let good = format!("sha256:{}", "0".repeat(64));
        assert_eq!(of(&good, 5).unwrap().1, 5);
        assert!(of("sha256:00", 5).unwrap_err().to_string().starts_with("c.digest"));
        assert!(of(&good, -1).is_err() && of(&good, i64::MAX).is_err());
    }
}
