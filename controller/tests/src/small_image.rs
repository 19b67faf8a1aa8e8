//! Images that no engine has to run: a configuration and one layer of any bytes.

use aws_lc_rs::digest::{SHA256, digest};
use supalove_proto::v1::{
    FindMissingContentRequest, Image, ImageContent, MissingContent, PushImageRequest, UploadContentRequest,
    UploadContentResponse, UploadStart, upload_content_request::Part,
};
use supalove_spec::image::{Compression, Digest, Manifest};
use tonic::Status;

use super::Api;

/// Bytes of a chunk.
const CHUNK: usize = 128 * 1024;

/// The digest of some bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(digest(&SHA256, bytes).as_ref())
}

/// Bytes that nobody else has.
pub fn random_bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

/// An image.
pub struct SmallImage {
    /// Name and tag.
    pub name: String,
    /// Its configuration.
    pub config: Vec<u8>,
    /// Its layer.
    pub layer: Vec<u8>,
}

impl SmallImage {
    /// With a layer of its own.
    pub fn new(name: &str, architecture: &str) -> Self {
        Self::with_layer(name, architecture, random_bytes(3000))
    }

    /// With this layer.
    pub fn with_layer(name: &str, architecture: &str, layer: Vec<u8>) -> Self {
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}},"author":"{name}"}}"#,
            digest_of(&layer)
        );
        Self { name: name.to_owned(), config: config.into_bytes(), layer }
    }

    /// Its manifest.
    pub fn manifest(&self) -> String {
        let of = |bytes: &[u8]| (digest_of(bytes), bytes.len() as u64);
        let (layer, size) = of(&self.layer);
        let manifest = Manifest::new(of(&self.config), [(layer, size, Compression::None)]);
        String::from_utf8(manifest.to_json()).unwrap()
    }

    /// Uploads what the controller lacks of it.
    pub async fn upload(&self, api: &Api) {
        for bytes in [&self.config, &self.layer] {
            for missing in find_missing(api, &[bytes]).await {
                let offset = usize::try_from(missing.offset).unwrap();
                let answer = upload(api, bytes, offset, bytes.len()).await;
                // Of two that upload the same at once, one is told to look again.
                assert!(
                    answer.as_ref().is_ok_and(|answer| answer.complete)
                        || answer.as_ref().is_err_and(|status| status.code() == tonic::Code::Aborted),
                    "{answer:?}"
                );
            }
        }
    }

    /// Gives it its name.
    pub async fn name_it(&self, api: &Api) -> Result<Image, Status> {
        let request = PushImageRequest { name: self.name.clone(), manifest: self.manifest().into_bytes() };
        api.images().push_image(request).await.map(|answer| answer.into_inner().image.unwrap())
    }

    /// Both.
    pub async fn push(&self, api: &Api) -> Result<Image, Status> {
        self.upload(api).await;
        self.name_it(api).await
    }
}

fn content(bytes: &[u8]) -> ImageContent {
    ImageContent { digest: digest_of(bytes).to_string(), size_bytes: i64::try_from(bytes.len()).unwrap() }
}

/// What of these the controller lacks.
pub async fn find_missing(api: &Api, contents: &[&[u8]]) -> Vec<MissingContent> {
    let content = contents.iter().map(|bytes| content(bytes)).collect();
    let request = FindMissingContentRequest { content };
    api.images().find_missing_content(request).await.unwrap().into_inner().missing
}

/// Uploads a part of some content.
pub async fn upload(
    api: &Api,
    bytes: &[u8],
    from: usize,
    to: usize,
) -> Result<UploadContentResponse, Status> {
    upload_as(api, content(bytes), &bytes[from..to], from).await
}

/// Uploads bytes as something that they may not be.
pub async fn upload_as(
    api: &Api,
    content: ImageContent,
    bytes: &[u8],
    offset: usize,
) -> Result<UploadContentResponse, Status> {
    let start = UploadStart { content: Some(content), offset: i64::try_from(offset).unwrap() };
    let chunks = bytes.chunks(CHUNK).map(|chunk| Part::Chunk(chunk.to_vec()));
    let messages: Vec<_> = std::iter::once(Part::Start(start))
        .chain(chunks)
        .map(|part| UploadContentRequest { part: Some(part) })
        .collect();
    let answer = api.images().upload_content(tokio_stream::iter(messages)).await?;
    Ok(answer.into_inner())
}
