//! Pauses between retries. In: first pause and cap. Out: doubling pauses, with full jitter if asked for.

use std::time::Duration;

/// Doubling pauses from `first` up to `cap`.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    tries: u32,
}

impl Backoff {
    /// Starts at `first`, never exceeds `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, tries: 0 }
    }

    /// The next pause: first, twice that, … the cap.
    pub fn next_pause(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.tries).unwrap_or(u32::MAX);
        self.tries = self.tries.saturating_add(1);
        self.first.saturating_mul(factor).min(self.cap)
    }

    /// A random time between nothing and the next pause, so that many agents do not dial at once
    /// ("full jitter").
    pub fn next_jittered(&mut self) -> Duration {
        let most = u64::try_from(self.next_pause().as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(rand::random_range(0..=most))
    }

    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        let pauses: Vec<_> = (0..10).map(|_| backoff.next_pause().as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        for _ in 0..100 {
            assert_eq!(backoff.next_pause(), Duration::from_secs(30));
        }
        backoff.reset();
        assert_eq!(backoff.next_pause(), Duration::from_millis(200));
    }

    #[test]
    fn jitter_stays_below_the_pause_and_spreads() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
            for most in [250, 500, 1000, 2000, 4000, 5000, 5000] {
                let pause = backoff.next_jittered();
                assert!(pause <= Duration::from_millis(most));
                seen.insert(pause);
            }
        }
        assert!(seen.len() > 100);
        assert!(seen.iter().any(|pause| *pause < Duration::from_millis(500)));
    }
}
