//! A database's certificate is good for its names under its own CA, and for nothing else.

mod support;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use rustls::client::{WebPkiServerVerifier, danger::ServerCertVerifier as _};
use rustls::{RootCertStore, crypto::aws_lc_rs::default_provider};
use rustls_pki_types::{ServerName, UnixTime};
use supalove_certs::{
    CA_LIFETIME, CaError, CertificateAuthority, DATABASE_LIFETIME, DatabaseAuthority, ServerFacts,
};
use support::certificates;

const NAMES: [&str; 4] = ["localhost", "127.0.0.1", "::1", "db-1.example.org"];

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 987_654_321).unwrap()
}

fn authority() -> DatabaseAuthority {
    DatabaseAuthority::create("abcdefghijklmnopqrst", noon()).unwrap()
}

/// What a client with sslmode=verify-full checks.
fn verify(ca_pem: &str, cert_pem: &str, name: &str, at: DateTime<Utc>) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(certificates(ca_pem).remove(0)).unwrap();
    let provider = Arc::new(default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.timestamp().unsigned_abs()));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier.verify_server_cert(&certificates(cert_pem)[0], &[], &name, &[], at).map(drop)
}

#[test]
fn a_certificate_is_good_for_its_names_its_life_and_its_own_ca() {
    let ca = authority();
    let issued = ca.issue(&NAMES, noon()).unwrap();
    let good = |name, at| verify(ca.cert_pem(), &issued.cert_pem, name, at);
    for name in NAMES {
        good(name, noon()).unwrap();
    }
    good("localhost", noon() + DATABASE_LIFETIME - TimeDelta::days(1)).unwrap();
    good("localhost", noon() + DATABASE_LIFETIME + TimeDelta::days(1)).unwrap_err();
    good("127.0.0.2", noon()).unwrap_err();
    good("example.org", noon()).unwrap_err();
    let other = DatabaseAuthority::create("abcdefghijklmnopqrsu", noon()).unwrap();
    verify(other.cert_pem(), &issued.cert_pem, "localhost", noon()).unwrap_err();
    let fleet = CertificateAuthority::create("test", noon()).unwrap();
    verify(fleet.cert_pem(), &issued.cert_pem, "localhost", noon()).unwrap_err();
}

#[test]
fn a_stored_authority_issues_on_and_each_certificate_has_its_own_key_and_number() {
    let ca = authority();
    let loaded = DatabaseAuthority::load(ca.cert_pem(), &ca.key_pem()).unwrap();
    let one = ca.issue(&NAMES, noon()).unwrap();
    let two = loaded.issue(&NAMES, noon()).unwrap();
    verify(ca.cert_pem(), &two.cert_pem, "localhost", noon()).unwrap();
    assert_ne!(one.key_pem, two.key_pem);
    let facts = ServerFacts::from_pem(&one.cert_pem).unwrap();
    assert_eq!(facts.names, NAMES);
    assert_eq!(facts.issued, DateTime::from_timestamp(1_800_000_000, 0).unwrap());
    assert_eq!(facts.ends, facts.issued + DATABASE_LIFETIME);
    assert_ne!(facts.serial_hex, ServerFacts::from_pem(&two.cert_pem).unwrap().serial_hex);
    let line = one.key_pem.lines().nth(1).unwrap();
    assert!(!format!("{one:?} {ca:?}").contains(line), "no key in Debug");
}

#[test]
fn nothing_outlives_the_authority_and_wrong_names_are_refused() {
    let ca = authority();
    let late = noon() + CA_LIFETIME - TimeDelta::days(30);
    let facts = ServerFacts::from_pem(&ca.issue(&NAMES, late).unwrap().cert_pem).unwrap();
    assert_eq!(facts.ends, DateTime::from_timestamp(noon().timestamp(), 0).unwrap() + CA_LIFETIME);
    assert!(matches!(ca.issue(&NAMES, noon() + CA_LIFETIME), Err(CaError::Expired)));
    for wrong in ["", "a b", "*", "höst", "a,b"] {
        assert!(matches!(ca.issue(&[wrong], noon()), Err(CaError::ServerName(_))), "{wrong:?}");
    }
}
