//! The display of a running operation: moving lines on a terminal, plain lines elsewhere, or nothing.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use supalove_proto::v1::{
    Operation, Project, ProjectEvent, WatchProjectResponse, watch_project_response::Message,
};

use crate::{output::clean, table};

/// How often a moving line moves.
const TICK: Duration = Duration::from_millis(120);
/// Pulls report often; a plain log shows one line per this many percent.
const PERCENT_STEP: u32 = 10;

/// Where progress goes. Shared by the tasks of one `select!`, hence the cell.
pub struct Display {
    inner: RefCell<Inner>,
}

enum Inner {
    Silent,
    Lines(Lines),
    Bars(Bars),
}

/// Plain lines; what was said last per topic is not said again.
struct Lines {
    started: Instant,
    said: HashMap<String, String>,
}

/// One moving line for the operation and one per service.
struct Bars {
    all: MultiProgress,
    head: ProgressBar,
    services: BTreeMap<String, ProgressBar>,
}

impl Display {
    /// A display fit for stderr.
    pub fn new(quiet: bool) -> Self {
        let inner = if quiet {
            Inner::Silent
        } else if std::io::stderr().is_terminal() {
            Inner::Bars(Bars::new())
        } else {
            Inner::Lines(Lines { started: Instant::now(), said: HashMap::new() })
        };
        Self { inner: RefCell::new(inner) }
    }

    /// Shows where the operation is.
    pub fn operation(&self, operation: &Operation) {
        let state = table::operation_state(operation.state());
        let text = with_message(state, &operation.status_message);
        self.inner.borrow_mut().put(None, table::operation_kind(operation), &text);
    }

    /// Shows a message of the project's watch.
    pub fn message(&self, answer: &WatchProjectResponse) {
        match &answer.message {
            Some(Message::Snapshot(project)) => self.snapshot(project),
            Some(Message::Event(event)) => self.event(event),
            _ => {}
        }
    }

    fn snapshot(&self, project: &Project) {
        let mut inner = self.inner.borrow_mut();
        let state = with_message(table::project_state(project.state()), &project.state_reason);
        inner.put(None, "project", &state);
        for service in &project.services {
            let text = with_message(&service.state, &service.message);
            inner.put(Some(&service.name), &service.name, &text);
        }
    }

    fn event(&self, event: &ProjectEvent) {
        let mut inner = self.inner.borrow_mut();
        let text = match event.percent {
            0 => event.message.clone(),
            percent => format!("{} {percent} %", event.message),
        };
        match event.service.as_str() {
            "" => inner.put(None, "project", &text),
            service if inner.skips(event.percent) => inner.remember(service),
            service => inner.put(Some(service), service, &text),
        }
    }
}

impl Inner {
    /// `service` has a line of its own; everything else shares the first.
    fn put(&mut self, service: Option<&str>, topic: &str, text: &str) {
        let (topic, text) = (clean(topic), clean(text));
        match self {
            Self::Silent => {}
            Self::Lines(lines) => lines.put(&topic, text),
            Self::Bars(bars) => match service {
                Some(service) => bars.service(&clean(service)).set_message(text),
                None => bars.head.set_message(format!("{topic}: {text}")),
            },
        }
    }

    fn skips(&self, percent: u32) -> bool {
        matches!(self, Self::Lines(_)) && !percent.is_multiple_of(PERCENT_STEP)
    }

    /// Makes the service's line exist, so that lines keep the order in which services moved first.
    fn remember(&mut self, service: &str) {
        if let Self::Bars(bars) = self {
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
        Self { all, head, services: BTreeMap::new() }
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

/// The lines stay when the display goes, so that the last state can be read.
impl Drop for Bars {
    fn drop(&mut self) {
        for bar in self.services.values() {
            bar.abandon();
        }
        self.head.abandon();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn with_message(state: &str, message: &str) -> String {
    match message {
        "" => state.to_owned(),
        message => format!("{state} - {message}"),
    }
}
