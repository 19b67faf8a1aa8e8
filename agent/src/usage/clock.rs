//! When a record was made: by the host's monotonic clock, which no change of the wall clock moves and which outlives the agent.

use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io};

/// A moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// Which boot of the host.
    pub boot: String,
    /// Milliseconds since that boot.
    pub uptime_ms: u64,
    /// Milliseconds since 1970 by the wall clock.
    pub wall_ms: u64,
}

impl Clock {
    /// This moment.
    pub fn now(boot: &str) -> io::Result<Self> {
        let text = fs::read_to_string("/proc/uptime")?;
        let uptime_ms = uptime_ms(&text).ok_or_else(|| io::Error::other("/proc/uptime has no number"))?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            boot: boot.to_owned(),
            uptime_ms,
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// How long ago `then` was, in milliseconds. Across a boot of the host by the wall clock, and at least since the boot.
    pub fn since_ms(&self, then: &Self) -> u64 {
        if self.boot == then.boot {
            self.uptime_ms.saturating_sub(then.uptime_ms)
        } else {
            self.wall_ms.saturating_sub(then.wall_ms).max(self.uptime_ms)
        }
    }
}

/// The first number of `/proc/uptime`, in seconds with hundredths.
pub(super) fn uptime_ms(text: &str) -> Option<u64> {
    let (seconds, hundredths) = text.split_ascii_whitespace().next()?.split_once('.')?;
    let hundredths: u64 = hundredths.get(..2)?.parse().ok()?;
    seconds.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(hundredths * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_jumps_changes_nothing_within_a_boot() {
        let then = Clock { boot: "a".into(), uptime_ms: 5000, wall_ms: 1_000_000 };
        let jumped = Clock { boot: "a".into(), uptime_ms: 65_000, wall_ms: 0 };
        assert_eq!(jumped.since_ms(&then), 60_000);
        let rebooted = Clock { boot: "b".into(), uptime_ms: 3000, wall_ms: 1_100_000 };
        assert_eq!(rebooted.since_ms(&then), 100_000);
        let wrong = Clock { boot: "b".into(), uptime_ms: 3000, wall_ms: 7 };
        assert_eq!(wrong.since_ms(&then), 3000, "it was before the boot");
        assert!(Clock::now("x").unwrap().uptime_ms > 0);
    }

    #[test]
    fn the_kernel_tells_hundredths_of_seconds() {
        assert_eq!(uptime_ms("350735.47 234388.90\n"), Some(350_735_470));
        for wrong in ["", "7", "7.5", "x.12", "-1.00"] {
            assert_eq!(uptime_ms(wrong), None, "{wrong}");
        }
    }
}
