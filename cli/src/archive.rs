//! Reads what `docker save` writes, of old and new engines. In: a tar file. Out: its images, with where in the file their content
//! is and its sha256. Nothing is unpacked.
//!
//! An archive has `manifest.json`: for each image its configuration, names, and layers, as paths in the archive. Old engines
//! write a layer that several images share once, and links to it.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
    path::{Component, Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use serde::Deserialize;
use supalove_spec::{
    image::{Compression, Digest, Manifest, kept_name},
    limits::{IMAGE_CONFIG_BYTES, IMAGE_LAYER_BYTES, IMAGE_LAYERS},
};

/// Entries of an archive: more than any set of images has.
const ENTRIES: usize = 100_000;
/// Bytes of `manifest.json`.
const INDEX_BYTES: u64 = 4 * 1024 * 1024;
/// Links that are followed.
const LINKS: usize = 8;
const INDEX: &str = "manifest.json";

/// Why a file is no archive of images.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read, or is no tar.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is a tar without images.
    #[error("it has no manifest.json: make it with `docker save NAME…`")]
    NoIndex,
    /// `manifest.json` is not what engines write.
    #[error("its manifest.json is malformed: {0}")]
    Index(#[from] serde_json::Error),
    /// `manifest.json` names something else.
    #[error("it has no file {0}, which its manifest.json names")]
    Missing(String),
    /// There is too much of something.
    #[error("{what} in it is too large: {bytes}, and the maximum is {most}")]
    TooLarge {
        /// What.
        what: String,
        /// Bytes, or a number.
        bytes: u64,
        /// The maximum.
        most: u64,
    },
}

/// A piece of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its sha256.
    pub digest: Digest,
    /// First byte in the file.
    pub begins: u64,
    /// Its bytes.
    pub size: u64,
    compression: Compression,
}

/// An image of the archive.
#[derive(Debug, Clone)]
pub struct SavedImage {
    /// Names and tags.
    pub names: Vec<String>,
    /// Configuration and layers.
    pub contents: Vec<Content>,
    /// What the image consists of.
    pub manifest: Manifest,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// What is at a path of the archive.
#[derive(Debug, Clone)]
enum Place {
    File { begins: u64, size: u64 },
    Link(PathBuf),
}

/// Reads the images of an archive.
pub fn read(file: &mut File) -> Result<Vec<SavedImage>, ArchiveError> {
    let places = places(file)?;
    let index = content_at(&places, INDEX).map_err(|_| ArchiveError::NoIndex)?;
    let entries: Vec<Entry> = serde_json::from_slice(&bytes(file, index, INDEX, INDEX_BYTES)?)?;
    let mut known = HashMap::new();
    entries.into_iter().map(|entry| image(file, &places, &mut known, entry)).collect()
}

fn image(
    file: &mut File,
    places: &HashMap<PathBuf, Place>,
    known: &mut HashMap<u64, Content>,
    entry: Entry,
) -> Result<SavedImage, ArchiveError> {
    if entry.layers.len() > IMAGE_LAYERS {
        let (what, bytes) = ("the number of layers of an image".to_owned(), entry.layers.len() as u64);
        return Err(ArchiveError::TooLarge { what, bytes, most: IMAGE_LAYERS as u64 });
    }
    let mut content = |path: &str, most: u64| {
        let place = content_at(places, path)?;
        if place.1 > most {
            return Err(ArchiveError::TooLarge { what: path.to_owned(), bytes: place.1, most });
        }
        if let Some(content) = known.get(&place.0) {
            return Ok(content.clone());
        }
        let content = hashed(file, place)?;
        known.insert(place.0, content.clone());
        Ok(content)
    };
    let config = content(&entry.config, IMAGE_CONFIG_BYTES)?;
    let layers: Vec<Content> =
        entry.layers.iter().map(|path| content(path, IMAGE_LAYER_BYTES)).collect::<Result<_, _>>()?;
    let manifest = Manifest::new(
        (config.digest.clone(), config.size),
        layers.iter().map(|layer| (layer.digest.clone(), layer.size, layer.compression)),
    );
    let mut contents = vec![config];
    for layer in layers {
        if !contents.iter().any(|known| known.digest == layer.digest) {
            contents.push(layer);
        }
    }
    let names = entry.repo_tags.unwrap_or_default();
    Ok(SavedImage { names, contents, manifest })
}

impl SavedImage {
    /// True if the image has this name.
    pub fn is_named(&self, name: &str) -> bool {
        let wanted = kept_name(name);
        wanted.is_some() && self.names.iter().any(|own| kept_name(own) == wanted)
    }
}

fn places(file: &mut File) -> Result<HashMap<PathBuf, Place>, ArchiveError> {
    file.rewind()?;
    let mut places = HashMap::new();
    for entry in tar::Archive::new(file).entries_with_seek()? {
        let entry = entry?;
        let Some(path) = inside(&entry.path()?) else { continue };
        let place = match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                Place::File { begins: entry.raw_file_position(), size: entry.size() }
            }
            tar::EntryType::Symlink | tar::EntryType::Link => {
                let Some(target) = entry.link_name()? else { continue };
                // A symbolic link is relative to its folder, a hard one to the archive.
                let is_symbolic = entry.header().entry_type() == tar::EntryType::Symlink;
                let base = path.parent().filter(|_| is_symbolic).unwrap_or(Path::new(""));
                let Some(target) = inside(&base.join(target)) else { continue };
                Place::Link(target)
            }
            _ => continue,
        };
        places.insert(path, place);
        if places.len() > ENTRIES {
            let what = "the number of files".to_owned();
            return Err(ArchiveError::TooLarge { what, bytes: places.len() as u64, most: ENTRIES as u64 });
        }
    }
    Ok(places)
}

