//! The fake's images.

use supalove_proto::v1::{image_service_server::ImageService, upload_content_request::Part, *};
use tonic::{Request, Response, Status, Streaming};

use super::{super::fake::Fake, Answer};

#[tonic::async_trait]
impl ImageService for Fake {
    async fn find_missing_content(
        &self,
        request: Request<FindMissingContentRequest>,
    ) -> Answer<FindMissingContentResponse> {
        self.enter(&request, "FindMissingContent", "").await?;
        let state = self.state();
        let have = |digest: &str| state.uploaded.get(digest).map_or(0, Vec::len);
        let missing = request
            .into_inner()
            .content
            .into_iter()
            .filter(|one| usize::try_from(one.size_bytes).is_ok_and(|size| have(&one.digest) < size));
        let missing = missing.map(|one| MissingContent {
            offset: i64::try_from(have(&one.digest)).unwrap(),
            digest: one.digest,
        });
        Ok(Response::new(FindMissingContentResponse { missing: missing.collect() }))
    }

    async fn upload_content(
        &self,
        request: Request<Streaming<UploadContentRequest>>,
    ) -> Answer<UploadContentResponse> {
        self.enter(&request, "UploadContent", "").await?;
        let mut messages = request.into_inner();
        let Some(Part::Start(start)) = messages.message().await?.unwrap().part else { unreachable!() };
        let content = start.content.unwrap();
        self.note("UploadContent from", &start.offset.to_string());
        while let Some(message) = messages.message().await? {
            let Some(Part::Chunk(chunk)) = message.part else { unreachable!() };
            let mut state = self.state();
            let cut = std::mem::take(&mut state.cut_upload);
            let all = state.uploaded.entry(content.digest.clone()).or_default();
            all.extend(if cut { &chunk[..chunk.len() / 2] } else { &chunk });
            if cut {
                return Err(Status::unavailable("the connection broke"));
            }
        }
        let received = self.state().uploaded.get(&content.digest).map_or(0, Vec::len);
        let received_bytes = i64::try_from(received).unwrap();
        Ok(Response::new(UploadContentResponse {
            received_bytes,
            complete: received_bytes == content.size_bytes,
        }))
    }

    async fn push_image(&self, request: Request<PushImageRequest>) -> Answer<PushImageResponse> {
        self.enter(&request, "PushImage", &request.get_ref().name).await?;
        let name = request.into_inner().name;
        Ok(Response::new(PushImageResponse { image: Some(Image { name, ..image() }), replaced: false }))
    }

    async fn list_images(&self, request: Request<ListImagesRequest>) -> Answer<ListImagesResponse> {
        self.enter(&request, "ListImages", "").await?;
        let damaged = Image { name: "supalove/gateway:1-2".into(), damaged: true, ..image() };
        let images = vec![image(), damaged];
        Ok(Response::new(ListImagesResponse { images, next_page_token: String::new(), kept_bytes: 3 << 20 }))
    }

    async fn delete_image(&self, request: Request<DeleteImageRequest>) -> Answer<DeleteImageResponse> {
        let asked = request.get_ref();
        let what = format!("{} {} {}", asked.name, asked.architecture, asked.allow_in_use);
        self.enter(&request, "DeleteImage", &what).await?;
        Ok(Response::new(DeleteImageResponse { images: vec![image()] }))
    }

    async fn collect_image_garbage(
        &self,
        request: Request<CollectImageGarbageRequest>,
    ) -> Answer<CollectImageGarbageResponse> {
        self.enter(&request, "CollectImageGarbage", &request.get_ref().dry_run.to_string()).await?;
        Ok(Response::new(CollectImageGarbageResponse {
            removed: vec![ImageContent { digest: "sha256:aa".into(), size_bytes: 1 << 20 }],
            removed_bytes: 1 << 20,
            uploads: 2,
            recent: 3,
        }))
    }
}

fn image() -> Image {
    Image {
        name: "supalove/postgres:15-2".into(),
        os: "linux".into(),
        architecture: "amd64".into(),
        digest: "sha256:bb".into(),
        config_digest: "sha256:cc".into(),
        size_bytes: 2 << 20,
        own_bytes: 1 << 20,
        releases: vec!["core-3".into()],
        projects: 4,
        push_time: Some(prost_types::Timestamp::default()),
        damaged: false,
    }
}
