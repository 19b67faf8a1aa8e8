//! The refresh token of a browser, in a cookie that no script reads.

use chrono::{DateTime, Utc};
use supalove_core::access::Call;
use tonic::metadata::MetadataMap;

use super::Opaque;

const COOKIE: &str = "supalove_refresh";
const COOKIE_SCOPE: &str = "Path=/supalove.v1.AuthService/; HttpOnly; SameSite=Strict";

/// Returns whether the cookie must be `Secure`. Browsers send other cookies over plain HTTP too, so only loopback may.
pub fn is_secure(call: &Call) -> bool {
    !call.client.is_some_and(|address| address.is_loopback())
}

/// A refresh token for a browser.
pub struct Cookie<'a> {
    pub token: &'a Opaque,
    pub expires_at: DateTime<Utc>,
    /// See [`is_secure`].
    pub secure: bool,
}

impl Cookie<'_> {
    /// The value of `Set-Cookie`.
    pub fn set(&self) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        let life = (self.expires_at - Utc::now()).num_seconds().max(0);
        format!("{COOKIE}={}; {COOKIE_SCOPE}; Max-Age={life}{secure}", self.token.reveal())
    }
}

/// Reads the refresh token from the cookies. Over HTTP/2 a browser may send each cookie in a field of its own
/// (RFC 9113, 8.2.3).
pub fn refresh_token(metadata: &MetadataMap) -> Option<String> {
    let fields = metadata.get_all("cookie").iter().filter_map(|field| field.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).map(str::trim);
    pairs.find_map(|pair| pair.strip_prefix(COOKIE)?.strip_prefix('=')).map(str::to_owned)
}

/// The value of `Set-Cookie` that takes the cookie away.
pub fn removal() -> String {
    format!("{COOKIE}=; {COOKIE_SCOPE}; Max-Age=0")
}
