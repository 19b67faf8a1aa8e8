//! The archive that an engine loads: what `docker save` writes, made of content on disk while it is sent.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use supalove_spec::image::{Blob, Manifest};
use tokio_util::io::ReaderStream;

/// Bytes that are read at once.
const READ: usize = 256 * 1024;
/// Entries of an archive begin at multiples of this, and it ends with two empty ones.
const BLOCK: u64 = 512;
/// Those two.
const END: usize = 1024;

/// A piece of the archive.
#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    File(PathBuf),
}

/// An archive: its pieces in order, and its length.
#[derive(Debug)]
pub struct Archive {
    pieces: Vec<Piece>,
    pub length: u64,
}

impl Archive {
    /// Of an image with this name, whose content lies at these paths.
    pub fn new(name: &str, manifest: &Manifest, path: impl Fn(&Blob) -> PathBuf) -> io::Result<Self> {
        let mut archive = Self { pieces: Vec::new(), length: 0 };
        for blob in manifest.blobs() {
            let is_config = blob.digest == manifest.config.digest;
            archive.file(&entry(blob, is_config), blob.size, path(blob))?;
        }
        let layers: Vec<String> = manifest.layers.iter().map(|layer| entry(layer, false)).collect();
        let index = serde_json::json!([{
            "Config": entry(&manifest.config, true), "RepoTags": [name], "Layers": layers,
        }]);
        archive.bytes("manifest.json", index.to_string().into())?;
        archive.add(Bytes::from(vec![0; END]));
        Ok(archive)
    }

    fn bytes(&mut self, name: &str, bytes: Bytes) -> io::Result<()> {
        let length = bytes.len() as u64;
        self.header(name, length)?;
        self.add(bytes);
        self.pad(length);
        Ok(())
    }

    fn file(&mut self, name: &str, size: u64, path: PathBuf) -> io::Result<()> {
        self.header(name, size)?;
        self.pieces.push(Piece::File(path));
        self.length += size;
        self.pad(size);
        Ok(())
    }

    fn header(&mut self, name: &str, size: u64) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_path(Path::new(name))?;
        header.set_size(size);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        self.add(Bytes::copy_from_slice(header.as_bytes()));
        Ok(())
    }

    fn pad(&mut self, length: u64) {
        let rest = usize::try_from(length.next_multiple_of(BLOCK) - length).unwrap_or_default();
        self.add(Bytes::from(vec![0; rest]));
    }

    fn add(&mut self, bytes: Bytes) {
        self.length += bytes.len() as u64;
        self.pieces.push(Piece::Bytes(bytes));
    }

    /// The bytes of the archive.
    pub fn stream(self) -> BoxStream<'static, io::Result<Bytes>> {
        let opened = stream::iter(self.pieces).then(|piece| async {
            Ok::<_, io::Error>(match piece {
                Piece::Bytes(bytes) => stream::once(async { Ok(bytes) }).boxed(),
                Piece::File(path) => {
                    ReaderStream::with_capacity(tokio::fs::File::open(path).await?, READ).boxed()
                }
            })
        });
        opened.try_flatten().boxed()
    }
}

/// Name of content in the archive.
fn entry(blob: &Blob, is_config: bool) -> String {
    let extension = if is_config { "json" } else { "tar" };
    format!("{}.{extension}", blob.digest.hex())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use supalove_spec::image::{Compression, Digest};

    use super::*;

    #[tokio::test]
    async fn an_archive_holds_each_content_once_and_names_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let digest = |n: u8| Digest::from_sha256(&[n; 32]);
        let layer = "x".repeat(700);
        for (at, bytes) in [(1u8, "config"), (2, layer.as_str())] {
            std::fs::write(dir.path().join(digest(at).hex()), bytes).unwrap();
        }
        let manifest = Manifest::new(
            (digest(1), 6),
            [(digest(2), 700, Compression::None), (digest(2), 700, Compression::None)],
        );
        let archive =
            Archive::new("supalove/x:1", &manifest, |blob| dir.path().join(blob.digest.hex())).unwrap();
        let length = archive.length;
        let bytes: Vec<Bytes> = archive.stream().try_collect().await.unwrap();
        let bytes = bytes.concat();
        assert_eq!(bytes.len() as u64, length);
        let mut found = BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.insert(entry.path().unwrap().display().to_string(), text);
        }
        assert_eq!(found.len(), 3);
        assert_eq!(found[&format!("{}.tar", digest(2).hex())], layer);
        let index: serde_json::Value = serde_json::from_str(&found["manifest.json"]).unwrap();
        assert_eq!(index[0]["RepoTags"][0], "supalove/x:1");
        assert_eq!(index[0]["Layers"].as_array().unwrap().len(), 2, "a layer may be there twice");
        assert_eq!(index[0]["Config"], format!("{}.json", digest(1).hex()));
    }
}
