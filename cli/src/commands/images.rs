//! `images push | list | delete | gc`: images that the controller keeps for hosts that reach no registry. For the operator.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, Docker};
use clap::{Args, Subcommand};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use supalove_proto::v1::{
    CollectImageGarbageRequest, DeleteImageRequest, FindMissingContentRequest, Image, ImageContent,
    ListImagesRequest, ListImagesResponse, PushImageRequest, UploadContentRequest, UploadStart,
    image_service_client::ImageServiceClient, upload_content_request::Part,
};
use supalove_spec::{image::kept_name, limits::IMAGE_CHUNK_BYTES};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, Request};

use super::Context;
use crate::{
    archive::{self, Content, SavedImage},
    confirm,
    error::Error,
    table::{self, joined},
};

/// Page size.
const PAGE: i32 = 100;
/// Deadline of one upload: a large layer over a slow line. What has arrived by then is kept.
const UPLOAD: Duration = Duration::from_hours(6);
/// How often an upload goes on after it broke.
const TRIES: usize = 10;
/// Pause before that.
const PAUSE: Duration = Duration::from_secs(2);
/// Chunks between reading and sending.
const AHEAD: usize = 16;
/// Where an engine listens if nothing else is said.
const ENGINE: &str = "unix:///var/run/docker.sock";

