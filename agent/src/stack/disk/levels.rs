//! How full volumes are, and what that means: numbers alone.

use std::time::Duration;

/// How full a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Fine = 0,
    Warned = 1,
    Full = 2,
    Over = 3,
}

impl Level {
    /// The level that was written down as this number.
    pub(super) fn from_number(number: u32) -> Self {
        [Self::Warned, Self::Full, Self::Over]
            .into_iter()
            .find(|level| *level as u32 == number)
            .unwrap_or(Self::Fine)
    }
}

/// The size of a file system that holds so much: with what it needs itself, and with air, so that whoever writes is seen to
/// be over its limit before a database meets a full disk, with which it may not even start.
pub fn image_mib(limit_mib: u64) -> u64 {
    limit_mib + limit_mib / 10 + 64
}

/// The most that a volume may hold; who writes on is stopped.
pub fn hard_limit(size_mib: u64) -> u64 {
    size_mib + size_mib / 5
}

/// The most that it may ever be allowed to, however often it is started again. Far enough above the limit that also a volume
/// that a fast writer filled between two measurements can be started again, to delete.
pub(super) fn last_limit(size_mib: u64) -> u64 {
    size_mib * 2
}

pub(super) fn level(used: u64, size: u64, ceiling: u64, before: Level) -> Level {
    let percent = |part: u64| size * part / 100;
    if size == 0 {
        return Level::Fine;
    }
    // What was stopped stays so until somebody acts, or it fits again.
    if used >= ceiling || before == Level::Over && used >= size {
        Level::Over
    } else if used >= size || before >= Level::Full && used >= percent(95) {
        Level::Full
    } else if used >= percent(80) {
        Level::Warned
    } else {
        Level::Fine
    }
}

/// The ceiling of a volume that this generation found with so much on it.
pub(super) fn ceiling(used: u64, size: u64) -> u64 {
    let usual = hard_limit(size);
    // Also one that is found just below the usual ceiling: its database writes some before anybody can delete.
    if used < size { usual } else { (used + used / 10).min(last_limit(size)).max(usual) }
}

/// Whether a database that holds so much is over what its plan allows.
pub(super) fn is_over_plan(held: u64, allowed: Option<u64>, before: bool) -> bool {
    allowed.is_some_and(|allowed| held >= allowed || before && held >= allowed * 95 / 100)
}

/// How long until the next measurement: half of what the ceiling is away at this pace.
pub(super) fn pause(grown: u64, within: Duration, left: u64, least: Duration, most: Duration) -> Duration {
    if grown == 0 {
        return most;
    }
    let until_there = within.mul_f64(f64::from(u32::try_from(left).unwrap_or(u32::MAX)))
        / u32::try_from(grown).unwrap_or(u32::MAX);
    (until_there / 2).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_rise_at_once_and_fall_with_a_distance() {
        let at = |used, before| level(used, 1000, ceiling(0, 1000), before);
        assert_eq!(at(799, Level::Fine), Level::Fine);
        assert_eq!(at(800, Level::Fine), Level::Warned);
        assert_eq!(at(1000, Level::Warned), Level::Full);
        assert_eq!(at(960, Level::Full), Level::Full);
        assert_eq!(at(949, Level::Full), Level::Warned);
        assert_eq!(at(1200, Level::Full), Level::Over);
        assert_eq!(at(1000, Level::Over), Level::Over, "it stays stopped until it fits");
        assert_eq!(at(999, Level::Over), Level::Full);
        assert_eq!(level(u64::MAX, 0, 0, Level::Fine), Level::Fine, "no limit");
    }

    #[test]
    fn a_level_is_written_down_as_a_number() {
        for level in [Level::Fine, Level::Warned, Level::Full, Level::Over] {
            assert_eq!(Level::from_number(level as u32), level);
        }
    }

    #[test]
    fn a_start_gives_a_tenth_more_but_not_without_end() {
        assert_eq!(ceiling(500, 1000), 1200);
        assert_eq!(ceiling(1200, 1000), 1320);
        assert_eq!(ceiling(1480, 1000), 1628);
        assert_eq!(ceiling(9000, 1000), 2000);
        assert_eq!(level(1200, 1000, ceiling(1200, 1000), Level::Fine), Level::Full);
    }

    #[test]
    fn over_a_plan_ends_with_a_distance() {
        assert!(!is_over_plan(u64::MAX, None, true), "no limit");
        assert!(!is_over_plan(499, Some(500), false) && is_over_plan(500, Some(500), false));
        assert!(is_over_plan(480, Some(500), true) && !is_over_plan(474, Some(500), true));
        assert!(is_over_plan(0, Some(0), false), "nothing is allowed");
    }

    #[test]
    fn who_grows_fast_is_measured_often() {
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(15));
        let after = |grown, left| pause(grown, most, left, least, most);
        assert_eq!(after(0, 10), most);
        assert_eq!(after(150, 200), Duration::from_secs(10));
        assert_eq!(after(1500, 200), least);
        assert_eq!(after(u64::MAX, 0), least);
        assert_eq!(after(1, u64::MAX), most);
    }
}
