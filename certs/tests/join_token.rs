//! Join tokens as an administrator handles them: copied, cut off, mixed up.

use proptest::prelude::*;
use supalove_certs::{CaFingerprint, JoinToken, TokenError};
use uuid::Uuid;

fn token(ca: [u8; 32], id: u128) -> JoinToken {
    let ca: CaFingerprint = hex::encode(ca).parse().unwrap();
    JoinToken::generate(ca, Uuid::from_u128(id)).unwrap()
}

fn parse(text: &str) -> TokenError {
    text.parse::<JoinToken>().unwrap_err()
}

proptest! {
    #[test]
    fn a_token_survives_its_text(ca: [u8; 32], id: u128) {
        let made = token(ca, id);
        let read: JoinToken = made.to_string().parse().unwrap();
        prop_assert_eq!(read.to_string(), made.to_string());
        prop_assert_eq!(read.ca().to_string(), hex::encode(ca));
        prop_assert_eq!(read.id(), Uuid::from_u128(id));
        prop_assert!(read.verify_hash(&made.secret_hash()));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = String::from_utf8_lossy(&bytes).parse::<JoinToken>();
    }

    #[test]
    fn token_like_texts_have_one_spelling(
        text in "slj[0-9]{0,2}\\.[0-9a-fA-F]{62,66}\\.[0-9a-f-]{30,36}\\.[A-Za-z0-9_=-]{42,44}",
    ) {
        if let Ok(token) = text.parse::<JoinToken>() {
            prop_assert_eq!(token.to_string(), text);
        }
    }

    #[test]
    fn one_changed_character_is_another_token_or_none(
        ca: [u8; 32], id: u128, at: prop::sample::Index, new in "[ -~]",
    ) {
        let made = token(ca, id);
        let mut text = made.to_string();
        let at = at.index(text.len());
        prop_assume!(text[at..=at] != new);
        text.replace_range(at..=at, &new);
        if let Ok(read) = text.parse::<JoinToken>() {
            let same = read.ca() == made.ca() && read.id() == made.id()
                && read.verify_hash(&made.secret_hash());
            prop_assert!(!same, "{}", text);
        }
    }
}

#[test]
fn each_mistake_has_its_own_error() {
    let good = token([7; 32], 42).to_string();
    let fields: Vec<&str> = good.split('.').collect();
    let with = |index: usize, field: &str| {
        let mut changed = fields.clone();
        changed[index] = field;
        changed.join(".")
    };
    assert_eq!(parse(""), TokenError::Empty);
    assert_eq!(parse(" \n"), TokenError::Empty);
    assert_eq!(parse("sbp_0123"), TokenError::Prefix);
    assert_eq!(parse(&format!(".{good}")), TokenError::Prefix);
    assert_eq!(parse(&with(0, "slj2")), TokenError::Version);
    assert_eq!(parse("slj1"), TokenError::Fields { found: 1 });
    assert_eq!(parse(&format!("{good}.x")), TokenError::Fields { found: 5 });
    assert_eq!(parse(&with(1, "07")), TokenError::Ca);
    assert_eq!(parse(&with(1, &"AB".repeat(32))), TokenError::Ca);
    assert_eq!(parse(&with(2, &Uuid::from_u128(42).to_string())), TokenError::Id);
    assert_eq!(parse(&with(3, &fields[3][1..])), TokenError::Secret);
    assert_eq!(parse(&with(3, "")), TokenError::Secret);
    assert_eq!(parse(&with(3, &format!("{}=", fields[3]))), TokenError::Secret);
    assert!(format!("  {good}\n").parse::<JoinToken>().is_ok());
}

#[test]
fn neither_debug_nor_errors_show_the_secret() {
    let made = token([7; 32], 42);
    let text = made.to_string();
    let secret = text.rsplit('.').next().unwrap();
    let shown = format!("{made:?}");
    assert!(!shown.contains(secret) && shown.contains("redacted"));
    for wrong in [secret.to_owned(), format!("slj1.{secret}"), format!("{text}.{secret}")] {
        assert!(!parse(&wrong).to_string().contains(secret));
    }
}

#[test]
fn secrets_are_fresh_and_hashes_tell_them_apart() {
    let one = token([7; 32], 42);
    let two = token([7; 32], 42);
    assert_ne!(one.secret_hash(), two.secret_hash());
    assert!(one.verify_hash(&one.secret_hash()));
    assert!(!one.verify_hash(&two.secret_hash()));
    assert!(!one.verify_hash(&one.secret_hash()[..31]));
    assert!(!one.verify_hash(&[]));
}
