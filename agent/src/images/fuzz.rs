//! Fuzz target of what a controller says about an image: its manifest, whose layers become the archive that the engine loads, or
//! that it keeps none.

use std::path::{Path, PathBuf};

use prost::Message as _;
use supalove_fuzz::{Samples, Verdict, bytes};
use supalove_proto::node::v1::{
    ImageAbsence, ImageOffer, ProvideImageRequest, RegistryCredentials, provide_image_request::Part,
};
use supalove_spec::image::{Compression, Digest, Manifest, Platform};
use supalove_spec::limits::IMAGE_LAYERS;

use super::archive::Archive;
use super::fetch::{check_digest, not_kept};
use super::{Answer, NotFetched};

fn samples() -> Samples {
    let digest = |n: u8| Digest::from_sha256(&[n; 32]);
    let layers = [(digest(2), 10, Compression::None), (digest(3), 600, Compression::Gzip)];
    let manifest = Manifest::new((digest(1), 100), layers).to_json();
    let offer = ImageOffer { number: 1, manifest_digest: digest(9).to_string(), manifest };
    let absence = ImageAbsence {
        number: 2,
        platforms: vec!["linux/arm64".into()],
        credentials: Some(RegistryCredentials {
            registry: "registry.example.com".into(),
            username: "puller".into(),
            password: "a password".into(),
        }),
    };
    let message = |part| ProvideImageRequest { part: Some(part) }.encode_to_vec();
    Samples::new([message(Part::Offer(offer)), message(Part::Absence(absence))]).words([
        &b"\"size\":18446744073709551615"[..],
        b"\"layers\":[",
        b"sha256:../",
        b"\x1b[2J",
    ])
}

#[test]
fn answers_about_images() {
    let host = Platform::of_host("linux", "x86_64");
    bytes("answers about images", &samples(), |input| {
        let Ok(message) = ProvideImageRequest::decode(input) else { return Verdict::Refused };
        let Some((_, answer)) = Answer::first(message.part) else { return Verdict::Refused };
        let offer = match answer {
            Ok(offer) => offer,
            Err(absence) => {
                let shown = not_kept(&absence, &host).to_string();
                assert!(shown.len() < 4 * 1024 && !shown.contains(char::is_control), "{shown}");
                return Verdict::Accepted;
            }
        };
        let Ok(manifest) = Manifest::parse(&offer.manifest) else { return Verdict::Refused };
        let inside = |path: PathBuf| {
            assert_eq!(path.parent(), Some(Path::new("/contents")), "a digest is the name of a file");
            path
        };
        let archive =
            Archive::new("a/b:1", &manifest, |blob| inside(Path::new("/contents").join(blob.digest.hex())));
        let archive = archive.expect("a manifest that is right has an archive");
        assert!(archive.length >= manifest.size() && archive.length.is_multiple_of(512));
        let most = manifest.size() + 1024 * (IMAGE_LAYERS as u64 + 2) + offer.manifest.len() as u64 + 4096;
        assert!(archive.length <= most, "{} of at most {most}", archive.length);
        Verdict::Accepted
    });
}

#[test]
fn an_offer_whose_digest_is_another_is_refused() {
    let manifest = b"{}".to_vec();
    let offer = ImageOffer { number: 1, manifest_digest: format!("sha256:{}", "0".repeat(64)), manifest };
    assert!(check_digest(&offer).is_err());
    assert!(matches!(
        not_kept(&ImageAbsence::default(), &Platform::of_host("linux", "x86_64")),
        NotFetched::NotKept
    ));
}
