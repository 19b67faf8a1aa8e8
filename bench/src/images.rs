//! Images from the controller: how fast one is pushed, and how fast a host that lacks it fetches and loads it. The controller runs in
//! this process, the real agent dials it over loopback with TLS 1.3, and the engine is the machine's.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use bollard::{API_DEFAULT_VERSION, Docker, query_parameters::RemoveImageOptionsBuilder};
use futures::stream;
use supalove_controller::server::Controller;
use supalove_core::ids::{NodeId, ProjectRef};
use supalove_proto::node::v1::{ApplyStackRequest, RunState};
use supalove_sdk::v1::{
    ImageContent, PushImageRequest, UploadContentRequest, UploadStart, upload_content_request::Part,
};
use supalove_spec::{
    image::{Compression, Digest, Manifest},
    limits::IMAGE_CHUNK_BYTES,
};

use crate::{
    agent::Agent,
    api::Api,
    arguments::Arguments,
    controller::Files,
    database::Database,
    session,
    stack::ENGINE,
    table::{Aim, Table},
};

const MB: f64 = 1e6;
/// Longest fetch.
const PATIENCE: Duration = Duration::from_mins(5);
/// What the design asks for on loopback.
const AIM: f64 = 100.0;

/// Adds the rows.
pub async fn measure(arguments: &Arguments, table: &mut Table) -> Result<()> {
    let database = Database::create(&arguments.database_url).await?;
    let files = Files::write(&arguments.dir.join("images"), &database)?;
    let controller = session::start(&files).await?;
    let done = measure_at(&controller, &files, arguments, table).await;
    // It runs in this process, so end it even after an error, before the next measurement.
    controller.stop().await;
    done?;
    database.drop().await
}

async fn measure_at(
    controller: &Controller,
    files: &Files,
    arguments: &Arguments,
    table: &mut Table,
) -> Result<()> {
    let api = files.set_up(controller.public.port()).await?;
    let image = BigImage::new(arguments.effort().image)?;
    let megabytes = f64::from(u32::try_from(image.layer.len())?) / MB;
    let began = Instant::now();
    image.push(&api).await?;
    let pushed = began.elapsed();
    let name = format!("image of {megabytes:.0} MB in one layer");
    table.judge(format!("{name}: push"), megabytes / pushed.as_secs_f64(), "MB/s", Aim::AtLeast(AIM));

    let (address, token) = (controller.node.to_string(), api.join_token().await?);
    let mut agent = Agent::start(arguments, "images", &address, &token, ENGINE).await?;
    let node: NodeId = agent.wait_ready(&api).await?.parse()?;
    let docker = Docker::connect_with_unix(ENGINE, 60, API_DEFAULT_VERSION)?.negotiate_version().await?;
    let project = ProjectRef::generate();
    let request = needing(&project, agent.port_base, &image.name);
    let began = Instant::now();
    controller.fleet.agent(node)?.apply_stack(request).await?;
    let fetched = fetched(&arguments.dir.join("images-agent"), &image).await.map(|()| began.elapsed());
    let loaded = loaded(&docker, &image.name).await.map(|()| began.elapsed());
    session::forget(controller.fleet.agent(node)?, &project, &agent).await?;
    agent.end().await?;
    let options = RemoveImageOptionsBuilder::default().force(true).build();
    // It is not there if the measurement failed.
    let _ = docker.remove_image(&image.name, Some(options), None).await;
    let (fetched, loaded) = (fetched?, loaded?);
    table.judge(
        format!("{name}: fetch by an agent"),
        megabytes / fetched.as_secs_f64(),
        "MB/s",
        Aim::AtLeast(AIM),
    );
    table.note(
        format!("{name}: fetched, and loaded into the engine"),
        format!("{:.1} s", loaded.as_secs_f64()),
    );
    Ok(())
}

/// An image with one file of random bytes.
struct BigImage {
    name: String,
    config: Vec<u8>,
    layer: Vec<u8>,
}

fn of(bytes: &[u8]) -> (Digest, u64) {
    (Digest::from_sha256(digest(&SHA256, bytes).as_ref()), bytes.len() as u64)
}

impl BigImage {
    fn new(bytes: usize) -> Result<Self> {
        let mut content = vec![0; bytes];
        aws_lc_rs::rand::fill(&mut content).ok().context("no random bytes")?;
        let mut archive = tar::Builder::new(Vec::with_capacity(bytes + 4096));
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, "file", content.as_slice())?;
        let layer = archive.into_inner()?;
        let config = format!(
            r#"{{"architecture":"{}","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            supalove_spec::image::Platform::of_host("linux", std::env::consts::ARCH).architecture,
            of(&layer).0
        );
        let name = format!("supalove/bench-{}:1", uuid::Uuid::new_v4().simple());
        Ok(Self { name, config: config.into_bytes(), layer })
    }

    async fn push(&self, api: &Api) -> Result<()> {
        for bytes in [&self.config, &self.layer] {
            let (digest, size) = of(bytes);
            let content = ImageContent { digest: digest.to_string(), size_bytes: i64::try_from(size)? };
            let start = Part::Start(UploadStart { content: Some(content), offset: 0 });
            let chunks: Vec<_> =
                bytes.chunks(IMAGE_CHUNK_BYTES).map(|chunk| Part::Chunk(chunk.to_vec())).collect();
            let parts = std::iter::once(start).chain(chunks);
            let messages = stream::iter(parts.map(|part| UploadContentRequest { part: Some(part) }));
            let answer = api.images().upload_content(messages).await?.into_inner();
            ensure!(answer.complete, "the controller has not taken all of the content");
        }
        let (layer, size) = of(&self.layer);
        let manifest = Manifest::new(of(&self.config), [(layer, size, Compression::None)]).to_json();
        api.images().push_image(PushImageRequest { name: self.name.clone(), manifest }).await?;
        Ok(())
    }
}

/// A project that needs the image; it never runs, because the image has no program.
fn needing(project: &ProjectRef, port_base: u16, image: &str) -> ApplyStackRequest {
    let mut request = session::apply(project, port_base);
    request.run_state = RunState::Running.into();
    for service in request.spec.iter_mut().flat_map(|spec| &mut spec.services) {
        image.clone_into(&mut service.image);
    }
    request
}

/// Returns when the layer is complete on the agent's disk.
async fn fetched(state: &Path, image: &BigImage) -> Result<()> {
    let path: PathBuf = state.join("images").join(of(&image.layer).0.hex());
    let until = Instant::now() + PATIENCE;
    while !path.exists() {
        ensure!(Instant::now() < until, "the image is not fetched after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Returns when the engine has the image.
async fn loaded(docker: &Docker, name: &str) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while docker.inspect_image(name).await.is_err() {
        ensure!(Instant::now() < until, "the image is not loaded after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
