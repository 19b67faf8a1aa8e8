//! All files by their addresses.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header::LOCATION};
use http_body_util::Full;

pub use crate::file::Answer;
use crate::{
    encoding::Encoding,
    file::File,
    route::{self, Path},
};

/// Page for paths that name nothing. It has no address of its own.
const NOT_FOUND: &str = "404.html";
/// What Next exports beside that page, for servers that it runs itself.
const NEXT_NOT_FOUND: &str = "_not-found";

/// An exported dashboard.
#[derive(Debug)]
pub struct Site {
    files: HashMap<String, File>,
    not_found: File,
}

impl Site {
    /// From path and content of each file, and of its compressed variants. `None` without the page for unknown paths, which every
    /// export has.
    pub fn new(files: impl IntoIterator<Item = (&'static str, &'static [u8])>) -> Option<Self> {
        let mut variants: HashMap<&'static str, Vec<_>> = HashMap::new();
        for (path, content) in files {
            let (path, encoding) = Encoding::of_path(path);
            variants.entry(path).or_default().push((encoding, content));
        }
        let not_found = File::new(NOT_FOUND, &variants.remove(NOT_FOUND)?)?;
        let files = variants
            .into_iter()
            .filter(|(path, _)| !path.starts_with(NEXT_NOT_FOUND))
            .filter_map(|(path, variants)| Some((route::address(path), File::new(path, &variants)?)))
            .collect();
        Some(Self { files, not_found })
    }

    /// Answers a GET or HEAD request. The query says nothing here.
    pub fn answer(&self, method: &Method, target: &Uri, headers: &HeaderMap) -> Answer {
        if let Some(file) = self.find(target.path()) {
            return file.answer(method, headers);
        }
        self.without_slash(target).unwrap_or_else(|| self.not_found.answer_in_its_place(method, headers))
    }

    fn find(&self, path: &str) -> Option<&File> {
        let path = Path::parse(path)?;
        self.files.get(&path.exact()).or_else(|| self.files.get(&path.with_placeholder()?))
    }

    /// Leads from `/sign-in/` to `/sign-in`. Only to pages, so never to another host.
    fn without_slash(&self, target: &Uri) -> Option<Answer> {
        let path = target.path().strip_suffix('/')?;
        self.find(path).filter(|file| file.is_page)?;
        let query = target.query().map_or_else(String::new, |query| format!("?{query}"));
        let mut answer = Response::new(Full::new(Bytes::new()));
        *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
        let to = HeaderValue::try_from(format!("{path}{query}")).ok().filter(|to| to.to_str().is_ok())?;
        answer.headers_mut().insert(LOCATION, to);
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use http::header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
        CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, VARY,
    };
    use http_body_util::BodyExt as _;

    use super::*;

    const FILES: &[(&str, &[u8])] = &[
        ("index.html", b"<script>home()</script>"),
        ("index.html.gz", b"home, gzip"),
        ("index.html.br", b"home, br"),
        ("index.txt", b"home's payload"),
        ("404.html", b"<script>lost()</script>nothing here"),
        ("404.html.br", b"lost, br"),
        ("_not-found.html", b"Next's own"),
        ("_not-found/__next._tree.txt", b"Next's own"),
        ("sign-in.html", b"sign in"),
        ("o/_.html", b"an organization"),
        ("o/_.txt", b"an organization's payload"),
        ("o/_/members.html", b"its members"),
        ("o/_/members/__next.o.$d$slug.members.txt", b"a part of its members"),
        ("platform/clusters/_.html", b"a cluster"),
        ("_next/static/chunks/a-[x].js", b"code"),
        ("icon.svg", b"<svg/>"),
        ("orphan.js.br", b"of a file that is not there"),
    ];

    fn site() -> Site {
        Site::new(FILES.iter().copied()).unwrap()
    }

