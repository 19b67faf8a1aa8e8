//! How far a reader is in the log of a service, so that it can be read again from there: after a break, and after a restart or
//! a replacement of the container. In: what the reader has seen, and lines as the engine repeats them. Out: those that are new.
//!
//! The engine begins at a second, not at a line, and a log's two outputs are stamped independently: their times may cross by
//! microseconds. So each output has its own position, a time and how many lines with it were seen.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::docker::LogLine;

/// Times of the two outputs may cross by far less.
const CROSSING: Duration = Duration::from_secs(1);

/// A place in one output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Time of the last line that was seen.
    pub time: DateTime<Utc>,
    /// How many lines with this time were seen.
    pub lines: u32,
}

/// See the module. Outputs: 0 is standard output, 1 is standard error.
#[derive(Debug, Clone, Default)]
pub struct Cursor {
    /// Older lines are not wanted.
    floor: Option<DateTime<Utc>>,
    seen: [Option<Position>; 2],
    /// Where this reading has to get to before lines are new.
    until: [Option<Position>; 2],
    /// Lines of this reading at the time of `until`.
    repeated: [u32; 2],
    /// The output whose last seen line this reading must show again, until it has.
    anchor: Option<usize>,
    lost: bool,
    /// The last line that was seen is of the container that is read.
    here: bool,
    first: Option<DateTime<Utc>>,
}

impl Cursor {
    /// For a reader that wants lines from `since` on and has seen others.
    pub fn new(since: Option<DateTime<Utc>>, seen: [Option<Position>; 2]) -> Self {
        let newest = seen.iter().flatten().map(|position| position.time).max();
        let mut cursor = Self { floor: since.max(newest), seen, here: newest.is_some(), ..Self::default() };
        if newest.is_some() {
            // An output of which nothing was seen begins there; the others have their own position.
            cursor.begin(true);
        }
        cursor
    }

    /// Only what is written from now on is wanted.
    pub fn skip_to(&mut self, now: DateTime<Utc>) {
        self.floor = self.floor.max(Some(now));
    }

    /// Begins another reading. `same`: of the same container, whose log still has the last line that was seen, unless the
    /// engine has dropped it.
    pub fn begin(&mut self, same: bool) {
        // A new container that has printed nothing yet does not have that line.
        self.here &= same;
        self.until = self.seen;
        self.repeated = [0; 2];
        self.lost = false;
        let last = |output: &usize| self.seen[*output].map(|position| position.time);
        self.anchor =
            (0..2).filter(|output| self.seen[*output].is_some()).max_by_key(last).filter(|_| self.here);
        // What is older than the first line that was wanted is not wanted later either.
        if self.first.is_some() {
            self.floor = self.floor.max(self.first);
        }
    }

    /// Second at which the engine has to begin; 0 = at the beginning.
    pub fn since(&self) -> i32 {
        let newest = self.until.iter().flatten().map(|position| position.time - CROSSING).max();
        let begin = newest.or(self.floor).map_or(0, |time| time.timestamp());
        i32::try_from(begin.max(0)).unwrap_or(i32::MAX)
    }

    /// Whether a line is new to the reader; it counts as seen then.
    pub fn take(&mut self, line: &LogLine) -> bool {
        // The engine stamps every line.
        let Some(time) = line.time else { return true };
        let output = usize::from(line.stderr);
        match self.until[output] {
            Some(until) if time < until.time => return false,
            Some(until) if time == until.time && self.repeated[output] < until.lines => {
                self.repeated[output] += 1;
                self.here = true;
                if self.anchor == Some(output) {
                    self.anchor = None;
                }
                return false;
            }
            Some(_) => self.until[output] = None,
            None if self.seen[output].is_none() && self.floor.is_some_and(|floor| time < floor) => {
                return false;
            }
            None => {}
        }
        if self.anchor == Some(output) {
            self.anchor = None;
            self.lost = true;
        }
        self.here = true;
        let position = match self.seen[output] {
            Some(seen) if seen.time == time => Position { time, lines: seen.lines.saturating_add(1) },
            _ => Position { time, lines: 1 },
        };
        self.seen[output] = Some(position);
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        true
    }

    /// Whether this reading has shown that lines are missing between what was seen and the last taken one. Says it once.
    pub fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(1_767_323_045_000_000 + micros).unwrap()
    }

    fn line(micros: i64, stderr: bool) -> LogLine {
        LogLine { time: Some(at(micros)), stderr, ..LogLine::default() }
    }

    /// Which of the lines are new.
    fn taken(cursor: &mut Cursor, lines: &[(i64, bool)]) -> Vec<i64> {
        let new = lines.iter().filter(|(micros, stderr)| cursor.take(&line(*micros, *stderr)));
        new.map(|(micros, _)| *micros).collect()
    }

    #[test]
    fn a_second_reading_shows_only_what_is_new_although_outputs_cross() {
        let mut cursor = Cursor::default();
        let first = [(10, false), (30, true), (20, false), (20, false)];
        assert_eq!(taken(&mut cursor, &first), [10, 30, 20, 20]);
        cursor.begin(true);
        // A third line at 20, and one of standard output that was written before that of standard error.
        let second =
            [(10, false), (30, true), (20, false), (20, false), (20, false), (25, false), (40, true)];
        assert_eq!(taken(&mut cursor, &second), [20, 25, 40]);
        assert!(!cursor.take_lost());
        cursor.begin(true);
        assert_eq!(i64::from(cursor.since()), at(0).timestamp() - 1);
    }

    #[test]
    fn lines_before_the_wanted_ones_never_come() {
        let mut cursor = Cursor::new(Some(at(100)), [None; 2]);
        assert_eq!(i64::from(cursor.since()), at(0).timestamp());
        assert_eq!(taken(&mut cursor, &[(99, false), (100, false), (101, true)]), [100, 101]);
        let mut cursor = Cursor::default();
        // The last line only; then the whole second again.
        assert_eq!(taken(&mut cursor, &[(50, false)]), [50]);
        cursor.begin(true);
        assert_eq!(taken(&mut cursor, &[(40, true), (45, false), (50, false), (60, true)]), [60]);
        let mut cursor = Cursor::default();
        cursor.skip_to(at(7));
        assert_eq!(taken(&mut cursor, &[(6, false), (7, false)]), [7]);
    }

    #[test]
    fn a_reader_goes_on_where_it_was_and_is_told_of_a_gap() {
        let seen = [Some(Position { time: at(20), lines: 2 }), None];
        let mut cursor = Cursor::new(None, seen);
        let again = [(20, false), (20, false), (10, true), (21, true), (30, false)];
        assert_eq!(taken(&mut cursor, &again), [21, 30]);
        assert!(!cursor.take_lost());
        // The engine has dropped what was seen.
        let mut cursor = Cursor::new(None, seen);
        assert_eq!(taken(&mut cursor, &[(40, false), (41, false)]), [40, 41]);
        assert!(cursor.take_lost() && !cursor.take_lost());
        // Another container cannot have it.
        cursor.begin(false);
        assert_eq!(taken(&mut cursor, &[(90, false)]), [90]);
        assert!(!cursor.take_lost());
        // Nor can it, if it has ended before it printed anything, when it is read again.
        cursor.begin(false);
        cursor.begin(true);
        assert_eq!(taken(&mut cursor, &[(99, false)]), [99]);
        assert!(!cursor.take_lost());
    }
}
