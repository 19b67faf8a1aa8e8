//! What was used in a step, as the tables have it.

/// What volumes hold, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volumes {
    pub database: i64,
    pub storage: i64,
    pub other: i64,
}

/// What was used in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// How much of the step samples cover, in milliseconds.
    pub covered_ms: i64,
    pub cpu_us: i64,
    /// Mean of the memory in KiB × covered seconds.
    pub memory_kib_seconds: i64,
    pub memory_max_kib: i64,
    pub received_bytes: i64,
    pub sent_bytes: i64,
    pub read_bytes: i64,
    pub written_bytes: i64,
    /// As measured last; none if that was not in the step.
    pub volumes: Option<Volumes>,
}

impl Amounts {
    /// Adds what was used later in the same step.
    pub fn add(&mut self, later: &Self) {
        self.covered_ms = self.covered_ms.saturating_add(later.covered_ms);
        self.cpu_us = self.cpu_us.saturating_add(later.cpu_us);
        self.memory_kib_seconds = self.memory_kib_seconds.saturating_add(later.memory_kib_seconds);
        self.memory_max_kib = self.memory_max_kib.max(later.memory_max_kib);
        self.received_bytes = self.received_bytes.saturating_add(later.received_bytes);
        self.sent_bytes = self.sent_bytes.saturating_add(later.sent_bytes);
        self.read_bytes = self.read_bytes.saturating_add(later.read_bytes);
        self.written_bytes = self.written_bytes.saturating_add(later.written_bytes);
        self.volumes = later.volumes.or(self.volumes);
    }

    /// Adds what something else used in the same time: a project on the node, a container of the project.
    pub fn add_beside(&mut self, other: &Self) {
        let (covered_ms, memory_max_kib, volumes) = (self.covered_ms, self.memory_max_kib, self.volumes);
        self.add(other);
        self.covered_ms = covered_ms;
        self.memory_max_kib = memory_max_kib.saturating_add(other.memory_max_kib);
        self.volumes = match (volumes, other.volumes) {
            (Some(one), Some(other)) => Some(Volumes {
                database: one.database.saturating_add(other.database),
                storage: one.storage.saturating_add(other.storage),
                other: one.other.saturating_add(other.other),
            }),
            (one, other) => one.or(other),
        };
    }

    /// Mean per second of a number that was counted while samples cover the step.
    pub fn per_second(&self, count: i64) -> u64 {
        let seconds_1000 = u128::try_from(self.covered_ms).unwrap_or(0);
        let count = u128::try_from(count).unwrap_or(0);
        (count * 1000).checked_div(seconds_1000).map_or(0, |mean| u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// Mean of the memory in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.per_second(self.memory_kib_seconds).saturating_mul(1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_later_covers_more_and_what_is_beside_does_not() {
        let volumes = |database| Some(Volumes { database, ..Volumes::default() });
        let one = Amounts {
            covered_ms: 1000,
            cpu_us: 5,
            memory_kib_seconds: 100,
            memory_max_kib: 100,
            volumes: volumes(7),
            ..Amounts::default()
        };
        let mut later = one;
        later.add(&Amounts { volumes: None, memory_max_kib: 50, ..one });
        assert_eq!((later.covered_ms, later.cpu_us, later.memory_max_kib), (2000, 10, 100));
        assert_eq!(later.volumes, volumes(7), "what was not measured is as before");
        assert_eq!(later.memory_bytes(), 100 * 1024);
        let mut beside = one;
        beside.add_beside(&one);
        assert_eq!((beside.covered_ms, beside.cpu_us, beside.memory_max_kib), (1000, 10, 200));
        assert_eq!((beside.volumes, beside.memory_bytes()), (volumes(14), 200 * 1024));
        assert_eq!(Amounts::default().memory_bytes(), 0, "nothing is covered");
    }
}
