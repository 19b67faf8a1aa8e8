//! Percentiles and medians of durations.

use std::time::Duration;

/// Measured durations, sorted.
#[derive(Debug, Clone)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// From durations in any order; at least one.
    pub fn new(mut all: Vec<Duration>) -> Self {
        assert!(!all.is_empty(), "nothing was measured");
        all.sort_unstable();
        Self(all)
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that at least `percent` of all do not exceed (nearest rank).
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0[rank - 1]
    }

    /// Half are smaller, half larger; the mean of the middle two of an even number.
    pub fn median(&self) -> Duration {
        let middle = self.0.len() / 2;
        if self.0.len() % 2 == 1 { self.0[middle] } else { (self.0[middle - 1] + self.0[middle]) / 2 }
    }
}

/// Milliseconds with decimals.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Microseconds with decimals.
pub fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(millis: &[u64]) -> Samples {
        Samples::new(millis.iter().copied().map(Duration::from_millis).collect())
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let hundred = samples(&(1..=100).rev().collect::<Vec<_>>());
        assert_eq!(hundred.percentile(50), Duration::from_millis(50));
        assert_eq!(hundred.percentile(99), Duration::from_millis(99));
        assert_eq!(hundred.percentile(100), Duration::from_millis(100));
        assert_eq!(samples(&[7]).percentile(99), Duration::from_millis(7));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(samples(&[3, 1, 2]).median(), Duration::from_millis(2));
        assert_eq!(samples(&[4, 1, 2, 8]).median(), Duration::from_millis(3));
    }
}
