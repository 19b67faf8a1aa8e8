//! Images as controller, agent and CLI know them: content by its digest, and the manifest that names it (the format of OCI
//! images, <https://github.com/opencontainers/image-spec>). Everything here comes from files, callers or peers, and is checked.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::limits::{IMAGE_CONFIG_BYTES, IMAGE_LAYER_BYTES, IMAGE_LAYERS, IMAGE_MANIFEST_BYTES};

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const ALGORITHM: &str = "sha256:";

/// Why something is no part of an image that can be kept or loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Not a digest.
    #[error("a digest must be \"sha256:\" and 64 hex digits in lower case")]
    Digest,
    /// Not JSON of the expected shape.
    #[error("the {what} is not what OCI images have: {why}")]
    Malformed {
        /// Manifest or configuration.
        what: &'static str,
        /// The parser's words.
        why: String,
    },
    /// A limit is exceeded.
    #[error("the image has {what}; the maximum is {most}")]
    TooLarge {
        /// What there is too much of.
        what: String,
        /// The maximum.
        most: u64,
    },
    /// Manifest and configuration do not belong together.
    #[error("the manifest has {layers} layers, the configuration {diff_ids}")]
    Layers {
        /// Of the manifest.
        layers: usize,
        /// Of the configuration.
        diff_ids: usize,
    },
}

/// The sha256 of some content, as "sha256:…".
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// From the 32 bytes of a sha256.
    pub fn from_sha256(bytes: &[u8]) -> Self {
        use fmt::Write as _;
        let mut text = ALGORITHM.to_owned();
        for byte in bytes {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The whole text, "sha256:…".
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hex digits: safe as the name of a file.
    pub fn hex(&self) -> &str {
        &self.0[ALGORITHM.len()..]
    }

    /// The beginning of it, for people.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl FromStr for Digest {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let hex = text.strip_prefix(ALGORITHM).filter(|hex| hex.len() == 64);
        let valid = hex.is_some_and(|hex| hex.bytes().all(|b| matches!(b, b'a'..=b'f' | b'0'..=b'9')));
        if valid { Ok(Self(text.to_owned())) } else { Err(ImageError::Digest) }
    }
}

