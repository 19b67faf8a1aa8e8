//! Metrics of the control plane, if the operator wants them: nodes, projects, operations and jobs in numbers, and what the nodes'
//! projects use together. Labels are states, and names of jobs, clusters and nodes; no project, user or address.

use std::collections::BTreeMap;

use supalove_core::{
    Core,
    error::{Result, chain},
    jobs::{self, State},
};
use supalove_net::metrics::{Kind, Page};
use supalove_usage::counts::{self, NodeNow};

/// Nodes that have values of their own; more are only counted.
const NODES: i64 = 1000;

/// The page as it is now; the error is for whoever scrapes.
pub async fn page(core: Core) -> std::result::Result<Page, String> {
    gather(&core).await.map_err(|error| {
        tracing::warn!(error = chain(&error), "cannot gather metrics");
        "the control database does not answer".to_owned()
    })
}

async fn gather(core: &Core) -> Result<Page> {
    let mut page = Page::default();
    let mut build = page.family("supalove_build_info", Kind::Gauge, "Version of the controller.");
    build.value(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    page.one(
        "supalove_connection_panics_total",
        Kind::Counter,
        "Panics that ended a connection of this replica.",
        float(i64::try_from(core.tasks.connection_panics()).unwrap_or(i64::MAX)),
    );
    states(
        &mut page,
        "supalove_nodes",
        "Nodes by state.",
        supalove_fleet::counts::nodes(&core.db, &core.times).await?,
    );
    states(
        &mut page,
        "supalove_projects",
        "Projects by state.",
        supalove_projects::counts::projects(&core.db).await?,
    );
    states(
        &mut page,
        "supalove_operations_open",
        "Open operations by kind.",
        supalove_projects::counts::operations(&core.db).await?,
    );
    add_jobs(core, &mut page).await?;
    add_usage(core, &mut page).await?;
    Ok(page)
}

fn states(page: &mut Page, name: &str, help: &str, counts: Vec<(String, i64)>) {
    let label = if name.ends_with("open") { "kind" } else { "state" };
    let mut family = page.family(name, Kind::Gauge, help);
    for (state, count) in counts {
        family.value(&[(label, &state)], float(count));
    }
}

/// A family of values of nodes: name, kind, what it is, and how a node has it.
type Of = (&'static str, Kind, &'static str, fn(&NodeNow) -> f64);

/// A job on all replicas together.
#[derive(Default)]
struct Job {
    success: Option<i64>,
    failing: bool,
    overdue: bool,
}

async fn add_jobs(core: &Core, page: &mut Page) -> Result<()> {
    let mut all: BTreeMap<String, Job> = BTreeMap::new();
    for status in jobs::list(core).await? {
        let job = all.entry(status.name).or_default();
        job.success = job.success.max(status.last.success.map(|at| at.timestamp()));
        // A replica that is gone fails at nothing.
        job.failing |= status.state == State::Failing;
        job.overdue |= status.overdue && status.state != State::Gone;
    }
    let mut last = page.family(
        "supalove_job_last_success_timestamp_seconds",
        Kind::Gauge,
        "When a job last succeeded, on any replica.",
    );
    for (name, success) in all.iter().filter_map(|(name, job)| Some((name, job.success?))) {
        last.value(&[("job", name)], float(success));
    }
    let mut failing = page.family(
        "supalove_job_failing",
        Kind::Gauge,
        "Whether the last run of a job failed on a replica.",
    );
    for (name, job) in &all {
        failing.value(&[("job", name)], f64::from(u8::from(job.failing)));
    }
    let mut overdue = page.family(
        "supalove_job_overdue",
        Kind::Gauge,
        "Whether a job did not succeed in time on a replica.",
    );
    for (name, job) in &all {
        overdue.value(&[("job", name)], f64::from(u8::from(job.overdue)));
    }
    Ok(())
}

async fn add_usage(core: &Core, page: &mut Page) -> Result<()> {
    let nodes = counts::nodes(&core.db, NODES).await?;
    let families: [Of; 6] = [
        ("supalove_node_cpu_cores", Kind::Gauge, "Cores that the projects on a node use.", |now| {
            now.cpu_cores
        }),
        ("supalove_node_memory_bytes", Kind::Gauge, "Memory that the projects on a node use.", |now| {
            now.memory_bytes
        }),
        ("supalove_node_volumes_bytes", Kind::Gauge, "What the volumes on a node hold.", |now| {
            now.volumes_bytes
        }),
        ("supalove_node_usage_age_seconds", Kind::Gauge, "Age of a node's newest record of usage.", |now| {
            now.age_seconds
        }),
        (
            "supalove_node_usage_dropped_records_total",
            Kind::Counter,
            "Records of usage that a node's agent has dropped.",
            |now| now.dropped,
        ),
        (
            "supalove_node_usage_refused_reports_total",
            Kind::Counter,
            "Reports of usage of a node that were refused.",
            |now| now.refused,
        ),
    ];
    for (name, kind, help, value) in families {
        let mut family = page.family(name, kind, help);
        for node in &nodes {
            family.value(&[("cluster", &node.cluster), ("node", &node.node), ("id", &node.id)], value(node));
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a count, to be shown")]
fn float(count: i64) -> f64 {
    count as f64
}
