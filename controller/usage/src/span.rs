//! The span and the steps of a series: which steps a request means, and which table rows they are made of.

use std::time::Duration;

use chrono::{DateTime, Datelike as _, TimeDelta, TimeZone as _, Utc};
use prost_types::Timestamp;
use supalove_core::{
    error::{Error, Result},
    sql_enum,
};

sql_enum! {
    /// Length of the steps that the tables have.
    Step {
        /// From the agents' records.
        Minute = "MINUTE",
        /// The sum of minutes.
        Hour = "HOUR",
        /// The sum of hours.
        Day = "DAY",
    }
}

impl Step {
    /// Its length in minutes.
    pub const fn minutes(self) -> i64 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => 24 * 60,
        }
    }

    /// How long its rows are kept.
    pub const fn kept(self) -> TimeDelta {
        match self {
            Self::Minute => TimeDelta::hours(48),
            Self::Hour => TimeDelta::days(90),
            Self::Day => TimeDelta::days(730),
        }
    }
}

/// Steps of one series.
pub const MOST_STEPS: i64 = 1000;
/// Steps that a series has at most if its caller names no length.
const USUAL_STEPS: i64 = 300;
/// Lengths to choose from then, in minutes.
const USUAL_MINUTES: [i64; 4] = [1, 5, 60, 24 * 60];
const DEFAULT_SPAN: TimeDelta = TimeDelta::days(1);

/// A span of whole steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: DateTime<Utc>,
    /// Exclusive.
    pub end: DateTime<Utc>,
    /// Length of a step.
    pub step: TimeDelta,
    /// The rows that it is made of.
    pub rows: Step,
}

impl Span {
    /// Reads the fields of a request.
    pub fn parse(
        start: Option<Timestamp>,
        end: Option<Timestamp>,
        step: Option<prost_types::Duration>,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let end = time("end_time", end)?.unwrap_or(now).min(now + TimeDelta::days(1));
        let start = time("start_time", start)?.unwrap_or(end - DEFAULT_SPAN);
        if start >= end {
            return Err(Error::field("start_time", "must be before end_time, which is now if unset"));
        }
        // Nothing is older, and a span without a bound cannot be counted in steps.
        let start = start.max(now - Step::Day.kept());
        let end = end.max(start);
        let minutes = match step {
            None => usual(start, end, now),
            Some(step) => given(step, start, end, now)?,
        };
        let start = floor(start, minutes);
        Ok(Self { start, end, step: TimeDelta::minutes(minutes), rows: rows(minutes) })
    }

    /// The same span in the next longer usual steps; none if there are none.
    pub fn longer(&self) -> Option<Self> {
        let minutes = USUAL_MINUTES.into_iter().find(|minutes| *minutes > self.step.num_minutes())?;
        let start = floor(self.start, minutes);
        Some(Self { start, step: TimeDelta::minutes(minutes), rows: rows(minutes), ..*self })
    }

    /// Number of steps.
    pub fn steps(&self) -> i64 {
        steps(self.start, self.end, self.step.num_minutes())
    }

    /// Seconds of a step.
    pub fn step_seconds(&self) -> f64 {
        self.step.as_seconds_f64()
    }

    /// Length of a step.
    pub fn length(&self) -> Duration {
        self.step.to_std().unwrap_or_default()
    }
}

/// The first of the month, 0:00 UTC.
pub fn month_start(now: DateTime<Utc>) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(now.year(), now.month(), 1, 0, 0, 0).earliest().unwrap_or(now)
}

fn time(field: &'static str, value: Option<Timestamp>) -> Result<Option<DateTime<Utc>>> {
    let Some(value) = value else { return Ok(None) };
    let nanos = u32::try_from(value.nanos).ok();
    let found = nanos.and_then(|nanos| DateTime::from_timestamp(value.seconds, nanos));
    // PostgreSQL does not know every time that a message can carry.
    let known = found.filter(|at| (1970..=2999).contains(&at.year()));
    known.map(Some).ok_or_else(|| Error::field(field, "must be a time between the years 1970 and 2999"))
}

/// The longest rows that steps of this length are made of.
fn rows(minutes: i64) -> Step {
    [Step::Day, Step::Hour].into_iter().find(|rows| minutes % rows.minutes() == 0).unwrap_or(Step::Minute)
}

fn steps(start: DateTime<Utc>, end: DateTime<Utc>, minutes: i64) -> i64 {
    let seconds = (end - start).num_seconds().max(0);
    seconds.div_euclid(minutes * 60) + i64::from(seconds % (minutes * 60) > 0)
}

