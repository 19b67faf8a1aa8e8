//! Content types of the files of an export, by their names.

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// A page, which a browser shows.
    pub is_page: bool,
}

/// The kind of a file. Browsers are told not to guess, so a file of an unknown kind is no script and no page.
pub fn of(path: &str) -> Kind {
    let suffix = path.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    let content_type = match suffix {
        "html" => "text/html; charset=utf-8",
        // Also the payloads of pages, which Next's router reads.
        "txt" => "text/plain; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "xml" => "application/xml",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "ico" => "image/x-icon",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    };
    Kind { content_type, is_page: suffix == "html" }
}
