//! Metrics of the agent, if the operator wants them: its session, its projects by phase, the node's conditions, the spool.
//! Nothing of a project is in them but its phase.

use std::collections::BTreeMap;
use std::sync::Arc;

use supalove_net::metrics::{Kind, Page};

use crate::node::Node;
use crate::status::SessionStatus;

/// The page as it is now.
pub fn page(node: &Arc<Node>) -> Page {
    let mut page = Page::default();
    let mut build = page.family("supalove_agent_build_info", Kind::Gauge, "Version of the agent.");
    build.value(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let connected = matches!(node.status.get(), SessionStatus::Connected { .. });
    page.one(
        "supalove_agent_session_connected",
        Kind::Gauge,
        "Whether the agent has a session with a controller.",
        f64::from(u8::from(connected)),
    );
    let mut phases: BTreeMap<&str, u32> = BTreeMap::new();
    for state in node.reports.all() {
        let phase = state.phase().as_str_name();
        *phases.entry(phase.strip_prefix("STACK_PHASE_").unwrap_or(phase)).or_default() += 1;
    }
    let mut projects = page.family("supalove_agent_projects", Kind::Gauge, "Projects by phase.");
    for (phase, count) in phases {
        projects.value(&[("phase", phase)], f64::from(count));
    }
    let mut conditions =
        page.family("supalove_agent_condition", Kind::Gauge, "What is wrong with the node, by reason.");
    for condition in node.supervisor.shared().conditions.subscribe().borrow().iter() {
        conditions.value(&[("reason", &condition.reason)], 1.0);
    }
    let late = u32::try_from(node.engine().late_calls()).unwrap_or(u32::MAX);
    page.one(
        "supalove_agent_engine_late_calls",
        Kind::Gauge,
        "Calls that the Docker Engine has left unanswered for longer than a call may take.",
        f64::from(late),
    );
    let (waiting, dropped) = node.usage.waiting();
    page.one(
        "supalove_agent_usage_records_waiting",
        Kind::Gauge,
        "Records of usage that no controller has acknowledged.",
        float(waiting),
    );
    page.one(
        "supalove_agent_usage_records_dropped_total",
        Kind::Counter,
        "Records of usage that were dropped, because the spool was full.",
        float(dropped),
    );
    page
}

#[expect(clippy::cast_precision_loss, reason = "a count")]
fn float(count: u64) -> f64 {
    count as f64
}
