//! Fuzz target of nonces, which anybody can send.

use supalove_fuzz::{Samples, Verdict, bytes};

use super::nonce::Nonces;
use supalove_core::ids::NodeId;

#[test]
fn nonces() {
    let nonces = Nonces::new(&[7; 32]);
    let node = NodeId::generate();
    let other = NodeId::generate();
    let ends = chrono::DateTime::from_timestamp_millis(1_800_000_000_123).unwrap();
    let made = nonces.make(node, ends).unwrap();
    bytes("recovery nonce", &Samples::new([&made]), |input| {
        let end = nonces.end_of(node, input);
        assert_eq!(end, (input == made).then_some(ends), "only what was made, with its own end");
        assert_eq!(nonces.end_of(other, input), None);
        if end.is_some() { Verdict::Accepted } else { Verdict::Refused }
    });
}
