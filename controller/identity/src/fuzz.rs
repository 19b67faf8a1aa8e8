//! Fuzz targets of credentials: access tokens, the refresh cookie, addresses and names.

use chrono::{TimeDelta, Utc};
use supalove_fuzz::{Samples, Verdict, bytes, text};
use tonic::metadata::{MetadataMap, MetadataValue};

use super::{Families, NewPassword, Opaque, TokenSigner, api, cookie, family::Presented, normalize_email};
use supalove_core::{
    error::Error,
    ids::{SessionId, UserId},
};

fn key() -> Vec<u8> {
    let key = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    key.to_pkcs8v1().unwrap().as_ref().to_vec()
}

#[test]
fn access_tokens() {
    let signer = TokenSigner::from_pkcs8("a", &key()).unwrap();
    let other = TokenSigner::from_pkcs8("a", &key()).unwrap();
    let session = SessionId::generate();
    let now = Utc::now();
    let sign = |by: &TokenSigner, end| by.sign(UserId::generate(), session, now, end).unwrap();
    let good = sign(&signer, now + TimeDelta::days(30));
    let samples =
        [good.clone(), sign(&other, now + TimeDelta::days(30)), sign(&signer, now - TimeDelta::days(1))];
    // {"alg":"none"}, {"alg":"HS256"}
    let words = ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiJ9", "e30", "AAAA", "=="];
    text("access token", &Samples::new(samples).words(words), |input| {
        let verified = TokenSigner::key_id(input).and_then(|_| signer.verify(input));
        assert_eq!(verified.is_ok(), input == good, "only what was signed, byte for byte");
        match &verified {
            Ok(found) => assert_eq!(*found, session),
            Err(error) => assert!(matches!(error, Error::Unauthenticated { .. }), "{error:?}"),
        }
        Verdict::from_result(&verified)
    });
}

#[test]
fn refresh_tokens() {
    let families = Families::new(&[7; 32]);
    let session = SessionId::generate();
    let good = families.token(session, 3).reveal();
    let samples = [good.clone(), Families::new(&[8; 32]).token(session, 3).reveal()];
    text("refresh token", &Samples::new(samples).words(["AAAA", "==", "_", "-"]), |input| {
        let read = families.read(&Opaque::received(input.to_owned()));
        assert_eq!(
            read == Presented::Numbered(session, 3),
            input == good,
            "only what was issued, byte for byte"
        );
        if matches!(read, Presented::Numbered(..)) { Verdict::Accepted } else { Verdict::Refused }
    });
}

#[test]
fn refresh_cookies() {
    let samples = Samples::new(["a=b; supalove_refresh=dG9rZW4; c=d", "supalove_refresh=x"]).words([
        "supalove_refresh",
        "supalove_refresh=",
        "; ",
        "=",
        ";",
    ]);
    bytes("cookie", &samples, |input| {
        let mut metadata = MetadataMap::new();
        if let Ok(value) = MetadataValue::try_from(input) {
            metadata.insert("cookie", value);
        }
        let found = cookie::refresh_token(&metadata);
        assert!(found.as_ref().is_none_or(|token| !token.contains(';')));
        if found.is_some() { Verdict::Accepted } else { Verdict::Refused }
    });
}

#[test]
fn addresses_names_and_passwords() {
    let samples =
        Samples::new(["Ada@Example.com", "İ@ẞ.com", "correct horse"]).words(["@", ".", "ß", "İ", "\u{2028}"]);
    text("sign-up texts", &samples, |input| {
        let email = normalize_email(input);
        if let Ok(email) = &email {
            assert_eq!(normalize_email(email).unwrap(), *email, "stored once is stored the same");
            assert!(email.len() <= 254 && !email.contains(char::is_control));
            let name = api::display_name(input, email);
            assert!(name.is_err() || name.is_ok_and(|name| !name.contains(char::is_control)));
        }
        if NewPassword::new("password", input.to_owned(), &[]).is_ok() {
            assert!(input.len() <= 1024 && input.chars().count() >= 10);
        }
        Verdict::from_result(&email)
    });
}