    fn asked(method: &Method, target: &str, fields: &[(HeaderName, &str)]) -> Answer {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().unwrap());
        }
        site().answer(method, &target.parse().unwrap(), &headers)
    }

    fn got(target: &str) -> Answer {
        asked(&Method::GET, target, &[])
    }

    fn header(answer: &Answer, name: HeaderName) -> &str {
        answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(answer: Answer) -> String {
        let body = futures::executor::block_on(answer.into_body().collect()).unwrap();
        String::from_utf8(body.to_bytes().into()).unwrap()
    }

    #[test]
    fn pages_payloads_and_files_are_found_by_their_addresses() {
        for (target, content) in [
            ("/", "<script>home()</script>"),
            ("/index.txt?_rsc=1a2b", "home's payload"),
            ("/sign-in", "sign in"),
            ("/o/acme", "an organization"),
            ("/o/acme.txt", "an organization's payload"),
            ("/o/acme/members?role=owner", "its members"),
            ("/o/acme/members/__next.o.$d$slug.members.txt", "a part of its members"),
            ("/platform/clusters/eu-fra", "a cluster"),
            ("/_next/static/chunks/a-%5Bx%5D.js", "code"),
        ] {
            let answer = got(target);
            assert_eq!(answer.status(), StatusCode::OK, "{target}");
            assert_eq!(text(answer), content, "{target}");
        }
    }

    #[test]
    fn all_else_is_not_found() {
        for target in [
            "/nothing",
            "/o",
            "/o/",
            "/o/acme/nothing",
            "/o/acme/members/more",
            "/o//members",
            "/x/acme",
            "/platform/clusters",
            "/platform/organizations/acme",
            "/index.html",
            "/sign-in.html",
            "/404",
            "/404.html",
            "/_not-found",
            "/_not-found/__next._tree.txt",
            "/index.html.br",
            "/orphan.js",
            "/../Cargo.toml",
            "/o/..%2f..%2fCargo.toml",
            "//o/acme",
            "/_next/static/chunks/gone.js",
        ] {
            let answer = got(target);
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{target}");
            assert_eq!(header(&answer, CONTENT_TYPE), "text/html; charset=utf-8");
            assert_eq!((header(&answer, CACHE_CONTROL), header(&answer, ETAG)), ("no-cache", ""));
            assert!(header(&answer, CONTENT_SECURITY_POLICY).contains("script-src 'self' 'sha256-"));
            assert!(text(answer).ends_with("nothing here"), "{target}");
        }
    }

    #[test]
    fn a_slash_too_many_leads_to_the_page_and_nowhere_else() {
        for (target, expected) in [("/sign-in/", "/sign-in"), ("/o/acme/?x=1", "/o/acme?x=1"), ("//", "/")] {
            let answer = got(target);
            assert_eq!(answer.status(), StatusCode::PERMANENT_REDIRECT, "{target}");
            assert_eq!(header(&answer, LOCATION), expected);
        }
        for target in ["//evil.example/", "/icon.svg/", "/o/acme//", "/o/\u{e1}/"] {
            assert_eq!(got(target).status(), StatusCode::NOT_FOUND, "{target}");
        }
    }

    #[test]
    fn a_client_gets_the_variant_that_it_takes() {
        for (accept, encoding, content) in [
            ("gzip, deflate, br, zstd", "br", "home, br"),
            ("gzip", "gzip", "home, gzip"),
            ("br;q=0.1, gzip", "gzip", "home, gzip"),
            ("zstd", "", "<script>home()</script>"),
            ("identity;q=0, br;q=0", "", "<script>home()</script>"),
        ] {
            let answer = asked(&Method::GET, "/", &[(ACCEPT_ENCODING, accept)]);
            assert_eq!(header(&answer, CONTENT_ENCODING), encoding, "{accept}");
            assert_eq!(header(&answer, CONTENT_LENGTH), content.len().to_string());
            assert_eq!(header(&answer, VARY), "accept-encoding");
            assert_eq!(text(answer), content, "{accept}");
        }
        let lost = asked(&Method::GET, "/nothing", &[(ACCEPT_ENCODING, "br")]);
        assert_eq!((header(&lost, CONTENT_ENCODING), lost.status()), ("br", StatusCode::NOT_FOUND));
    }

    #[test]
    fn a_page_is_asked_for_each_time_and_sent_once() {
        let fields = [(ACCEPT_ENCODING, "br")];
        let first = asked(&Method::GET, "/", &fields);
        assert_eq!(header(&first, CACHE_CONTROL), "no-cache");
        let tag = header(&first, ETAG).to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            for method in [Method::GET, Method::HEAD] {
                let again = asked(&method, "/", &[(ACCEPT_ENCODING, "br"), (IF_NONE_MATCH, &known)]);
                assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
                for name in [ETAG, CACHE_CONTROL, VARY, CONTENT_SECURITY_POLICY] {
                    assert_eq!(header(&again, name.clone()), header(&first, name));
                }
                assert_eq!(header(&again, CONTENT_LENGTH), "");
                assert_eq!(text(again), "");
            }
        }
        // Another variant is another representation.
        for fields in [
            [(IF_NONE_MATCH, &*tag), (ACCEPT_ENCODING, "gzip")],
            [(IF_NONE_MATCH, "\"x\""), (ACCEPT_ENCODING, "br")],
        ] {
            assert_eq!(asked(&Method::GET, "/", &fields).status(), StatusCode::OK);
        }
    }

    #[test]
    fn hashed_files_are_kept_for_ever() {
        let code = got("/_next/static/chunks/a-%5Bx%5D.js");
        assert_eq!(header(&code, CACHE_CONTROL), "public, max-age=31536000, immutable");
        assert_eq!(header(&code, CONTENT_TYPE), "text/javascript; charset=utf-8");
        let icon = got("/icon.svg");
        assert_eq!(
            (header(&icon, CACHE_CONTROL), header(&icon, CONTENT_TYPE)),
            ("no-cache", "image/svg+xml")
        );
    }

    #[test]
    fn head_has_the_headers_of_get_and_no_body() {
        let fields = [(ACCEPT_ENCODING, "gzip")];
        let get = asked(&Method::GET, "/", &fields);
        let head = asked(&Method::HEAD, "/", &fields);
        assert_eq!(get.headers(), head.headers());
        assert_eq!(text(head), "");
        assert_eq!(asked(&Method::HEAD, "/nothing", &[]).status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn each_file_has_a_policy_of_its_own() {
        let policies = ["/", "/sign-in", "/icon.svg"].map(|target| {
            let answer = got(target);
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "same-origin"),
                ("cross-origin-opener-policy", "same-origin"),
            ] {
                assert_eq!(header(&answer, HeaderName::from_static(name)), value, "{target}");
            }
            header(&answer, CONTENT_SECURITY_POLICY).to_owned()
        });
        assert!(policies[0].contains("'sha256-") && !policies[1].contains("'sha256-"));
        for policy in policies {
            assert!(policy.starts_with("default-src 'self'; ") && policy.ends_with("frame-ancestors 'none'"));
            assert!(!policy.contains("unsafe"), "{policy}");
        }
    }

    #[test]
    fn nothing_built_is_no_site() {
        assert!(Site::new([]).is_none());
        assert!(Site::new([("index.html", &b"x"[..])]).is_none());
    }
}
