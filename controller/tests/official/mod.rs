//! What the test of the official release needs: the engine's images, its containers, what they should be, and releases
//! that are broken on purpose.

pub mod breaks;
pub mod containers;
pub mod expected;

use crate::support::docker;

/// The label of every test image.
const LABEL: &str = "{{ index .Config.Labels \"supalove.stand-in\" }}";

/// Panics unless the engine has every image of the release.
pub fn require_images() {
    for service in crate::SERVICES {
        let image = expected::image(service);
        let listed = docker(None, &["images", "--quiet", &image]);
        assert!(!listed.is_empty(), "there is no {image}; run the tests with `make test`");
    }
}

/// Whether the image of this service is a test image. The answers of a real one are for other tests.
pub fn is_stand_in(service: &str) -> bool {
    docker(None, &["image", "inspect", "--format", LABEL, &expected::image(service)]) == "true"
}
