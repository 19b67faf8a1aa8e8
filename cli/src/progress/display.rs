//! Displays a running operation: one changing line per service on a terminal, short plain lines elsewhere, or
//! nothing.
//!
//! It shows events, not snapshots, which would repeat them one step later. It shows the status of the
//! operation only if no event had the same text: a wait for capacity, or trouble.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use supalove_proto::v1::{
    Operation, OperationState, ProjectEvent, ProjectEventType, WatchProjectResponse,
    watch_project_response::Message,
};

use crate::{output::clean, table};

/// Interval of the spinner.
const TICK: Duration = Duration::from_millis(120);
/// Pulls report often; plain output shows one line per this many percent.
const PERCENT_STEP: u32 = 10;

/// Output of progress. A cell, because the tasks of one `select!` share it.
pub struct Display {
    inner: RefCell<Inner>,
}

struct Inner {
    form: Form,
    /// Texts of shown events, which the operation's status may repeat.
    heard: HashSet<String>,
}

enum Form {
    Silent,
    Lines(Lines),
    Bars(Bars),
}

/// Plain lines; skips a text that repeats the last one of its topic.
struct Lines {
    started: Instant,
    said: HashMap<String, String>,
}

/// One changing line for the operation and one per service.
struct Bars {
    all: MultiProgress,
    head: ProgressBar,
    services: BTreeMap<String, ProgressBar>,
    cleared: bool,
}

impl Display {
    /// Creates a display that fits stderr.
    pub fn new(quiet: bool) -> Self {
        let form = if quiet {
            Form::Silent
        } else if std::io::stderr().is_terminal() {
            Form::Bars(Bars::new())
        } else {
            Form::Lines(Lines { started: Instant::now(), said: HashMap::new() })
        };
        Self { inner: RefCell::new(Inner { form, heard: HashSet::new() }) }
    }

    /// Shows the operation's status.
    pub fn operation(&self, operation: &Operation) {
        let mut inner = self.inner.borrow_mut();
        let what = table::operation_kind(operation).to_ascii_lowercase().replace('_', " ");
        let status = operation.status_message.as_str();
        match operation.state() {
            OperationState::Pending | OperationState::Running => {
                if status.is_empty() || inner.heard.contains(status) {
                    inner.title(&what);
                } else {
                    inner.put(None, &what, status);
                }
            }
            // The command's last line gives the result, so the progress lines can go.
            OperationState::Succeeded => inner.clear(),
            _ => {
                inner.title(&format!("{what}: {}", table::operation_state(operation.state()).to_lowercase()));
            }
        }
    }

    /// Shows a message of the project's watch.
    pub fn message(&self, answer: &WatchProjectResponse) {
        if let Some(Message::Event(event)) = &answer.message {
            self.event(event);
        }
    }

    fn event(&self, event: &ProjectEvent) {
        use ProjectEventType::{
            OperationCancelled, OperationFailed, OperationStarted, OperationSucceeded, StateChanged,
        };
        let mut inner = self.inner.borrow_mut();
        inner.heard.insert(event.message.clone());
        // `operation` shows these.
        if matches!(
            event.r#type(),
            StateChanged | OperationStarted | OperationSucceeded | OperationFailed | OperationCancelled
        ) {
            return;
        }
        let words = words(event);
        match event.service.as_str() {
            "" => inner.put(None, "project", &words),
            service if inner.skips(event.percent) => inner.remember(service),
            service => inner.put(Some(service), service, &words),
        }
    }
}

/// Returns an event's text without the service's name, which the line already begins with.
fn words(event: &ProjectEvent) -> String {
    let service = event.service.as_str();
    let message = event.message.as_str();
    let short = match message.strip_prefix(service) {
        Some(rest) if !service.is_empty() => {
            rest.strip_prefix(": ").or_else(|| rest.strip_prefix(" is ")).unwrap_or(message)
        }
        _ => message,
    };
    match event.percent {
        0 => short.to_owned(),
        percent => format!("{short} {percent} %"),
    }
}

impl Inner {
    /// Each service has a line of its own; everything else shares the first line.
    fn put(&mut self, service: Option<&str>, topic: &str, text: &str) {
        let topic = clean(topic);
        let text = clean(text);
        match &mut self.form {
            Form::Silent => {}
            Form::Lines(lines) => lines.put(&topic, text),
            Form::Bars(bars) => match service {
                Some(service) => bars.service(&clean(service)).set_message(text),
                None => bars.head.set_message(format!("{topic}: {text}")),
            },
        }
    }

    /// Sets the first line on a terminal; plain output has none.
    fn title(&mut self, text: &str) {
        if let Form::Bars(bars) = &self.form {
            bars.head.set_message(clean(text));
        }
    }

    /// Removes the changing lines.
    fn clear(&mut self) {
        if let Form::Bars(bars) = &mut self.form {
            bars.clear();
        }
    }

    fn skips(&self, percent: u32) -> bool {
        matches!(self.form, Form::Lines(_)) && !percent.is_multiple_of(PERCENT_STEP)
    }

    /// Creates the service's line, so that lines keep the order of the services' first events.
    fn remember(&mut self, service: &str) {
        if let Form::Bars(bars) = &mut self.form {
            bars.service(&clean(service));
        }
    }
}

impl Lines {
    fn put(&mut self, topic: &str, text: String) {
        if self.said.get(topic) == Some(&text) {
            return;
        }
        eprintln!("[{:>3}s] {topic}: {text}", self.started.elapsed().as_secs());
        self.said.insert(topic.to_owned(), text);
    }
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let head = all.add(ProgressBar::new_spinner());
        head.set_style(style("{spinner} [{elapsed}] {msg}"));
        head.enable_steady_tick(TICK);
        Self { all, head, services: BTreeMap::new(), cleared: false }
    }

    fn clear(&mut self) {
        self.services.values().for_each(ProgressBar::finish_and_clear);
        self.head.finish_and_clear();
        self.cleared = true;
    }

    fn service(&mut self, name: &str) -> &ProgressBar {
        self.services.entry(name.to_owned()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new_spinner());
            bar.set_style(style("    {prefix:<10} {msg}"));
            bar.set_prefix(name.to_owned());
            bar
        })
    }
}

/// Keeps the lines on the terminal unless the operation succeeded, so that users can read the last state.
impl Drop for Bars {
    fn drop(&mut self) {
        if self.cleared {
            return;
        }
        for bar in self.services.values() {
            bar.abandon();
        }
        self.head.abandon();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_once() {
        let said = |message: &str, percent| {
            words(&ProjectEvent {
                service: "postgres".into(),
                message: message.into(),
                percent,
                ..Default::default()
            })
        };
        assert_eq!(said("postgres: created", 0), "created");
        assert_eq!(said("postgres is ready", 0), "ready");
        assert_eq!(said("pulling", 40), "pulling 40 %");
        assert_eq!(said("postgresql is new", 0), "postgresql is new");
        let whole = ProjectEvent { message: "placed on h1".into(), ..Default::default() };
        assert_eq!(words(&whole), "placed on h1");
    }
}
