//! Registries: which one an image is of, and under which name credentials for it are kept. Controller and agent must agree on both,
//! and with the engine (github.com/distribution/reference).

use std::{fmt, str::FromStr};

use crate::names;

/// What the engine calls Docker Hub, of which images without a host are.
const DOCKER_HUB: &str = "docker.io";
/// Its other names.
const HUB_NAMES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];
/// Maximum length of a host with a port.
const MOST: usize = 260;

/// Longest username and longest password, in bytes. Tokens of cloud providers have a few KiB.
pub const USERNAME_BYTES: usize = 256;
/// See [`USERNAME_BYTES`].
pub const PASSWORD_BYTES: usize = 16 * 1024;

/// The host of a registry, with its port if images name one; in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Registry(String);

/// The text names no registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be the host of a registry as images name it, without \"https://\" and without a path: \"registry.example.com\", \
     \"localhost:5000\", or \"docker.io\" for images without a host"
)]
pub struct InvalidRegistry;

impl Registry {
    /// The registry that an image is of: its first part if that has a dot or a colon or is "localhost", else Docker Hub.
    /// `None` if the text is no reference of an image.
    pub fn of_image(image: &str) -> Option<Self> {
        if !names::is_image(image) {
            return None;
        }
        match image.split_once('/') {
            Some((host, _)) if names::is_registry(host) => host.parse().ok(),
            _ => Some(Self(DOCKER_HUB.to_owned())),
        }
    }

    /// The name for people, and for rows.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the engine takes for the address to which credentials belong.
    pub fn server_address(&self) -> String {
        if self.0 == DOCKER_HUB { "https://index.docker.io/v1/".to_owned() } else { self.0.clone() }
    }
}

impl FromStr for Registry {
    type Err = InvalidRegistry;

    fn from_str(text: &str) -> Result<Self, InvalidRegistry> {
        if text.len() > MOST || !names::is_registry(text) {
            return Err(InvalidRegistry);
        }
        let name = text.to_ascii_lowercase();
        Ok(Self(if HUB_NAMES.contains(&name.as_str()) { DOCKER_HUB.to_owned() } else { name }))
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks a username: it is half of a header of HTTP, which ends at the first colon.
pub fn is_username(text: &str) -> bool {
    (1..=USERNAME_BYTES).contains(&text.len())
        && crate::text::is_plain(text, USERNAME_BYTES)
        && !text.contains(':')
}

/// Checks a password or token.
pub fn is_password(text: &str) -> bool {
    (1..=PASSWORD_BYTES).contains(&text.len()) && !text.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_of_the_registry_that_docker_asks() {
        let digest = format!("registry.example.com/a/b:1@sha256:{}", "0".repeat(64));
        for (image, registry) in [
            ("nginx", "docker.io"),
            ("nginx:alpine", "docker.io"),
            ("supabase/postgres:15.8.1.085", "docker.io"),
            ("docker.io/library/nginx", "docker.io"),
            ("index.docker.io/a/b", "docker.io"),
            ("registry-1.docker.io/a/b", "docker.io"),
            ("localhost/a:1", "localhost"),
            ("localhost:5000/a:1", "localhost:5000"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000"),
            ("Registry.Example.com/a", "registry.example.com"),
            (digest.as_str(), "registry.example.com"),
            ("registry:5000/a", "registry:5000"),
            // No dot, no colon: a user of Docker Hub.
            ("registry/a", "docker.io"),
        ] {
            assert_eq!(
                Registry::of_image(image).map(|found| found.to_string()).as_deref(),
                Some(registry),
                "{image}"
            );
        }
        for none in ["", "--privileged", "https://registry.example.com/a", "a b"] {
            assert_eq!(Registry::of_image(none), None, "{none}");
        }
    }

    #[test]
    fn a_registry_is_named_as_images_name_it() {
        for (text, name) in
            [("Registry.Example.com:5000", "registry.example.com:5000"), ("index.docker.io", "docker.io")]
        {
            assert_eq!(text.parse::<Registry>().unwrap().as_str(), name);
        }
        for wrong in [
            "",
            "registry",
            "https://registry.example.com",
            "registry.example.com/",
            "a.b/c",
            "a.b:x",
            "a.b ",
            "a.b\n",
        ] {
            assert_eq!(wrong.parse::<Registry>(), Err(InvalidRegistry), "{wrong:?}");
        }
        assert_eq!("docker.io".parse::<Registry>().unwrap().server_address(), "https://index.docker.io/v1/");
        assert_eq!("localhost:5".parse::<Registry>().unwrap().server_address(), "localhost:5");
    }

    #[test]
    fn credentials_fit_a_header() {
        assert!(is_username("AWS") && is_username("ada@example.com"));
        for wrong in ["", "a:b", "a\nb", &"a".repeat(257)] {
            assert!(!is_username(wrong), "{wrong:?}");
        }
        assert!(is_password("{\n  \"type\": \"service_account\"\n}"));
        assert!(!is_password("") && !is_password("a\0") && !is_password(&"a".repeat(PASSWORD_BYTES + 1)));
    }
}

/// Fuzz target of what callers and agents call a registry or an image.
#[cfg(test)]
mod fuzz {
    use supalove_fuzz::{Samples, Verdict, text};

    use super::*;

    #[test]
    fn registries() {
        let samples =
            Samples::new(["registry.example.com:5000/a/b:1", "localhost:5000", "docker.io", "nginx:alpine"]);
        text(
            "registries",
            &samples.words(["https://", "@", "..", ":", "/", "localhost", "\u{1b}[2J"]),
            |input| {
                let named = input.parse::<Registry>();
                let of_image = Registry::of_image(input);
                for registry in named.iter().chain(&of_image) {
                    assert_eq!(registry.as_str().parse::<Registry>().as_ref(), Ok(registry), "one spelling");
                    assert!(registry.as_str().len() <= MOST);
                    assert!(
                        registry
                            .as_str()
                            .bytes()
                            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b':')),
                        "{registry}"
                    );
                }
                if named.is_ok() || of_image.is_some() { Verdict::Accepted } else { Verdict::Refused }
            },
        );
    }
}