/// The commands about images.
#[derive(Debug, Subcommand)]
pub enum Images {
    /// Push images from the Docker Engine of this machine, or from a file, to the controller. Sends only what the controller
    /// lacks; a push that was cut off goes on where it ended.
    Push(Push),
    /// List the images that the controller keeps.
    #[command(visible_alias = "ls")]
    List,
    /// Delete an image from the controller. Hosts keep what they have loaded.
    #[command(visible_alias = "rm")]
    Delete(Delete),
    /// Remove content that no image needs. The controller does it every hour by itself.
    Gc {
        /// Only show what would be removed.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Arguments of `images push`.
#[derive(Debug, Args)]
pub struct Push {
    /// Names and tags, e.g. supalove/postgres:15-2. Of a file: all that have a name, unless some are given.
    #[arg(required_unless_present = "file", value_name = "NAME:TAG")]
    names: Vec<String>,
    /// A file that `docker save` has written, instead of an engine.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The engine: unix:///path or tcp://host:port [env: DOCKER_HOST] [default: unix:///var/run/docker.sock].
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    docker_host: Option<String>,
}

/// Arguments of `images delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// Name and tag.
    #[arg(value_name = "NAME:TAG")]
    name: String,
    /// Only the image of this architecture, e.g. amd64.
    #[arg(long, default_value = "", hide_default_value = true)]
    architecture: String,
    /// Delete it though projects are on releases that name it.
    #[arg(long)]
    allow_in_use: bool,
    /// Skip the confirmation.
    #[arg(long)]
    yes: bool,
}

pub async fn run(context: &Context, command: Images) -> Result<(), Error> {
    match command {
        Images::Push(arguments) => push(context, arguments).await,
        Images::List => list(context).await,
        Images::Delete(arguments) => delete(context, arguments).await,
        Images::Gc { dry_run } => gc(context, dry_run).await,
    }
}

async fn push(context: &Context, arguments: Push) -> Result<(), Error> {
    let (path, mut file) = match &arguments.file {
        Some(path) => (path.clone(), File::open(path).map_err(of_file(path))?),
        None => export(context, &arguments).await?,
    };
    let images = archive::read(&mut file).map_err(|error| match error {
        archive::ArchiveError::Io(source) => Error::File { path: path.clone(), source },
        other => Error::Usage(format!("{} is no archive of images: {other}", path.display())),
    })?;
    let mut pushed = ListImagesResponse::default();
    for (name, image) in chosen(&images, &arguments.names)? {
        pushed.images.push(push_one(context, &file, &path, &name, image).await?);
    }
    context.output.answer("ListImagesResponse", &pushed, |pushed| {
        let line = |image: &Image| {
            let size = HumanBytes(image.size_bytes.unsigned_abs());
            format!(
                "{} ({}/{}, {size}) is kept as {}",
                image.name, image.os, image.architecture, image.digest
            )
        };
        pushed.images.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

/// The images to push, each under its name.
fn chosen<'a>(images: &'a [SavedImage], names: &[String]) -> Result<Vec<(String, &'a SavedImage)>, Error> {
    if names.is_empty() {
        let all: Vec<_> = images
            .iter()
            .flat_map(|image| image.names.iter().map(move |name| (name.clone(), image)))
            .collect();
        if all.is_empty() {
            return Err(Error::Usage(
                "no image of the file has a name; give it one when you save it: docker save NAME:TAG".into(),
            ));
        }
        return Ok(all);
    }
    let find = |name: &String| {
        if kept_name(name).is_none() {
            return Err(Error::Usage(format!("{name}: give a name and a tag, not a digest")));
        }
        let image = images.iter().find(|image| image.is_named(name));
        let known = || images.iter().flat_map(|image| image.names.clone()).collect::<Vec<_>>().join(", ");
        image
            .map(|image| (name.clone(), image))
            .ok_or_else(|| Error::Usage(format!("there is no image {name}; there are: {}", known())))
    };
    names.iter().map(find).collect()
}

/// Lets the engine write its archive to a file that nobody else sees, and that is gone when this program ends.
async fn export(context: &Context, arguments: &Push) -> Result<(PathBuf, File), Error> {
    let host = arguments.docker_host.clone().or_else(|| crate::args::variable("DOCKER_HOST"));
    let host = host.unwrap_or_else(|| ENGINE.to_owned());
    let failed = |error: bollard::errors::Error| {
        let message = match error {
            bollard::errors::Error::DockerResponseServerError { message, .. } => message,
            other => other.to_string(),
        };
        Error::Usage(format!("the Docker Engine at {host} gives no images: {message}"))
    };
    let seconds = UPLOAD.as_secs();
    let docker = if host.starts_with("unix://") {
        Docker::connect_with_unix(&host, seconds, API_DEFAULT_VERSION)
    } else {
        Docker::connect_with_http(&host, seconds, API_DEFAULT_VERSION)
    };
    let docker = docker.map_err(&failed)?.negotiate_version().await.map_err(&failed)?;
    for name in &arguments.names {
        docker.inspect_image(name).await.map_err(&failed)?;
    }
    let path = std::env::temp_dir().join(format!("supalove-images-{}.tar", uuid::Uuid::new_v4().simple()));
    let opened = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
    let mut file = opened.map_err(of_file(&path))?;
    fs::remove_file(&path).map_err(of_file(&path))?;
    let shown = Bar::new(context, 0, "reading from the engine");
    let names: Vec<&str> = arguments.names.iter().map(String::as_str).collect();
    let mut bytes = std::pin::pin!(docker.export_images(&names));
    while let Some(bytes) = bytes.next().await {
        let bytes = bytes.map_err(&failed)?;
        file.write_all(&bytes).map_err(of_file(&path))?;
        shown.add(bytes.len() as u64);
    }
    shown.end();
    Ok((path, file))
}

fn of_file(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path: path.clone(), source }
}

async fn push_one(
    context: &Context,
    file: &File,
    path: &Path,
    name: &str,
    image: &SavedImage,
) -> Result<Image, Error> {
    let missing = find_missing(context, &image.contents).await?;
    let bytes: u64 = missing.iter().map(|(content, offset)| content.size - offset).sum();
    if !context.quiet {
        let there = image.contents.len() - missing.len();
        eprintln!(
            "{name}: {there} of {} parts are there, {} to send",
            image.contents.len(),
            HumanBytes(bytes)
        );
    }
    let shown = Bar::new(context, bytes, name);
    for (content, offset) in missing {
        send(context, file, path, content, offset, &shown).await?;
    }
    shown.end();
    let request = PushImageRequest { name: name.to_owned(), manifest: image.manifest.to_json() };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ImageServiceClient::new(channel).push_image(request).await
        })
        .await?;
    super::required(answer.image, "image")
}

/// What the controller lacks, and from which byte on.
async fn find_missing<'a>(
    context: &Context,
    contents: &'a [Content],
) -> Result<Vec<(&'a Content, u64)>, Error> {
    let request = FindMissingContentRequest { content: contents.iter().map(wire).collect() };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ImageServiceClient::new(channel).find_missing_content(request).await
        })
        .await?;
    let mut missing = Vec::with_capacity(answer.missing.len());
    for one in answer.missing {
        let asked = contents.iter().find(|asked| asked.digest.as_str() == one.digest);
        let offset = u64::try_from(one.offset).ok();
        let found = asked.zip(offset).filter(|(asked, offset)| *offset <= asked.size);
        missing.push(found.ok_or_else(|| Error::Answer(format!("nobody asked for {}", one.digest)))?);
    }
    Ok(missing)
}

