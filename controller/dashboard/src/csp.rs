//! The Content-Security-Policy of a file: only what this origin serves, and of the code and styles in a page only what the build put
//! there, by its digests (CSP 3, "Usage of hashes").

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The policy of a page. What this does not find in it is refused by the browser.
pub fn of_page(html: &str) -> String {
    policy(&hashes(html, "script"), &hashes(html, "style"))
}

/// The policy of everything else. It counts for workers, which have the policy of their script.
pub fn of_file() -> String {
    policy("", "")
}

fn policy(scripts: &str, styles: &str) -> String {
    format!(
        "default-src 'self'; script-src 'self'{scripts}; style-src 'self'{styles}; connect-src 'self'; object-src 'none'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

/// Digests of the contents of these elements, each once, in the order of the page.
fn hashes(html: &str, element: &str) -> String {
    let mut hashes = Vec::new();
    for content in inline(html, element) {
        let hash = format!(" 'sha256-{}'", STANDARD.encode(digest(&SHA256, content.as_bytes())));
        if !hashes.contains(&hash) {
            hashes.push(hash);
        }
    }
    hashes.concat()
}

/// Contents of these elements, without those that only name a file.
fn inline<'a>(html: &'a str, element: &str) -> Vec<&'a str> {
    let start = format!("<{element}");
    let end = format!("</{element}");
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find(&start) {
        rest = &rest[at + start.len()..];
        // The beginning of another name.
        if !rest.starts_with(['>', '/', ' ', '\n', '\t']) {
            continue;
        }
        let Some((attributes, content)) = split_tag(rest) else { break };
        let Some(length) = content.find(&end) else { break };
        if !attributes.contains(" src=") {
            found.push(&content[..length]);
        }
        rest = &content[length..];
    }
    found.retain(|content| !content.is_empty());
    found
}

/// Splits behind the tag: its attributes, whose values may have a `>`, and the rest.
fn split_tag(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let end = text.find(|character| match (quote, character) {
        (None, '>') => true,
        (None, '"' | '\'') => {
            quote = Some(character);
            false
        }
        (Some(open), _) if open == character => {
            quote = None;
            false
        }
        _ => false,
    })?;
    Some((&text[..end], &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_scripts_are_found_and_others_are_not() {
        let html = r#"<head><script src="/_next/a.js" async=""></script><script>theme()</script>
            <script id="_R_" data-x="a > b">one("<script>two</scr"+"ipt>")</script><SCRIPT>not ours</SCRIPT>
            <style>p{}</style><scripture>no</scripture></head>"#;
        assert_eq!(inline(html, "style"), ["p{}"]);
        assert_eq!(inline(html, "script"), ["theme()", r#"one("<script>two</scr"+"ipt>")"#]);
    }

    /// The digest is that of `echo -n 'doSomething();' | openssl dgst -sha256 -binary | base64`.
    #[test]
    fn a_page_has_the_digests_of_its_scripts() {
        let policy = of_page("<script>doSomething();</script><script>doSomething();</script>");
        let scripts = policy.split("; ").find(|part| part.starts_with("script-src")).unwrap();
        assert_eq!(scripts, "script-src 'self' 'sha256-RFWPLDbv2BY+rCkDzsE+0fr8ylGr2R2faWMhq4lfEQc='");
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn a_file_has_none() {
        let policy = of_file();
        for part in
            ["default-src 'self'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"]
        {
            assert!(policy.split("; ").any(|one| one == part), "{policy}");
        }
    }

    #[test]
    fn a_page_that_breaks_off_has_what_is_whole() {
        assert!(inline("<script>a</script><script>b", "script") == ["a"]);
        assert!(inline("<script>a</script><script x=\"", "script") == ["a"]);
    }
}
