//! Which of a file's variants a client takes (RFC 9110, section 12.5.3).

use http::{HeaderMap, header::ACCEPT_ENCODING};

/// How the bytes of a variant are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Identity,
    /// Brotli (RFC 7932).
    Brotli,
    /// gzip (RFC 1952).
    Gzip,
}

impl Encoding {
    /// Its name in headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// Splits the suffix of a variant from its path, as `build.rs` appends it.
    pub fn of_path(path: &str) -> (&str, Self) {
        if let Some(path) = path.strip_suffix(".br") {
            (path, Self::Brotli)
        } else if let Some(path) = path.strip_suffix(".gz") {
            (path, Self::Gzip)
        } else {
            (path, Self::Identity)
        }
    }
}

/// How much a client wants each encoding, in thousandths.
#[derive(Debug, Default)]
pub struct Accepted(Vec<(String, u16)>);

impl Accepted {
    /// Without the header a client gets the bytes as they are.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let lists = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
        Self(lists.flat_map(|list| list.split(',')).filter_map(item).collect())
    }

    /// True if the client takes this one, and wants the other no more.
    pub fn prefers(&self, one: Encoding, other: Encoding) -> bool {
        let weight = self.weight(one);
        weight > 0 && weight >= self.weight(other)
    }

    /// 0 if the client does not take it.
    fn weight(&self, encoding: Encoding) -> u16 {
        let named = |name: &str| self.0.iter().find(|(one, _)| one == name).map(|(_, weight)| *weight);
        let other = match encoding {
            // Taken unless it is refused, but whoever names others wants those.
            Encoding::Identity => named("*").map_or(1, |weight| weight.min(1)),
            _ => named("*").unwrap_or(0),
        };
        named(encoding.name()).unwrap_or(other)
    }
}

/// `br`, or `gzip;q=0.5`.
fn item(item: &str) -> Option<(String, u16)> {
    let mut parts = item.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    Some((name, weight.map_or(Some(1000), thousandths)?))
}

/// A weight: 0 to 1 with at most three digits.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    if digits.len() > 3 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    match whole {
        "0" => format!("{digits:0<3}").parse().ok(),
        "1" if digits.bytes().all(|digit| digit == b'0') => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client gets that sends this, of a file that is smallest as brotli.
    fn best(accept: &[&str]) -> Encoding {
        let mut headers = HeaderMap::new();
        for list in accept {
            headers.append(ACCEPT_ENCODING, list.parse().unwrap());
        }
        let accepted = Accepted::from_headers(&headers);
        let better = |best, one| if accepted.prefers(one, best) { one } else { best };
        [Encoding::Gzip, Encoding::Brotli].into_iter().fold(Encoding::Identity, better)
    }

    #[test]
    fn a_client_gets_what_it_wants_most() {
        for (accept, expected) in [
            (&["gzip, deflate, br, zstd"][..], Encoding::Brotli),
            (&["gzip, deflate"], Encoding::Gzip),
            (&["gzip", "BR"], Encoding::Brotli),
            (&["br;q=0.5, gzip;q=0.75"], Encoding::Gzip),
            (&["br;q=0, *"], Encoding::Gzip),
            (&["*"], Encoding::Brotli),
            (&["*;q=0"], Encoding::Identity),
            (&["identity, br;q=0.9"], Encoding::Identity),
            (&["br; q=1.000"], Encoding::Brotli),
            (&["br;q=2, gzip;q=0.0001, zstd;q=x"], Encoding::Identity),
            (&["brotli"], Encoding::Identity),
            (&[""], Encoding::Identity),
            (&[], Encoding::Identity),
        ] {
            assert_eq!(best(accept), expected, "{accept:?}");
        }
    }
}