fn is_kept(minutes: i64, start: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    let kept = rows(minutes).kept();
    // A default start is as old as a call takes.
    start >= now - kept - TimeDelta::minutes(1)
}

fn usual(start: DateTime<Utc>, end: DateTime<Utc>, now: DateTime<Utc>) -> i64 {
    let fits = |minutes: &i64| steps(start, end, *minutes) <= USUAL_STEPS && is_kept(*minutes, start, now);
    USUAL_MINUTES.into_iter().find(fits).unwrap_or(Step::Day.minutes())
}

fn given(
    step: prost_types::Duration,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<i64> {
    let minutes = step.seconds / 60;
    if step.nanos != 0 || step.seconds % 60 != 0 || !(1..=366 * 24 * 60).contains(&minutes) {
        return Err(Error::field("step", "must be whole minutes, at most a year"));
    }
    if steps(start, end, minutes) > MOST_STEPS {
        return Err(Error::field(
            "step",
            format!("must be longer: the span has more than {MOST_STEPS} such steps"),
        ));
    }
    if !is_kept(minutes, start, now) {
        let (kept, longer) = match rows(minutes) {
            Step::Minute => ("minutes are kept for 48 hours", "hours"),
            _ => ("hours are kept for 90 days", "days"),
        };
        return Err(Error::field(
            "step",
            format!("must be whole {longer}: {kept}, and the span begins earlier"),
        ));
    }
    Ok(minutes)
}

/// Steps begin at the same times whatever a span begins with: days at 0:00 UTC.
fn floor(at: DateTime<Utc>, minutes: i64) -> DateTime<Utc> {
    let length = minutes * 60;
    DateTime::from_timestamp(at.timestamp().div_euclid(length) * length, 0).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 30, 8, 30, 15).unwrap()
    }

    fn stamp(at: DateTime<Utc>) -> Timestamp {
        Timestamp { seconds: at.timestamp(), nanos: 0 }
    }

    fn length(seconds: i64) -> prost_types::Duration {
        prost_types::Duration { seconds, nanos: 0 }
    }

    #[test]
    fn a_span_without_fields_is_the_last_day_in_steps_of_five_minutes() {
        let span = Span::parse(None, None, None, now()).unwrap();
        assert_eq!((span.end, span.step.num_minutes(), span.rows), (now(), 5, Step::Minute));
        assert_eq!(span.start, Utc.with_ymd_and_hms(2026, 11, 29, 8, 30, 0).unwrap());
        assert!(span.steps() <= USUAL_STEPS + 1);
        let usual = |days| {
            let span = Span::parse(Some(stamp(now() - TimeDelta::days(days))), None, None, now()).unwrap();
            (span.step.num_minutes(), span.rows)
        };
        assert_eq!(usual(3), (60, Step::Hour));
        assert_eq!(usual(30), (24 * 60, Step::Day));
        assert_eq!(usual(700), (24 * 60, Step::Day));
        assert_eq!(usual(10_000), (24 * 60, Step::Day), "nothing is older than two years");
        let hours = span.longer().unwrap();
        assert_eq!((hours.step.num_minutes(), hours.rows, hours.end), (60, Step::Hour, span.end));
        assert_eq!(hours.start, Utc.with_ymd_and_hms(2026, 11, 29, 8, 0, 0).unwrap());
        assert_eq!(hours.longer().unwrap().longer(), None);
    }

    #[test]
    fn a_step_that_has_no_rows_or_too_many_is_refused_by_its_name() {
        let parse = |days, seconds| {
            Span::parse(Some(stamp(now() - TimeDelta::days(days))), None, Some(length(seconds)), now())
        };
        let words = |days, seconds| parse(days, seconds).unwrap_err().to_string();
        assert_eq!(parse(30, 3600).unwrap().rows, Step::Hour);
        assert!(words(3, 600).contains("48 hours"), "{}", words(3, 600));
        assert!(words(100, 7 * 3600).contains("90 days"));
        assert!(words(1, 60).contains("1000"));
        for seconds in [0, -60, 90, 100_000_000_000] {
            assert!(words(1, seconds).contains("whole minutes"), "{seconds}");
        }
        let wrong = Span::parse(Some(stamp(now())), Some(stamp(now())), None, now()).unwrap_err();
        assert!(wrong.to_string().contains("before end_time"));
        let far = Some(Timestamp { seconds: i64::MAX, nanos: 0 });
        assert!(Span::parse(far, None, None, now()).unwrap_err().to_string().contains("1970"));
    }

    #[test]
    fn a_month_begins_at_midnight() {
        assert_eq!(month_start(now()), Utc.with_ymd_and_hms(2026, 11, 1, 0, 0, 0).unwrap());
    }
}
