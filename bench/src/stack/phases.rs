//! Computes phases from the engine's calls. Calls of one kind may overlap: a phase is the time during which at least one
//! call of its kind was in progress.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// A call to the engine.
#[derive(Debug, Clone)]
pub struct EngineCall {
    /// HTTP method.
    pub method: String,
    /// Path without the API version and the query.
    pub path: String,
    /// When it was sent.
    pub started: Instant,
    /// When it was answered.
    pub ended: Instant,
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Network,
    Volume,
    Create,
    Start,
    Stop,
    Remove,
    RemoveNetwork,
    RemoveVolume,
}

/// A part of up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// From the wish to the first call that changes something.
    Before,
    /// Making networks.
    Network,
    /// Making volumes.
    Volumes,
    /// Making containers.
    Create,
    /// Starting containers, connecting them to networks included.
    Start,
    /// Making or starting containers.
    CreateAndStart,
    /// Stopping containers.
    Stop,
    /// Removing containers.
    Remove,
    /// Removing networks and volumes.
    RemoveRest,
    /// From the first change on, with no change under way: waiting for health, and what the tool itself does.
    Waiting,
}

impl Phase {
    /// In the order of the table.
    pub const ALL: [Self; 10] = [
        Self::Before,
        Self::Network,
        Self::Volumes,
        Self::Create,
        Self::Start,
        Self::CreateAndStart,
        Self::Stop,
        Self::Remove,
        Self::RemoveRest,
        Self::Waiting,
    ];

    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Before | Self::Waiting => &[],
            Self::Network => &[Kind::Network],
            Self::Volumes => &[Kind::Volume],
            Self::Create => &[Kind::Create],
            Self::Start => &[Kind::Start],
            Self::CreateAndStart => &[Kind::Create, Kind::Start],
            Self::Stop => &[Kind::Stop],
            Self::Remove => &[Kind::Remove],
            Self::RemoveRest => &[Kind::RemoveNetwork, Kind::RemoveVolume],
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "until the first change",
            Self::Network => "network",
            Self::Volumes => "volumes",
            Self::Create => "create",
            Self::Start => "start",
            Self::CreateAndStart => "create + start",
            Self::Stop => "stop",
            Self::Remove => "remove containers",
            Self::RemoveRest => "remove network and volumes",
            Self::Waiting => "health, and waiting for it",
        })
    }
}

/// One way up or down.
#[derive(Debug)]
pub struct Measured {
    /// From the wish to its end.
    pub whole: Duration,
    /// The controller's part of it.
    pub controller: Option<Duration>,
    wish: Instant,
    calls: Vec<(Kind, Instant, Instant)>,
}

impl Measured {
    /// From when it was asked for, when it was known to be done, and the calls in between.
    pub fn new(wish: Instant, done: Instant, calls: &[EngineCall]) -> Self {
        let calls = calls.iter().filter_map(|call| Some((kind(call)?, call.started, call.ended)));
        Self { whole: done - wish, controller: None, wish, calls: calls.collect() }
    }

    /// The time of a phase.
    pub fn phase(&self, phase: Phase) -> Duration {
        let first = self.calls.iter().map(|(_, started, _)| *started).min();
        let before = first.map_or(self.whole, |first| first - self.wish);
        match phase {
            Phase::Before => before,
            Phase::Waiting => self.whole.saturating_sub(before).saturating_sub(union(self.spans(|_| true))),
            _ => union(self.spans(|kind| phase.kinds().contains(&kind))),
        }
    }

    /// The whole but for the time in which it only waited.
    pub fn without_waiting(&self) -> Duration {
        self.whole.saturating_sub(self.phase(Phase::Waiting))
    }

    /// From the first change to the last start: creating and starting with all that the tool does in between.
    pub fn create_and_start(&self) -> Duration {
        let first = self.calls.iter().map(|(_, started, _)| *started).min();
        let last =
            self.calls.iter().filter(|(kind, ..)| *kind == Kind::Start).map(|(.., ended)| *ended).max();
        last.zip(first).map_or(Duration::ZERO, |(last, first)| last - first)
    }

