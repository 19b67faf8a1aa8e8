//! Formats of the names in a specification. Code must check every text here before it becomes part of a path, a
//! container's name or a packet rule.

use crate::limits::NAME_CHARS;

/// A project's ref: 20 lowercase letters.
pub fn is_project_ref(text: &str) -> bool {
    text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// `[a-z0-9_-]`, 1 to `longest` characters, not beginning with a hyphen.
pub fn is_name(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// Name of a service: `[a-z0-9_-]{1,32}`.
pub fn is_service(text: &str) -> bool {
    is_name(text, NAME_CHARS)
}

/// Name of a volume: `[a-z0-9_]{1,32}`.
pub fn is_volume(text: &str) -> bool {
    is_name(text, NAME_CHARS) && !text.contains('-')
}

/// True for the volumes of a project's database, by whose size plans bound it.
pub fn is_database_volume(name: &str) -> bool {
    name.starts_with("db_")
}

/// A name on the project's network: labels of `[a-z0-9_-]` with dots between.
pub fn is_alias(text: &str) -> bool {
    text.len() <= 63 && text.split('.').all(|label| is_name(label, 63))
}

/// Name of an environment variable.
pub fn is_env_name(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'=')
}

/// An absolute path in a container, normalized, and not the root.
pub fn is_container_path(text: &str) -> bool {
    text.strip_prefix('/').is_some_and(is_relative_path)
}

/// A path below a directory: no empty, `.` or `..` part, no control characters, no colon (Docker's separator).
pub fn is_relative_path(text: &str) -> bool {
    text.len() <= 512
        && text.split('/').all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
        && !text.chars().any(|c| c.is_control() || c == ':' || c == '\\')
}

/// `user[:group]`, names or numbers; empty = the image's.
pub fn is_user(text: &str) -> bool {
    let part = |part: &str| {
        (1..=32).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    };
    text.is_empty() || {
        let mut parts = text.splitn(2, ':');
        parts.all(part)
    }
}

/// A signal as "SIGINT"; empty = the image's.
pub fn is_signal(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix("SIG").is_some_and(|name| {
            (1..=12).contains(&name.len())
                && name.bytes().all(|byte| {
                    byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-')
                })
        })
}

/// An image reference as `docker pull` takes it: `[host[:port]/]path[:tag][@algorithm:hex]`
/// (the grammar of github.com/distribution/reference).
pub fn is_image(text: &str) -> bool {
    if text.is_empty() || text.len() > 512 {
        return false;
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    is_image_name(path) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest)
}

/// True if the reference names a tag or a digest; without one the engine would pull every tag.
pub fn has_tag_or_digest(image: &str) -> bool {
    image.contains('@') || image.rsplit_once(':').is_some_and(|(_, tag)| !tag.contains('/'))
}

/// True for an image of the local set, `supalove/…`: each host builds or loads it, and no engine may pull it, since a
/// public registry would be asked for a name that anybody may have there.
pub fn is_local_image(image: &str) -> bool {
    const PUBLIC: [&str; 3] = ["docker.io/", "index.docker.io/", "registry-1.docker.io/"];
    PUBLIC.iter().find_map(|host| image.strip_prefix(host)).unwrap_or(image).starts_with("supalove/")
}

fn is_image_name(name: &str) -> bool {
    let mut parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 1 && is_registry(parts[0]) {
        parts.remove(0);
    }
    parts.into_iter().all(is_image_path_part)
}

pub(crate) fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, digits)) => (host, Some(digits)),
        None => (text, None),
    };
    let looks_like_host = host == "localhost" || host.contains('.') || port.is_some();
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    looks_like_host && host.split('.').all(is_label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_image_path_part(part: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    edge(part.bytes().next())
        && edge(part.bytes().last())
        && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'a'..=b'f' | b'0'..=b'9'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn local_images_are_known_under_each_name() {
        for local in [
            "supalove/postgres:15-1",
            "docker.io/supalove/postgres:15-1",
            "index.docker.io/supalove/gateway@sha256:00",
        ] {
            assert!(is_local_image(local), "{local}");
        }
        for other in ["supabase/postgres:15.8.1.085", "supalove", "registry.example/supalove/postgres:15-1"] {
            assert!(!is_local_image(other), "{other}");
        }
    }

    #[test]
    fn image_references() {
        let digest = format!("a/b@sha256:{}", "0".repeat(64));
        for good in [
            "nginx",
            "nginx:alpine",
            "supalove/postgres:15-1",
            "localhost:5000/a/b:1",
            "docker.io/library/x",
            "registry.example.org/a_b/c-d:v1.2_3",
            digest.as_str(),
        ] {
            assert!(is_image(good), "{good}");
        }
        for bad in [
            "",
            "A/b",
            "a b",
            "a:",
            ":a",
            "a//b",
            "/a",
            "a/",
            "../a",
            "a@sha256:00",
            "a:t\n",
            "--privileged",
            "a:-t",
            "localhost:x/a",
        ] {
            assert!(!is_image(bad), "{bad}");
        }
        assert!(has_tag_or_digest("a:1") && !has_tag_or_digest("localhost:5000/a"));
    }

    #[test]
    fn paths_stay_where_they_belong() {
        for good in ["/a", "/etc/nginx/conf.d", "/var/lib/postgresql/data"] {
            assert!(is_container_path(good), "{good}");
        }
        for bad in ["", "/", "a", "/a/", "//a", "/a/../b", "/a/./b", "/a:b", "/a\0", "/a\n", "/.."] {
            assert!(!is_container_path(bad), "{bad}");
        }
        assert!(is_relative_path("hello/index.ts"));
        for bad in ["", "/a", "a/../b", "..", "a//b", "a/"] {
            assert!(!is_relative_path(bad), "{bad}");
        }
    }

    #[test]
    fn other_names() {
        assert!(is_project_ref("abcdefghijklmnopqrst") && !is_project_ref("abcdefghijklmnopqrs1"));
        assert!(is_service("a-b_1") && !is_service("-a") && !is_service("A") && !is_service(""));
        assert!(is_service(&"a".repeat(32)) && !is_service(&"a".repeat(33)));
        assert!(is_volume("db_data") && !is_volume("db-data"));
        assert!(
            is_user("") && is_user("1993:1993") && is_user("www-data") && !is_user("a:") && !is_user("a b")
        );
        assert!(is_signal("SIGINT") && is_signal("") && !is_signal("INT") && !is_signal("SIG"));
        assert!(is_alias("realtime-dev.supabase-realtime") && !is_alias("a..b"));
        assert!(is_env_name("A_B") && !is_env_name("A=B") && !is_env_name(""));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_no_path_escapes(text in any::<String>()) {
            let _ = (is_image(&text), is_user(&text), is_signal(&text), is_alias(&text), is_env_name(&text));
            if is_relative_path(&text) {
                let path = std::path::Path::new("/base").join(&text);
                prop_assert!(path.starts_with("/base"));
                prop_assert!(path.components().all(|part| part.as_os_str() != ".."));
            }
        }
    }
}
