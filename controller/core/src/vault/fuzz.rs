//! Fuzz target of sealed values: the vault never opens a changed row.

use supalove_fuzz::{Samples, Verdict, bytes, text};

use super::*;

#[test]
fn sealed_values() {
    let vault = Vault::from_base64(&STANDARD.encode([7; 32])).unwrap();
    let scope = Scope { kind: "project", id: "a", name: "jwt", version: 1 };
    let mut sealed = Vec::new();
    for named in [false, true] {
        assert!(vault.seal_under(vault.given(), named));
        sealed.extend([&b"secret"[..], b""].map(|value| vault.seal(scope, value).unwrap()));
    }
    bytes("sealed value", &Samples::new(&sealed), |input| {
        let opened = vault.open(scope, input);
        assert_eq!(opened.is_ok(), sealed.iter().any(|known| known == input), "only what was sealed opens");
        assert!(vault.open(Scope { version: 2, ..scope }, input).is_err());
        Verdict::from_result(&opened)
    });
}

#[test]
fn master_keys() {
    text("master key", &Samples::new([STANDARD.encode([7; 32])]).words(["=", "A"]), |input| {
        let vault = Vault::from_base64(input);
        assert!(vault.is_err() || input.len() == 44, "32 bytes have one length");
        Verdict::from_result(&vault)
    });
}
