//! Nonces of `Recover`. Unauthenticated callers get them, so the controller does not store them: a nonce carries its
//! expiry time and a MAC that every replica can check. The controller stores a nonce only when a proven node uses it.
//!
//! `random (16) | end, Unix milliseconds (8) | HMAC-SHA256 over both and the node's id (32)`

use aws_lc_rs::{digest, hmac};
use chrono::{DateTime, Utc};

use supalove_core::{
    error::{Error, Result},
    ids::NodeId,
};

const RANDOM: usize = 16;
const CLEAR: usize = RANDOM + 8;

/// Makes and checks nonces.
#[derive(Debug)]
pub struct Nonces(hmac::Key);

impl Nonces {
    /// Generates the fleet's key, at the first start.
    pub fn generate_key() -> Result<Vec<u8>> {
        let mut key = vec![0; digest::SHA256_OUTPUT_LEN];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| Error::internal("no random bytes"))?;
        Ok(key)
    }

    /// Uses the fleet's key.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Makes a nonce for a node that is valid until `ends`.
    pub fn make(&self, node: NodeId, ends: DateTime<Utc>) -> Result<Vec<u8>> {
        let mut nonce = vec![0; RANDOM];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Error::internal("no random bytes"))?;
        nonce.extend(ends.timestamp_millis().to_be_bytes());
        let mac = hmac::sign(&self.0, &covered(&nonce, node));
        nonce.extend(mac.as_ref());
        Ok(nonce)
    }

    /// Returns when a nonce expires; `None` if this fleet did not make it for this node.
    pub fn end_of(&self, node: NodeId, nonce: &[u8]) -> Option<DateTime<Utc>> {
        let (clear, mac) = nonce.split_at_checked(CLEAR)?;
        hmac::verify(&self.0, &covered(clear, node), mac).ok()?;
        let millis = i64::from_be_bytes(clear[RANDOM..].try_into().ok()?);
        DateTime::from_timestamp_millis(millis)
    }
}

fn covered(clear: &[u8], node: NodeId) -> Vec<u8> {
    [clear, node.0.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_of_one_fleet_and_one_node_and_cannot_be_prolonged() {
        let nonces = Nonces::new(&Nonces::generate_key().unwrap());
        let node = NodeId::generate();
        let ends = DateTime::from_timestamp_millis(1_800_000_000_123).unwrap();
        let nonce = nonces.make(node, ends).unwrap();
        assert_eq!(nonces.end_of(node, &nonce), Some(ends));
        assert_ne!(nonces.make(node, ends).unwrap(), nonce);
        assert_eq!(nonces.end_of(NodeId::generate(), &nonce), None);
        assert_eq!(Nonces::new(&Nonces::generate_key().unwrap()).end_of(node, &nonce), None);
        for index in 0..nonce.len() {
            let mut changed = nonce.clone();
            changed[index] ^= 1;
            assert_eq!(nonces.end_of(node, &changed), None, "byte {index}");
        }
        for short in [&[][..], &nonce[..CLEAR], &nonce[..nonce.len() - 1]] {
            assert_eq!(nonces.end_of(node, short), None);
        }
    }
}