fn wire(content: &Content) -> ImageContent {
    let size_bytes = i64::try_from(content.size).unwrap_or(i64::MAX);
    ImageContent { digest: content.digest.to_string(), size_bytes }
}

/// Uploads content; goes on where it ended when the way to the controller breaks.
async fn send(
    context: &Context,
    file: &File,
    path: &Path,
    piece: &Content,
    mut offset: u64,
    shown: &Bar,
) -> Result<(), Error> {
    for attempt in 1.. {
        let error = match upload(context, file, path, piece, offset, shown).await {
            Ok(true) => return Ok(()),
            Ok(false) => Error::Answer(format!("the controller has not taken all of {}", piece.digest)),
            Err(error) => error,
        };
        if attempt == TRIES || !is_broken(&error) {
            return Err(error);
        }
        if !context.quiet {
            eprintln!("the upload broke ({error}); going on");
        }
        tokio::time::sleep(PAUSE).await;
        match find_missing(context, std::slice::from_ref(piece)).await?.first() {
            Some((_, there)) => offset = *there,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Whether the same upload may succeed from another byte on.
fn is_broken(error: &Error) -> bool {
    match error {
        Error::Status(status) => {
            matches!(status.code(), Code::Unavailable | Code::Aborted | Code::Cancelled | Code::Unknown)
        }
        Error::Unreachable { .. } => true,
        _ => false,
    }
}

async fn upload(
    context: &Context,
    file: &File,
    path: &Path,
    piece: &Content,
    offset: u64,
    shown: &Bar,
) -> Result<bool, Error> {
    let start = UploadStart { content: Some(wire(piece)), offset: i64::try_from(offset).unwrap_or(i64::MAX) };
    let end = piece.begins + piece.size;
    let answer = context
        .client
        .call_long(UPLOAD, (), |channel, request: Request<()>| {
            let (metadata, extensions, ()) = request.into_parts();
            let opened = file.try_clone();
            let (start, shown) = (start.clone(), shown.clone());
            async move {
                let mut file = opened?;
                file.seek(SeekFrom::Start(piece.begins + offset))?;
                let (out, messages) = mpsc::channel(AHEAD);
                let reading = read_into(file, end - piece.begins - offset, start, out, shown);
                let request = Request::from_parts(metadata, extensions, ReceiverStream::new(messages));
                let mut client = ImageServiceClient::new(channel);
                let mut call = std::pin::pin!(client.upload_content(request));
                tokio::select! {
                    answer = &mut call => answer,
                    // A file that cannot be read ends the upload; its error is the one to show.
                    read = reading => {
                        read?;
                        call.await
                    }
                }
            }
        })
        .await
        .map_err(|error| match error {
            Error::Status(status) if status.code() == Code::DataLoss => {
                Error::File { path: path.to_owned(), source: io::Error::other(status.message().to_owned()) }
            }
            other => other,
        })?;
    Ok(answer.complete)
}

/// Reads `left` bytes of a file into messages. Ends early if nobody takes them.
async fn read_into(
    mut file: File,
    mut left: u64,
    start: UploadStart,
    out: mpsc::Sender<UploadContentRequest>,
    shown: Bar,
) -> Result<(), tonic::Status> {
    let first = UploadContentRequest { part: Some(Part::Start(start)) };
    if out.send(first).await.is_err() {
        return Ok(());
    }
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(IMAGE_CHUNK_BYTES);
        let mut chunk = vec![0; wanted];
        file.read_exact(&mut chunk).map_err(|error| tonic::Status::data_loss(error.to_string()))?;
        left -= wanted as u64;
        let message = UploadContentRequest { part: Some(Part::Chunk(chunk)) };
        if out.send(message).await.is_err() {
            return Ok(());
        }
        shown.add(wanted as u64);
    }
    Ok(())
}

/// A bar on stderr, if that is a terminal.
#[derive(Clone)]
struct Bar(ProgressBar);

impl Bar {
    fn new(context: &Context, bytes: u64, what: &str) -> Self {
        if context.quiet {
            return Self(ProgressBar::hidden());
        }
        let template = if bytes > 0 {
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}"
        } else {
            "{msg} {spinner} {bytes} {bytes_per_sec}"
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::new(bytes).with_style(style).with_message(crate::output::clean(what)))
    }

    fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

async fn list(context: &Context) -> Result<(), Error> {
    let mut all = ListImagesResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListImagesRequest { page_size: PAGE, page_token };
        let page = context
            .client
            .call(request, |channel, request| async move {
                ImageServiceClient::new(channel).list_images(request).await
            })
            .await?;
        all.images.extend(page.images);
        all.kept_bytes = page.kept_bytes;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    context.output.answer("ListImagesResponse", &all, |all| shown(all, context.output.is_wide()))
}

fn shown(all: &ListImagesResponse, wide: bool) -> String {
    let header = ["NAME", "PLATFORM", "SIZE", "OWN", "PROJECTS", "RELEASES", "PUSHED"];
    let none = "no images; push some: supalove images push NAME:TAG";
    let table = if wide {
        let rows = all
            .images
            .iter()
            .map(|image| joined(row(image), [image.config_digest.clone(), image.digest.clone()]));
        table::rows::<9>(joined(header, ["ID", "MANIFEST"]), rows.collect(), none)
    } else {
        table::rows(header, all.images.iter().map(row).collect(), none)
    };
    let mut lines = vec![table];
    let damaged = all.images.iter().filter(|image| image.damaged);
    lines.extend(damaged.map(|image| {
        let name = crate::output::clean(&image.name);
        format!("{name}: some of its content is damaged in the image store; push it again")
    }));
    if !all.images.is_empty() {
        lines.push(format!("{} are kept in all", bytes(all.kept_bytes)));
    }
    lines.join("\n")
}

fn row(image: &Image) -> [String; 7] {
    [
        image.name.clone(),
        format!("{}/{}", image.os, image.architecture),
        bytes(image.size_bytes),
        bytes(image.own_bytes),
        image.projects.to_string(),
        image.releases.join(", "),
        table::time(image.push_time.as_ref()),
    ]
}

fn bytes(number: i64) -> String {
    HumanBytes(number.unsigned_abs()).to_string()
}

async fn delete(context: &Context, arguments: Delete) -> Result<(), Error> {
    let Delete { name, architecture, allow_in_use, yes } = arguments;
    if !yes {
        confirm::type_to_confirm(
            "Hosts that lack the image can no longer get it from the controller.",
            &name,
        )?;
    }
    let answer = context
        .client
        .call_once(DeleteImageRequest { name, architecture, allow_in_use }, |channel, request| async move {
            ImageServiceClient::new(channel).delete_image(request).await
        })
        .await?;
    context.output.answer("DeleteImageResponse", &answer, |answer| {
        let line = |image: &Image| format!("{} ({}/{}) is deleted", image.name, image.os, image.architecture);
        let mut lines: Vec<String> = answer.images.iter().map(line).collect();
        lines.push("its content goes an hour after it was last needed".into());
        lines.join("\n")
    })
}

async fn gc(context: &Context, dry_run: bool) -> Result<(), Error> {
    let answer = context
        .client
        .call(CollectImageGarbageRequest { dry_run }, |channel, request| async move {
            ImageServiceClient::new(channel).collect_image_garbage(request).await
        })
        .await?;
    context.output.answer("CollectImageGarbageResponse", &answer, |answer| {
        let verb = if dry_run { "would be removed" } else { "are removed" };
        let mut lines: Vec<String> =
            answer.removed.iter().map(|one| format!("{}  {}", one.digest, bytes(one.size_bytes))).collect();
        lines.push(format!(
            "{} parts of images ({}) {verb}",
            answer.removed.len(),
            bytes(answer.removed_bytes)
        ));
        if answer.uploads > 0 {
            lines.push(format!("{} uploads that were given up {verb}", answer.uploads));
        }
        if answer.recent > 0 {
            lines.push(format!(
                "{} parts that no image needs stay: they were pushed or fetched within the last hour",
                answer.recent
            ));
        }
        lines.join("\n")
    })
}
