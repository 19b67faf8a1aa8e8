//! Addresses from which nodes of the fleet have dialled: their connections have a share of the node port that strangers cannot
//! take, from the first byte on, when nobody can know yet who dials.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use supalove_net::allowance::{Allowance, Full, Taken};

/// The newest addresses, at most so many.
#[derive(Debug)]
pub struct KnownAddresses {
    most: usize,
    seen: Mutex<HashMap<IpAddr, Instant>>,
}

impl KnownAddresses {
    /// Remembers at most so many.
    pub fn new(most: usize) -> Self {
        Self { most, seen: Mutex::default() }
    }

    /// A node has shown its certificate from there. In: the address as it counts for limits.
    pub fn add(&self, address: IpAddr) {
        let mut seen = self.seen();
        if seen.len() >= self.most && !seen.contains_key(&address) {
            let oldest = seen.iter().min_by_key(|(_, at)| **at).map(|(address, _)| *address);
            oldest.map(|oldest| seen.remove(&oldest));
        }
        seen.insert(address, Instant::now());
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.seen().contains_key(&address)
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<IpAddr, Instant>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An allowance of which a part is only for known addresses.
#[derive(Debug)]
pub struct Shared {
    anyone: Allowance<IpAddr>,
    known: Allowance<IpAddr>,
}

impl Shared {
    /// At most `all` at once, `of_known` of them for known addresses; at most `per_address` from one of each part.
    pub fn new(all: usize, of_known: usize, per_address: usize) -> Self {
        Self {
            anyone: Allowance::new(all.saturating_sub(of_known), per_address),
            known: Allowance::new(of_known, per_address),
        }
    }

    /// Takes a part, or says which maximum is reached.
    pub fn take(&self, address: IpAddr, known: &KnownAddresses) -> Result<Taken<IpAddr>, Full> {
        if known.contains(address)
            && let Ok(taken) = self.known.take(address, 1)
        {
            return Ok(taken);
        }
        self.anyone.take(address, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn strangers_cannot_take_the_share_of_known_addresses() {
        let known = KnownAddresses::new(2);
        let shared = Shared::new(6, 2, 2);
        known.add(address(9));
        let strangers: Vec<_> = (1..=8).map(|last| shared.take(address(last), &known)).collect();
        assert_eq!(strangers.iter().filter(|taken| taken.is_ok()).count(), 4);
        let of_node = [shared.take(address(9), &known).unwrap(), shared.take(address(9), &known).unwrap()];
        assert_eq!(shared.take(address(9), &known).unwrap_err(), Full::All(4), "then it counts as anyone");
        drop(of_node);
        drop(strangers);
        let node: Vec<_> = (0..5).map(|_| shared.take(address(9), &known)).collect();
        assert_eq!(node.iter().filter(|taken| taken.is_ok()).count(), 4, "both shares");
    }

    #[test]
    fn the_newest_addresses_are_remembered() {
        let known = KnownAddresses::new(2);
        for last in [1, 2, 1, 3] {
            known.add(address(last));
        }
        let remembered = [1, 2, 3].map(|last| known.contains(address(last)));
        assert_eq!(remembered, [true, false, true]);
    }
}
