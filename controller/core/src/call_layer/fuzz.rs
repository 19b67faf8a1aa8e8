//! Fuzz target of the headers of a call.

use http::{HeaderName, HeaderValue};
use supalove_fuzz::{Samples, Verdict, bytes};

use super::*;

/// Parses lines of "name: value" and skips those that cannot be headers.
fn headers(input: &[u8]) -> HeaderMap {
    let lines = input.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let value = line[colon + 1..].trim_ascii();
        Some((HeaderName::from_bytes(&line[..colon]).ok()?, HeaderValue::from_bytes(value).ok()?))
    });
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, value);
    }
    headers
}

#[test]
fn headers_of_calls() {
    let sample = "authorization: Bearer a.b.c\ngrpc-timeout: 1500m\n\
        traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n\
        x-forwarded-for: 203.0.113.7, 10.0.0.2\nx-forwarded-for: 2001:db8::1, 10.0.0.3\n";
    let words = [
        "authorization:",
        "grpc-timeout:",
        "traceparent:",
        "x-forwarded-for:",
        "99999999H",
        "0n",
        "::1",
        "-",
    ];
    let proxies: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
    bytes("headers of calls", &Samples::new([sample]).words(words), |input| {
        let headers = headers(input);
        let id = trace_id(&headers);
        assert!(id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id:?}");

        let timeout = headers.get("grpc-timeout").and_then(|v| parse_grpc_timeout(v.to_str().ok()?));
        let longest = Duration::from_hours(99_999_999);
        assert!(
            timeout.is_none_or(|timeout| timeout <= longest && Instant::now().checked_add(timeout).is_some())
        );

        let stranger: IpAddr = [192, 0, 2, 1].into();
        assert_eq!(
            client_address(stranger, &headers, &proxies),
            stranger,
            "only a trusted proxy is believed"
        );
        let proxy: IpAddr = [10, 0, 0, 1].into();
        let client = client_address(proxy, &headers, &proxies);
        assert!(client == proxy || !proxies[0].contains(&client));

        let token = bearer(&headers);
        assert!(token.is_none_or(|token| token.bytes().all(|byte| byte == b'\t' || byte >= b' ')));
        if token.is_some() { Verdict::Accepted } else { Verdict::Refused }
    });
}
