//! Fuzz target of requests for files.

use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Uri,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, IF_NONE_MATCH, LOCATION},
};
use supalove_fuzz::{Samples, Verdict, text};

use crate::Site;

const FILES: &[(&str, &[u8])] = &[
    ("404.html", b"lost"),
    ("index.html", b"home page"),
    ("index.html.br", b"home"),
    ("o/_.html", b"organization"),
    ("o/_.txt", b"payload"),
    ("o/_/members.html", b"members"),
];

/// Target, accepted encodings and known tags, a line each.
#[test]
fn requests_for_files() {
    let site = Site::new(FILES.iter().copied()).unwrap();
    let samples = Samples::new([
        "/o/acme/members?x=1\ngzip;q=0.5, br\n\"abc\", W/\"def\"",
        "/o/%61cme.txt\n*;q=0\n*",
        "/\nbr\n\n",
        "/o/acme/\nidentity\n",
    ])
    .words([
        "/", "//", "/o/", "%2f", "%00", "_", ".txt", ";q=", "0.001", "1.000", "br", "*", ",", "W/", "\"", "?",
    ]);
    text("requests for files", &samples, |input| {
        let mut lines = input.split('\n');
        let Some(target) = lines.next().and_then(|line| line.parse::<Uri>().ok()) else {
            return Verdict::Refused;
        };
        let mut headers = HeaderMap::new();
        for (name, value) in [ACCEPT_ENCODING, IF_NONE_MATCH].into_iter().zip(lines) {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        let answer = site.answer(&Method::GET, &target, &headers);
        if let Some(to) = answer.headers().get(LOCATION) {
            let to = to.to_str().unwrap();
            assert!(to.starts_with('/') && !to.starts_with("//"), "{to:?} may be another host");
            assert!(site.answer(&Method::GET, &to.parse().unwrap(), &HeaderMap::new()).status().is_success());
        }
        if let Some(encoding) = answer.headers().get(CONTENT_ENCODING) {
            let accepted = headers[ACCEPT_ENCODING].to_str().unwrap().to_ascii_lowercase();
            assert!(encoding == "br" && (accepted.contains("br") || accepted.contains('*')), "{accepted:?}");
        }
        match answer.status() {
            StatusCode::NOT_FOUND => return Verdict::Refused,
            StatusCode::OK => assert!(answer.headers().contains_key(CONTENT_LENGTH)),
            status => assert!(matches!(status, StatusCode::NOT_MODIFIED | StatusCode::PERMANENT_REDIRECT)),
        }
        Verdict::Accepted
    });
}
