//! How much may be open at once: connections, calls, streams. And a count of what was refused.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Bounds what is open at once, in all and per key (an address, a user, a node). Cheap to clone; clones count together.
#[derive(Debug)]
pub struct Allowance<K>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K> {
    all: usize,
    per_key: usize,
    open: Mutex<Open<K>>,
}

#[derive(Debug)]
struct Open<K> {
    all: usize,
    by_key: HashMap<K, usize>,
}

/// Which maximum is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// That of all keys together.
    All(usize),
    /// That of this key.
    Key(usize),
}

/// A part of an allowance; dropping it gives the part back.
#[derive(Debug)]
pub struct Taken<K: Eq + Hash> {
    from: Arc<Inner<K>>,
    key: K,
    amount: usize,
}

impl<K> Clone for Allowance<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Eq + Hash + Clone> Allowance<K> {
    /// At most `all` at once, and at most `per_key` of them for one key.
    pub fn new(all: usize, per_key: usize) -> Self {
        let open = Mutex::new(Open { all: 0, by_key: HashMap::new() });
        Self(Arc::new(Inner { all, per_key, open }))
    }

    /// Takes a part, or says which maximum is reached. Never waits.
    pub fn take(&self, key: K, amount: usize) -> Result<Taken<K>, Full> {
        self.take_at_most(key, amount, self.0.per_key)
    }

    /// The same for a key without a maximum of its own, such as the address of a proxy.
    pub fn take_for_many(&self, key: K, amount: usize) -> Result<Taken<K>, Full> {
        self.take_at_most(key, amount, usize::MAX)
    }

    fn take_at_most(&self, key: K, amount: usize, per_key: usize) -> Result<Taken<K>, Full> {
        let mut open = lock(&self.0.open);
        if open.all.saturating_add(amount) > self.0.all {
            return Err(Full::All(self.0.all));
        }
        if open.by_key.get(&key).copied().unwrap_or_default().saturating_add(amount) > per_key {
            return Err(Full::Key(per_key));
        }
        open.all += amount;
        *open.by_key.entry(key.clone()).or_default() += amount;
        drop(open);
        Ok(Taken { from: self.0.clone(), key, amount })
    }

    /// How much is open.
    pub fn open(&self) -> usize {
        lock(&self.0.open).all
    }
}

impl<K: Eq + Hash> Drop for Taken<K> {
    fn drop(&mut self) {
        let mut open = lock(&self.from.open);
        open.all -= self.amount;
        // A key without anything open takes no memory.
        if let Some(count) = open.by_key.get_mut(&self.key) {
            *count -= self.amount;
            if *count == 0 {
                open.by_key.remove(&self.key);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key under which the connections of an address count: an IPv4 address, or the /64 network that one host of IPv6 has.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Interval at which refusals of one kind are logged.
const LOGGED_EVERY: Duration = Duration::from_mins(1);

/// Counts refused peers by kind. The first one of a kind is logged at once, the following ones together once a minute, so
/// that a flood does not become a flood of log lines. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<&'static str, Kind>>>);

#[derive(Debug)]
struct Kind {
    all: u64,
    not_logged: u64,
    newest_peer: String,
}

impl Refusals {
    /// Counts a refusal, and logs it if it is the first of its kind.
    pub fn note(&self, kind: &'static str, peer: impl Display) {
        let mut kinds = lock(&self.0);
        match kinds.get_mut(kind) {
            None => {
                let peer = peer.to_string();
                log(kind, 1, &peer);
                kinds.insert(kind, Kind { all: 1, not_logged: 0, newest_peer: peer });
            }
            Some(known) => {
                known.all += 1;
                known.not_logged += 1;
                known.newest_peer = peer.to_string();
            }
        }
    }

    /// How many of a kind were refused since the start.
    pub fn count(&self, kind: &str) -> u64 {
        lock(&self.0).get(kind).map_or(0, |kind| kind.all)
    }

    /// Logs what was counted, once a minute. Never returns.
    pub async fn log_forever(self) {
        loop {
            tokio::time::sleep(LOGGED_EVERY).await;
            self.log_counted();
        }
    }

    fn log_counted(&self) {
        for (kind, counted) in lock(&self.0).iter_mut().filter(|(_, counted)| counted.not_logged > 0) {
            log(kind, counted.not_logged, &counted.newest_peer);
            counted.not_logged = 0;
        }
    }
}

fn log(kind: &str, count: u64, newest_peer: &str) {
    tracing::warn!(kind, count, newest_peer, "refused");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let allowance = Allowance::new(3, 2);
        let first = allowance.take("a", 1).unwrap();
        let second = allowance.take("a", 1).unwrap();
        assert_eq!(allowance.take("a", 1).unwrap_err(), Full::Key(2));
        let other = allowance.take("b", 1).unwrap();
        assert_eq!(allowance.take("c", 1).unwrap_err(), Full::All(3));
        drop(first);
        assert_eq!(allowance.open(), 2);
        assert_eq!(allowance.take("b", 2).unwrap_err(), Full::All(3));
        let many = allowance.take_for_many("a", 1).unwrap();
        drop((second, other, many));
        assert_eq!(allowance.open(), 0);
        assert!(lock(&allowance.0.open).by_key.is_empty(), "nothing is left of keys that have nothing open");
    }

    #[test]
    fn a_host_cannot_count_as_many_by_changing_its_address() {
        let network = |text: &str| super::network(text.parse().unwrap()).to_string();
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2:aaaa::1"), network("2001:db8:1:2:bbbb::2"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_counted_by_kind_and_logged_once_a_minute() {
        let refusals = Refusals::default();
        let logging = tokio::spawn(refusals.clone().log_forever());
        for _ in 0..5 {
            refusals.note("full", "192.0.2.7");
        }
        refusals.note("slow", "192.0.2.8");
        let not_logged = |kind| lock(&refusals.0)[kind].not_logged;
        assert_eq!(
            (not_logged("full"), not_logged("slow")),
            (4, 0),
            "the first one of a kind is logged at once"
        );
        tokio::time::sleep(LOGGED_EVERY + Duration::from_secs(1)).await;
        assert_eq!((not_logged("full"), refusals.count("full")), (0, 5));
        logging.abort();
    }
}