impl TryFrom<String> for Digest {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Some content of an image: its configuration, or a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob {
    #[serde(default)]
    media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

/// How a layer is compressed. The engine finds that out by itself; a manifest says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
    /// By zstd.
    Zstd,
}

impl Compression {
    /// By the first bytes of a layer.
    pub fn of(beginning: &[u8]) -> Self {
        match beginning {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// What an image consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    /// Its configuration.
    pub config: Blob,
    /// Its layers, lowest first.
    pub layers: Vec<Blob>,
}

impl Manifest {
    /// Of a configuration and layers, each with digest and bytes; lowest layer first.
    pub fn new(config: (Digest, u64), layers: impl IntoIterator<Item = (Digest, u64, Compression)>) -> Self {
        let layer = |(digest, size, compression)| Blob {
            media_type: match compression {
                Compression::None => LAYER_TYPE.to_owned(),
                Compression::Gzip => format!("{LAYER_TYPE}+gzip"),
                Compression::Zstd => format!("{LAYER_TYPE}+zstd"),
            },
            digest,
            size,
        };
        Self {
            schema_version: 2,
            media_type: MANIFEST_TYPE.to_owned(),
            config: Blob { media_type: CONFIG_TYPE.to_owned(), digest: config.0, size: config.1 },
            layers: layers.into_iter().map(layer).collect(),
        }
    }

    /// Reads a manifest. The error names what is wrong; an index of several platforms is no manifest.
    pub fn parse(json: &[u8]) -> Result<Self, ImageError> {
        within(json.len() as u64, IMAGE_MANIFEST_BYTES as u64, "a manifest")?;
        let manifest: Self = serde_json::from_slice(json)
            .map_err(|error| ImageError::Malformed { what: "manifest", why: error.to_string() })?;
        let layers = manifest.layers.len();
        if layers > IMAGE_LAYERS {
            return Err(ImageError::TooLarge { what: format!("{layers} layers"), most: IMAGE_LAYERS as u64 });
        }
        within(manifest.config.size, IMAGE_CONFIG_BYTES, "a configuration")?;
        for layer in &manifest.layers {
            within(layer.size, IMAGE_LAYER_BYTES, "a layer")?;
        }
        Ok(manifest)
    }

    /// As JSON: the same manifest has always the same bytes, and so the same digest.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The configuration and the layers; content that several layers share is there once.
    pub fn blobs(&self) -> Vec<&Blob> {
        let mut blobs: Vec<&Blob> = Vec::with_capacity(self.layers.len() + 1);
        for blob in std::iter::once(&self.config).chain(&self.layers) {
            if !blobs.iter().any(|known| known.digest == blob.digest) {
                blobs.push(blob);
            }
        }
        blobs
    }

    /// Bytes of all its content.
    pub fn size(&self) -> u64 {
        self.blobs().iter().fold(0, |sum, blob| sum.saturating_add(blob.size))
    }
}

fn within(bytes: u64, most: u64, what: &str) -> Result<(), ImageError> {
    if bytes > most {
        return Err(ImageError::TooLarge { what: format!("{what} of {bytes} bytes"), most });
    }
    Ok(())
}

/// The kind of machine that an image runs on, in the engine's words: "linux", "amd64".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// Operating system.
    pub os: String,
    /// Architecture, without its variant.
    pub architecture: String,
}

impl Platform {
    /// From what the host's engine or kernel says: it calls an architecture by another name than images do.
    pub fn of_host(os: &str, machine: &str) -> Self {
        let architecture = match machine {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { os: os.to_owned(), architecture: architecture.to_owned() }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// What of an image's configuration decides whether a host can run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The machines that it runs on.
    pub platform: Platform,
    /// Number of its layers.
    pub layers: usize,
}

#[derive(Deserialize)]
struct WireConfig {
    architecture: String,
    os: String,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

impl Config {
    /// Reads a configuration.
    pub fn parse(json: &[u8]) -> Result<Self, ImageError> {
        within(json.len() as u64, IMAGE_CONFIG_BYTES, "a configuration")?;
        let malformed = |why: String| ImageError::Malformed { what: "configuration", why };
        let config: WireConfig =
            serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))?;
        let word = |text: &str| {
            (1..=32).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if !word(&config.os) || !word(&config.architecture) {
            return Err(malformed("os and architecture must be words like linux and amd64".to_owned()));
        }
        let platform = Platform { os: config.os, architecture: config.architecture };
        Ok(Self { platform, layers: config.rootfs.diff_ids.len() })
    }

    /// Checks that it belongs to the manifest.
    pub fn check(&self, manifest: &Manifest) -> Result<(), ImageError> {
        if self.layers != manifest.layers.len() {
            return Err(ImageError::Layers { layers: manifest.layers.len(), diff_ids: self.layers });
        }
        Ok(())
    }
}

/// The name under which an image is kept and looked up: with a tag, and without the name of the public registry, which the engine
/// does not show either. `None` for a reference with a digest: an engine that loads an image does not know under which digest
/// a registry has it.
pub fn kept_name(reference: &str) -> Option<String> {
    if reference.contains('@') {
        return None;
    }
    let short = ["docker.io/library/", "docker.io/", "index.docker.io/"]
        .iter()
        .find_map(|registry| reference.strip_prefix(registry))
        .unwrap_or(reference);
    let tagged = crate::names::has_tag_or_digest(short);
    Some(if tagged { short.to_owned() } else { format!("{short}:latest") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest::from_sha256(&[n; 32])
    }

    fn manifest() -> Manifest {
        Manifest::new(
            (digest(1), 100),
            [
                (digest(2), 10, Compression::None),
                (digest(3), 20, Compression::Gzip),
                (digest(2), 10, Compression::None),
            ],
        )
    }

    #[test]
    fn a_manifest_is_the_same_again_after_it_was_written() {
        let json = manifest().to_json();
        assert_eq!(Manifest::parse(&json).unwrap(), manifest());
        assert_eq!(Manifest::parse(&json).unwrap().to_json(), json);
        assert_eq!(manifest().blobs().len(), 3, "shared content counts once");
        assert_eq!(manifest().size(), 130);
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_a_reason() {
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(Manifest::parse(index).unwrap_err().to_string().contains("config"));
        let huge = Manifest::new((digest(1), 1), [(digest(2), IMAGE_LAYER_BYTES + 1, Compression::None)]);
        assert!(matches!(Manifest::parse(&huge.to_json()), Err(ImageError::TooLarge { .. })));
        let layers = (0..=IMAGE_LAYERS).map(|_| (digest(2), 1, Compression::None));
        let many = Manifest::new((digest(1), 1), layers);
        assert!(matches!(Manifest::parse(&many.to_json()), Err(ImageError::TooLarge { .. })));
        let short = String::from_utf8(manifest().to_json()).unwrap().replacen("sha256:0101", "sha256:01", 1);
        assert!(matches!(Manifest::parse(short.as_bytes()), Err(ImageError::Malformed { .. })));
        for bad in ["", "sha256:", "sha512:00", &format!("sha256:{}", "A".repeat(64))] {
            assert_eq!(bad.parse::<Digest>(), Err(ImageError::Digest), "{bad}");
        }
    }

    #[test]
    fn a_configuration_says_on_which_machines_the_image_runs() {
        let json = format!(
            r#"{{"architecture":"arm64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            digest(2)
        );
        let config = Config::parse(json.as_bytes()).unwrap();
        assert_eq!(config.platform, Platform::of_host("linux", "aarch64"));
        assert!(matches!(config.check(&manifest()), Err(ImageError::Layers { layers: 3, diff_ids: 1 })));
        assert!(Config::parse(json.replace("arm64", "../x").as_bytes()).is_err());
    }

    #[test]
    fn an_image_has_one_name_however_it_is_referred_to() {
        for (reference, name) in [
            ("supalove/postgres:15-2", Some("supalove/postgres:15-2")),
            ("docker.io/supalove/postgres:15-2", Some("supalove/postgres:15-2")),
            ("docker.io/library/nginx", Some("nginx:latest")),
            ("registry.example:5000/a/b", Some("registry.example:5000/a/b:latest")),
            ("a/b@sha256:00", None),
        ] {
            assert_eq!(kept_name(reference).as_deref(), name, "{reference}");
        }
    }
}

/// Fuzz targets of what files and peers call an image.
#[cfg(test)]
mod fuzz {
    use supalove_fuzz::{Samples, Verdict, text};

    use super::*;

    fn digest(n: u8) -> Digest {
        Digest::from_sha256(&[n; 32])
    }

    fn manifest() -> Manifest {
        Manifest::new(
            (digest(1), 100),
            [(digest(2), 10, Compression::None), (digest(3), 20, Compression::Gzip)],
        )
    }

    #[test]
    fn manifests_of_peers() {
        let sample = String::from_utf8(manifest().to_json()).unwrap();
        let samples = Samples::new([sample.as_str(), r#"{"schemaVersion":2,"manifests":[]}"#]).words([
            "\"layers\":[",
            "\"config\":{",
            "\"size\":18446744073709551615",
            "\"digest\":\"sha256:",
        ]);
        text("manifests of images", &samples, |input| {
            let Ok(manifest) = Manifest::parse(input.as_bytes()) else { return Verdict::Refused };
            assert!(manifest.layers.len() <= IMAGE_LAYERS && manifest.config.size <= IMAGE_CONFIG_BYTES);
            for blob in manifest.blobs() {
                assert_eq!(blob.digest.hex().len(), 64);
                assert!(!blob.digest.hex().contains(['/', '.']), "a digest is the name of a file");
            }
            assert!(manifest.size() >= manifest.config.size);
            assert_eq!(Manifest::parse(&manifest.to_json()).unwrap(), manifest);
            Verdict::Accepted
        });
    }

    #[test]
    fn configurations_of_peers() {
        let sample = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            digest(2)
        );
        let samples =
            Samples::new([sample.as_str()]).words(["\"os\":\"../", "\"diff_ids\":[", "\"rootfs\":null"]);
        text("configurations of images", &samples, |input| {
            let Ok(config) = Config::parse(input.as_bytes()) else { return Verdict::Refused };
            let shown = config.platform.to_string();
            assert!(shown.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'/'), "{shown}");
            Verdict::Accepted
        });
    }
}
