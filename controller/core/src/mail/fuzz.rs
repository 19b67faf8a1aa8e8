//! Fuzz targets of mail: what a mail server answers, and what people give as their address.

use supalove_fuzz::{Samples, Verdict, bytes, text};

use super::{ADDRESS_BYTES, address, smtp::parse_line};

#[test]
fn lines_of_a_mail_server() {
    let samples = [&b"250-SIZE 33554432\r\n"[..], b"220 mail.test ESMTP\r\n", b"535 5.7.8 no\n", b"250\r\n"];
    bytes("line of a mail server", &Samples::new(samples).words(["250-", "\r\n", "STARTTLS"]), |input| {
        let parsed = parse_line(input);
        if let Some((code, _, text)) = &parsed {
            assert!(*code <= 999 && input.ends_with(b"\n"), "a line that is cut off is none");
            assert!(text.len() <= 3 * input.len(), "bounded by what came");
        }
        if parsed.is_some() { Verdict::Accepted } else { Verdict::Refused }
    });
}

#[test]
fn addresses_of_recipients() {
    let samples = ["ada@example.com", "a.b+c@[127.0.0.1]", "ada@münchen.example", "\"a\"@example.com"];
    text("address of a recipient", &Samples::new(samples).words(["@", "\r\nDATA\r\n", "<", ">"]), |input| {
        let parsed = address("to", input);
        if let Ok(address) = &parsed {
            let line = address.to_string();
            assert!(!line.contains(['\r', '\n', '<', '>', ' ']), "one argument of a command: {line:?}");
            assert!(line.len() <= 2 * ADDRESS_BYTES && line.contains('@'), "{line:?}");
        }
        Verdict::from_result(&parsed)
    });
}