    fn spans(&self, wanted: impl Fn(Kind) -> bool) -> Vec<(Instant, Instant)> {
        self.calls.iter().filter(|(kind, ..)| wanted(*kind)).map(|(_, from, to)| (*from, *to)).collect()
    }
}

/// None of a call that changes nothing.
fn kind(call: &EngineCall) -> Option<Kind> {
    let parts: Vec<&str> = call.path.trim_start_matches('/').split('/').collect();
    Some(match (call.method.as_str(), parts.as_slice()) {
        ("POST", ["networks", "create"]) => Kind::Network,
        ("POST", ["volumes", "create"]) => Kind::Volume,
        ("POST", ["containers", "create"]) => Kind::Create,
        ("POST", ["containers", _, "start"] | ["networks", _, "connect" | "disconnect"]) => Kind::Start,
        ("POST", ["containers", _, "stop" | "kill"]) => Kind::Stop,
        ("DELETE", ["containers", _]) => Kind::Remove,
        ("DELETE", ["networks", _]) => Kind::RemoveNetwork,
        ("DELETE", ["volumes", _]) => Kind::RemoveVolume,
        _ => return None,
    })
}

/// How long at least one span lasts.
fn union(mut spans: Vec<(Instant, Instant)>) -> Duration {
    spans.sort_unstable();
    let mut total = Duration::ZERO;
    let mut reached = None::<Instant>;
    for (from, to) in spans {
        let from = reached.map_or(from, |reached| from.max(reached));
        total += to.saturating_duration_since(from);
        reached = Some(reached.map_or(to, |reached| to.max(reached)));
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(start: Instant, method: &str, path: &str, from: u64, to: u64) -> EngineCall {
        let at = |millis| start + Duration::from_millis(millis);
        EngineCall { method: method.into(), path: path.into(), started: at(from), ended: at(to) }
    }

    #[test]
    fn phases_count_overlapping_calls_once_and_leave_the_rest_to_waiting() {
        let wish = Instant::now();
        let calls = [
            call(wish, "GET", "/containers/json", 0, 5),
            call(wish, "POST", "/networks/create", 10, 30),
            call(wish, "POST", "/containers/create", 30, 60),
            call(wish, "POST", "/containers/create", 40, 70),
            call(wish, "POST", "/containers/abc/start", 50, 90),
            call(wish, "POST", "/networks/abc/connect", 95, 100),
        ];
        let measured = Measured::new(wish, wish + Duration::from_millis(200), &calls);
        let millis = |phase| measured.phase(phase).as_millis();
        assert_eq!(measured.whole.as_millis(), 200);
        assert_eq!(millis(Phase::Before), 10);
        assert_eq!(millis(Phase::Network), 20);
        assert_eq!(millis(Phase::Create), 40);
        assert_eq!(millis(Phase::Start), 45);
        assert_eq!(millis(Phase::CreateAndStart), 65);
        assert_eq!(millis(Phase::Volumes), 0);
        assert_eq!(millis(Phase::Waiting), 105);
        assert_eq!(measured.without_waiting().as_millis(), 95);
        assert_eq!(measured.create_and_start().as_millis(), 90);
    }

    #[test]
    fn each_change_of_the_engine_has_a_kind() {
        let now = Instant::now();
        for (method, path, expected) in [
            ("POST", "/volumes/create", Some(Kind::Volume)),
            ("POST", "/containers/a/stop", Some(Kind::Stop)),
            ("DELETE", "/containers/a", Some(Kind::Remove)),
            ("DELETE", "/networks/a", Some(Kind::RemoveNetwork)),
            ("DELETE", "/volumes/a", Some(Kind::RemoveVolume)),
            ("GET", "/networks/a", None),
        ] {
            assert_eq!(kind(&call(now, method, path, 0, 1)), expected, "{method} {path}");
        }
    }
}
