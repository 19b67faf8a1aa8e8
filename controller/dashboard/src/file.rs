//! One file: its variants, its headers, and the answer to a request for it.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
        IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
    },
};
use http_body_util::Full;

use crate::{
    csp,
    encoding::{Accepted, Encoding},
    kind,
};

/// The response to a request.
pub type Answer = Response<Full<Bytes>>;

/// Files with a digest in their names; all others keep their names and change with each build.
const HASHED: &str = "_next/static/";

/// Bytes of a digest in an entity tag.
const TAG_BYTES: usize = 16;

/// Of every file. A page needs none of these; other origins see no addresses, and cannot hold a handle of a page's window.
const HEADERS: [(HeaderName, &str); 5] = [
    (VARY, "accept-encoding"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not `no-referrer`: with it browsers send `Origin: null` in some requests to this origin.
    (REFERRER_POLICY, "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// A file.
#[derive(Debug)]
pub struct File {
    whole: Variant,
    /// The smallest last.
    smaller: Vec<Variant>,
    content_type: HeaderValue,
    headers: HeaderMap,
    pub is_page: bool,
}

#[derive(Debug)]
struct Variant {
    encoding: Encoding,
    content: &'static [u8],
    tag: HeaderValue,
}

impl File {
    /// In: its path in the export, its bytes, and what they are compressed to. `None` if the bytes themselves are missing.
    pub fn new(path: &str, variants: &[(Encoding, &'static [u8])]) -> Option<Self> {
        let (_, content) = variants.iter().find(|(encoding, _)| *encoding == Encoding::Identity)?;
        let hash = digest(&SHA256, content);
        let hash = hex::encode(hash.as_ref().get(..TAG_BYTES)?);
        let variant = |(encoding, content): &(Encoding, &'static [u8])| {
            let tag = match encoding {
                Encoding::Identity => format!("\"{hash}\""),
                _ => format!("\"{hash}-{}\"", encoding.name()),
            };
            Some(Variant { encoding: *encoding, content, tag: tag.try_into().ok()? })
        };
        let mut smaller = variants.iter().map(variant).collect::<Option<Vec<_>>>()?;
        smaller.sort_by_key(|variant| std::cmp::Reverse(variant.content.len()));
        let whole = smaller.iter().position(|variant| variant.encoding == Encoding::Identity)?;
        let whole = smaller.remove(whole);
        let kind = kind::of(path);
        let policy =
            if kind.is_page { csp::of_page(std::str::from_utf8(content).ok()?) } else { csp::of_file() };
        let caching =
            if path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
        let mut headers = HeaderMap::new();
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(CONTENT_SECURITY_POLICY, policy.try_into().ok()?);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
        let content_type = HeaderValue::from_static(kind.content_type);
        Some(Self { whole, smaller, content_type, headers, is_page: kind.is_page })
    }

    /// Answers GET and HEAD with the variant that the client wants most, or says that it has it already.
    pub fn answer(&self, method: &Method, request: &HeaderMap) -> Answer {
        let variant = self.best(&Accepted::from_headers(request));
        if is_known(request, &variant.tag) {
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            *answer.headers_mut() = self.headers.clone();
            answer.headers_mut().insert(ETAG, variant.tag.clone());
            return answer;
        }
        let mut answer = self.body(method, variant);
        answer.headers_mut().insert(ETAG, variant.tag.clone());
        answer
    }

    /// Answers with this file where there is none.
    pub fn answer_in_its_place(&self, method: &Method, request: &HeaderMap) -> Answer {
        let mut answer = self.body(method, self.best(&Accepted::from_headers(request)));
        *answer.status_mut() = StatusCode::NOT_FOUND;
        answer
    }

    fn body(&self, method: &Method, variant: &Variant) -> Answer {
        let content = if method == Method::HEAD { &[] } else { variant.content };
        let mut answer = Response::new(Full::new(Bytes::from_static(content)));
        let headers = answer.headers_mut();
        *headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, self.content_type.clone());
        headers.insert(CONTENT_LENGTH, variant.content.len().into());
        if variant.encoding != Encoding::Identity {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(variant.encoding.name()));
        }
        answer
    }

    /// Of what the client wants most the smallest. Whoever takes nothing that there is gets the bytes as they are.
    fn best(&self, accepted: &Accepted) -> &Variant {
        self.smaller.iter().fold(&self.whole, |best, variant| {
            if accepted.prefers(variant.encoding, best.encoding) { variant } else { best }
        })
    }
}

/// Whether the client has what this tag names. A proxy that compresses makes tags weak, which says nothing against them here
/// (RFC 9110, section 13.1.2).
fn is_known(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let lists = request.get_all(IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).any(|known| {
        let known = known.strip_prefix("W/").unwrap_or(known);
        known == "*" || known.as_bytes() == tag.as_bytes()
    })
}