/// A path without `.` and `..`; `None` if it leads out of the archive.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::CurDir => {}
            Component::ParentDir => {
                if !clean.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

/// First byte and size of what is at a path.
fn content_at(places: &HashMap<PathBuf, Place>, path: &str) -> Result<(u64, u64), ArchiveError> {
    let missing = || ArchiveError::Missing(path.to_owned());
    let mut at = inside(Path::new(path)).ok_or_else(missing)?;
    for _ in 0..=LINKS {
        match places.get(&at) {
            Some(Place::File { begins, size }) => return Ok((*begins, *size)),
            Some(Place::Link(target)) => at.clone_from(target),
            None => return Err(missing()),
        }
    }
    Err(missing())
}

fn bytes(file: &mut File, place: (u64, u64), what: &str, most: u64) -> Result<Vec<u8>, ArchiveError> {
    if place.1 > most {
        return Err(ArchiveError::TooLarge { what: what.to_owned(), bytes: place.1, most });
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(place.0))?;
    file.take(place.1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn hashed(file: &mut File, (begins, size): (u64, u64)) -> Result<Content, ArchiveError> {
    file.seek(SeekFrom::Start(begins))?;
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 18];
    let mut left = size;
    let mut compression = None;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact(&mut buffer[..wanted])?;
        compression.get_or_insert_with(|| Compression::of(&buffer[..wanted]));
        hash.update(&buffer[..wanted]);
        left -= wanted as u64;
    }
    let digest = Digest::from_sha256(hash.finish().as_ref());
    Ok(Content { digest, begins, size, compression: compression.unwrap_or(Compression::None) })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// An archive as an old engine writes it: the second image has a link to the first one's layer.
    pub fn old_engine() -> Vec<u8> {
        let index = r#"[{"Config":"c.json","RepoTags":["supalove/a:1"],"Layers":["one/layer.tar"]},
            {"Config":"c.json","RepoTags":null,"Layers":["two/layer.tar"]}]"#;
        let mut archive = tar::Builder::new(Vec::new());
        for (path, text) in [("c.json", "{}"), ("one/layer.tar", "layer"), (INDEX, index)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            archive.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, "two/layer.tar", "../one/layer.tar").unwrap();
        archive.into_inner().unwrap()
    }

    pub fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn images_of_an_archive_are_found_with_their_content() {
        let mut file = file_of(&old_engine());
        let images = read(&mut file).unwrap();
        assert_eq!(images.len(), 2);
        assert!(images[0].is_named("docker.io/supalove/a:1") && !images[0].is_named("supalove/a"));
        assert!(images[1].names.is_empty());
        assert_eq!(images[0].contents, images[1].contents, "a link is the file that it names");
        let layer = &images[0].contents[1];
        assert_eq!(bytes(&mut file, (layer.begins, layer.size), "", 100).unwrap(), b"layer");
        assert_eq!(images[0].manifest.layers[0].digest, layer.digest);
    }

    #[test]
    fn what_is_no_archive_of_images_is_refused_with_a_reason() {
        assert!(matches!(read(&mut file_of(b"")), Err(ArchiveError::NoIndex)));
        let mut archive = tar::Builder::new(Vec::new());
        let index = r#"[{"Config":"../c.json","Layers":[]}]"#;
        let mut header = tar::Header::new_gnu();
        header.set_size(index.len() as u64);
        archive.append_data(&mut header, INDEX, index.as_bytes()).unwrap();
        let refused = read(&mut file_of(&archive.into_inner().unwrap())).unwrap_err();
        assert!(refused.to_string().contains("../c.json"), "{refused}");
    }
}

/// Fuzz target of archives: a file may come from anywhere.
#[cfg(test)]
mod fuzz {
    use supalove_fuzz::{Samples, Verdict, bytes};

    use super::{
        tests::{file_of, old_engine},
        *,
    };

    #[test]
    fn archives_of_images() {
        let sample = old_engine();
        let samples = Samples::new([sample.as_slice()]).words(["\"Layers\":[", "layer.tar", "../", "ustar"]);
        bytes("archives of images", &samples, |input| {
            let Ok(images) = read(&mut file_of(input)) else { return Verdict::Refused };
            for content in images.iter().flat_map(|image| &image.contents) {
                assert!(content.begins + content.size <= input.len() as u64, "content lies in the file");
            }
            Verdict::Accepted
        });
    }
}
