//! The release `supabase-2025.12` on a real engine. Here is what its tests share: the engine's images, its
//! containers, what they should be, and releases that are broken on purpose.

mod breaks;
mod containers;
mod expected;
mod gateway;
mod release;
mod settings;

use supalove_system_tests::docker;

/// The release.
const RELEASE: &str = "supabase-2025.12";
/// Its newest successor, with the same images.
const NEWEST: &str = "supabase-2025.12-3";
/// Its services.
const SERVICES: [&str; 7] = ["api", "auth", "functions", "gateway", "postgres", "realtime", "storage"];

/// The label of every test image.
const LABEL: &str = "{{ index .Config.Labels \"supalove.stand-in\" }}";

/// Panics unless the engine has every image of the release.
fn require_images() {
    for service in SERVICES {
        let image = expected::image(service);
        let listed = docker(None, &["images", "--quiet", &image]);
        assert!(!listed.is_empty(), "there is no {image}; run the tests with `make test`");
    }
}

/// Whether the image of this service is a test image. The answers of a real one are for other tests.
fn is_stand_in(service: &str) -> bool {
    docker(None, &["image", "inspect", "--format", LABEL, &expected::image(service)]) == "true"
}
