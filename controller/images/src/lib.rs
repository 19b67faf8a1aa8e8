//! Images that the controller keeps for hosts that reach no registry: operators push them, agents fetch them over their bulk
//! connections before they ask a registry.
//!
//! Content (configurations and layers) is known by its sha256. Its bytes are objects of the image store ([`objects`]); rows say
//! what is there and which image needs it ([`store`]), so that all replicas agree, and nothing that is half written is ever
//! seen. [`upload`] takes content in and checks it, [`provide`] gives it to agents, [`garbage`] removes what nobody needs.

#![allow(missing_docs, reason = "a room's crate: a comment is written where it says something")]

mod api;
mod garbage;
mod objects;
mod owner;
mod provide;
mod rules;
mod store;
mod upload;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use supalove_core::{
    Core, Room,
    error::Result,
    jobs::{Job, Rhythm::Every},
};
use supalove_fleet::{Fleet, SessionHandler};
use supalove_proto::v1::image_service_server::ImageServiceServer;
use supalove_spec::image::kept_name;
use supalove_stack::Releases;
use tokio::sync::Semaphore;

use self::{api::ImageApi, objects::Objects, provide::Provider};

pub use rules::RULES;

/// Content that no image needs stays for this long after somebody pushed or fetched it.
const RECENT: Duration = Duration::from_hours(1);
/// An upload to which nothing was added for this long is given up; objects without a row are removed after it.
const GIVEN_UP: Duration = Duration::from_hours(24);
/// How often garbage is collected.
const COLLECT: Duration = Duration::from_hours(1);
/// Uploads at once: each holds one part in memory.
const UPLOADS: usize = 8;

/// Why the image store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot use the folder of images {path}: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("cannot use the folder of images {path}: {source}")]
    Store { path: PathBuf, source: object_store::Error },
    #[error("cannot use the folder of images {path}: {error}")]
    Objects { path: PathBuf, error: String },
    #[error(
        "the folder of images {path} belongs to the fleet {owner}, and this is a controller of the fleet {fleet}: give it a folder of its own \
         with --images-dir"
    )]
    Foreign { path: PathBuf, owner: String, fleet: String },
    #[error(
        "the folder of images {path} has images of which the database of this fleet knows none: give the controller a folder of its own with \
         --images-dir, or write the fleet's id {fleet} into {file} if they may be deleted as garbage"
    )]
    Unknown { path: PathBuf, file: PathBuf, fleet: String },
}

/// The room. Cheap to clone.
#[derive(Clone)]
pub struct Images {
    core: Core,
    objects: Objects,
    /// Names of images, with the releases that name them.
    releases: Arc<BTreeMap<String, Vec<String>>>,
    uploads: Arc<Semaphore>,
}

/// Opens the room on a folder of this fleet, which is created if it is missing.
pub async fn open(core: &Core, folder: &Path, releases: &Releases) -> Result<Images, OpenError> {
    let objects = Objects::open(folder)?;
    owner::claim(core, &objects).await?;
    Ok(Images {
        core: core.clone(),
        objects,
        releases: Arc::new(images_of(releases)),
        uploads: Arc::new(Semaphore::new(UPLOADS)),
    })
}

fn images_of(releases: &Releases) -> BTreeMap<String, Vec<String>> {
    let mut images = BTreeMap::<String, Vec<String>>::new();
    for release in releases.names().filter_map(|name| releases.get(name)) {
        for name in release.images().filter_map(|(_, image)| kept_name(image)) {
            let of_image = images.entry(name).or_default();
            if !of_image.iter().any(|known| known == release.name()) {
                of_image.push(release.name().to_owned());
            }
        }
    }
    images
}

impl Images {
    /// What the server mounts.
    pub fn room(&self) -> Room {
        let images = Self { core: self.core.for_work(), ..self.clone() };
        Room::new("images", RULES).service(ImageServiceServer::new(ImageApi::new(self.clone()))).job(
            Job::leased("images.collect", Every(COLLECT), move |_| {
                let images = images.clone();
                async move {
                    let mut write = images.core.system_write("images.collect");
                    let found = garbage::mark(&mut write).await?;
                    write.commit([]).await?;
                    garbage::remove(&images, &found).await;
                    garbage::remove_orphans(&images).await
                }
            }),
        )
    }

    /// Returns the handler of nodes' sessions: it gives agents the images that they lack.
    pub fn session_handler(&self, fleet: &Fleet) -> Arc<dyn SessionHandler> {
        let images = Self { core: self.core.for_work(), ..self.clone() };
        Arc::new(Provider::new(images, fleet))
    }

    /// Releases that name an image.
    fn releases_of(&self, name: &str) -> &[String] {
        self.releases.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_know_the_releases_that_name_them() {
        let images = images_of(&Releases::embedded().unwrap());
        assert_eq!(images["supalove/postgres:15-2"], ["core-2", "core-3"]);
        assert_eq!(images["supalove/functions:2-1"], ["core", "core-2", "core-3"]);
    }
}
