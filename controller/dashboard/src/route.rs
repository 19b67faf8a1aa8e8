//! Which file a path names. Pages are addressed without `.html`. Addresses of organizations, projects and clusters have one exported
//! page each, with a placeholder for the name; all other paths name one file or none.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What the export has in the place of a name.
const PLACEHOLDER: &str = "_";

/// Where a name follows in addresses of pages: `/o/{slug}`, `/p/{ref}`, `/platform/clusters/{name}`, and all below.
const NAMED: [&[&str]; 3] = [&["o"], &["p"], &["platform", "clusters"]];

/// Suffix of the payload of a page, which Next's router reads.
const PAYLOAD: &str = ".txt";

/// The address of an exported file: `/`, `/sign-in`, `/o/_/members.txt`.
pub fn address(path: &str) -> String {
    match path.strip_suffix(".html") {
        None => format!("/{path}"),
        Some("index") => "/".to_owned(),
        Some(page) => format!("/{}", page.strip_suffix("/index").unwrap_or(page)),
    }
}

/// The path of a request, taken apart.
pub struct Path<'a>(Vec<Cow<'a, str>>);

impl<'a> Path<'a> {
    /// `None` for what cannot name a file.
    pub fn parse(path: &'a str) -> Option<Self> {
        let segments = path.strip_prefix('/')?.split('/');
        let decoded = segments.map(|segment| {
            let decoded = percent_decode_str(segment).decode_utf8().ok()?;
            // An encoded slash separates nothing.
            (!decoded.contains('/')).then_some(decoded)
        });
        decoded.collect::<Option<_>>().map(Self)
    }

    /// The address that it is.
    pub fn exact(&self) -> String {
        join(&self.0)
    }

    /// The address of what stands for all names, if a name may be in it.
    pub fn with_placeholder(&self) -> Option<String> {
        let leads_here = |before: &&[&str]| self.0.iter().zip(*before).all(|(segment, one)| segment == one);
        let before = NAMED.into_iter().find(leads_here)?.len();
        let mut segments = self.0.clone();
        let name = segments.get_mut(before).filter(|name| !name.is_empty())?;
        // The payload of the page itself: only the last segment has a suffix.
        let is_payload = self.0.len() == before + 1 && name.ends_with(PAYLOAD);
        *name = if is_payload { format!("{PLACEHOLDER}{PAYLOAD}").into() } else { PLACEHOLDER.into() };
        Some(join(&segments))
    }
}

fn join(segments: &[Cow<'_, str>]) -> String {
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_addresses_without_suffix() {
        for (path, expected) in [
            ("index.html", "/"),
            ("sign-in.html", "/sign-in"),
            ("o/_.html", "/o/_"),
            ("platform/index.html", "/platform"),
            ("o/_/members.txt", "/o/_/members.txt"),
            ("_next/static/a.js", "/_next/static/a.js"),
        ] {
            assert_eq!(address(path), expected);
        }
    }

    #[test]
    fn names_stand_only_where_addresses_have_them() {
        for (path, expected) in [
            ("/o/acme", Some("/o/_")),
            ("/o/acme.txt", Some("/o/_.txt")),
            ("/o/acme/members", Some("/o/_/members")),
            ("/o/acme/members.txt", Some("/o/_/members.txt")),
            ("/o/acme/__next.o.%24d$slug.members.txt", Some("/o/_/__next.o.$d$slug.members.txt")),
            ("/p/qjxwnbtkzrmaplvdyoeh", Some("/p/_")),
            ("/platform/clusters/eu-fra", Some("/platform/clusters/_")),
            ("/o/a%20b", Some("/o/_")),
            ("/o", None),
            ("/o/", None),
            ("/o//members", None),
            ("/platform/acme", None),
            ("/platform/clusters", None),
            ("/x/acme", None),
            ("/", None),
            ("//o/acme", None),
        ] {
            let found = Path::parse(path).unwrap().with_placeholder();
            assert_eq!(found.as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_of_a_file_is_refused() {
        for path in ["", "*", "o/acme", "/o/a%2Fb", "/o/%ff"] {
            assert!(Path::parse(path).is_none(), "{path}");
        }
        assert_eq!(Path::parse("/a/../b").unwrap().exact(), "/a/../b", "nothing is resolved");
    }
}
