//! `usage project | organization | cluster`: what projects use, as a table with a line of their processors' last day.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use prost_types::Timestamp;
use supalove_proto::v1::{
    CurrentUsage, Entitlement, GetClusterUsageRequest, GetClusterUsageSeriesRequest,
    GetOrganizationUsageRequest, GetOrganizationUsageSeriesRequest, GetProjectUsageRequest,
    GetProjectUsageSeriesRequest, NodeUsage, ProjectUsage, SizeAction, SizeAgainstPlan, SizeLevel,
    UsagePoint, UsageTotals, VolumeUsageBytes, usage_service_client::UsageServiceClient,
};

use super::{Context, resolve};
use crate::{error::Error, output::clean, span, table};

/// Characters of a sparkline.
const COLUMNS: u32 = 48;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The commands about usage.
#[derive(Debug, Subcommand)]
pub enum Usage {
    /// Show what a project uses.
    Project {
        /// Name, ref, organization/name, or the beginning of a ref. Default: that of `supalove use`.
        project: Option<String>,
        #[command(flatten)]
        series: Series,
    },
    /// Show what the projects of an organization use.
    #[command(visible_alias = "org")]
    Organization {
        /// Slug or name. Default: that of `supalove use`, or the only one.
        organization: Option<String>,
        #[command(flatten)]
        series: Series,
    },
    /// Show what all projects on the nodes of a cluster use, by node. For the operator.
    Cluster {
        /// Its id or name.
        #[arg(default_value = "default")]
        cluster: String,
        #[command(flatten)]
        series: Series,
    },
}

/// Over which time.
#[derive(Debug, Args)]
pub struct Series {
    /// Show each step instead of the present values.
    #[arg(long = "series")]
    shown: bool,
    /// How far back, e.g. 6h or 30d.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = span::parse_positive)]
    since: Duration,
    /// Length of a step, e.g. 5m, 1h or 1d. Default: one that gives some fifty steps.
    #[arg(long, value_name = "TIME", value_parser = span::parse_positive)]
    step: Option<Duration>,
}

impl Series {
    fn start(&self) -> Option<Timestamp> {
        SystemTime::now().checked_sub(self.since).map(Timestamp::from)
    }

    /// Minutes are kept for two days, hours for ninety.
    fn step(&self) -> Duration {
        let unit = match self.since.as_secs() {
            short if short <= 2 * DAY => MINUTE,
            longer if longer <= 90 * DAY => HOUR,
            _ => DAY,
        };
        let even = self.since.as_secs().div_ceil(u64::from(COLUMNS)).next_multiple_of(unit);
        self.step.unwrap_or(Duration::from_secs(even.max(unit)))
    }

    fn proto_step(&self) -> prost_types::Duration {
        span::to_proto(self.step())
    }
}

pub async fn run(context: &Context, command: Usage) -> Result<(), Error> {
    match command {
        Usage::Project { project, series } => {
            let project_ref = resolve::project(context, project.as_deref()).await?;
            of_project(context, project_ref, &series).await
        }
        Usage::Organization { organization, series } => {
            let organization = resolve::organization(context, organization.as_deref()).await?;
            of_organization(context, organization, &series).await
        }
        Usage::Cluster { cluster, series } => of_cluster(context, cluster, &series).await,
    }
}

/// Calls a method of the service; its answer, or why there is none.
macro_rules! ask {
    ($context:ident, $method:ident, $request:expr) => {
        $context
            .client
            .call($request, |channel, request| async move {
                UsageServiceClient::new(channel).$method(request).await
            })
            .await
    };
}

async fn of_project(context: &Context, project_ref: String, series: &Series) -> Result<(), Error> {
    let points = async || {
        let request = GetProjectUsageSeriesRequest {
            project_ref: project_ref.clone(),
            start_time: series.start(),
            end_time: None,
            step: Some(series.proto_step()),
        };
        ask!(context, get_project_usage_series, request)
    };
    if series.shown {
        let answer = points().await?;
        return context
            .output
            .answer("GetProjectUsageSeriesResponse", &answer, |answer| steps("", &answer.points));
    }
    let request = GetProjectUsageRequest { project_ref: project_ref.clone() };
    let answer = ask!(context, get_project_usage, request)?;
    let lines = if context.output.is_text() { points().await?.points } else { Vec::new() };
    context.output.answer("GetProjectUsageResponse", &answer, |answer| {
        let usage = answer.usage.clone().unwrap_or_default();
        let now = usage.current.unwrap_or_default();
        let month = usage.month_to_date.unwrap_or_default();
        let held = usage.volumes.unwrap_or_default();
        let known = |text: String| if usage.current.is_some() { text } else { "unknown".to_owned() };
        table::pairs([
            ("project", usage.name.clone()),
            ("ref", usage.project_ref.clone()),
            ("as of", table::time(now.time.as_ref())),
            ("cpu", known(cores(now.cpu_millis))),
            ("memory", known(bytes(now.memory_bytes))),
            (
                "network in, out",
                known(pair(now.network_received_bytes_per_second, now.network_sent_bytes_per_second)),
            ),
            (
                "disk read, write",
                known(pair(now.block_read_bytes_per_second, now.block_written_bytes_per_second)),
            ),
            ("database", size(&usage.sizes, Entitlement::DatabaseSize)),
            ("storage", size(&usage.sizes, Entitlement::StorageSize)),
            ("other files", usage.volumes.map(|_| bytes(held.other_bytes)).unwrap_or_default()),
            ("this month", month_text(&month)),
            (
                &*format!("cpu, last {}", shown(series.since)),
                sparkline(&lines, series, |point| point.cpu_seconds),
            ),
            (
                &*format!("memory, last {}", shown(series.since)),
                sparkline(&lines, series, |point| float(point.memory_bytes)),
            ),
        ])
    })
}

async fn of_organization(context: &Context, organization: String, series: &Series) -> Result<(), Error> {
    let points = async || {
        let request = GetOrganizationUsageSeriesRequest {
            organization: organization.clone(),
            start_time: series.start(),
            end_time: None,
            step: Some(series.proto_step()),
        };
        ask!(context, get_organization_usage_series, request)
    };
    if series.shown {
        let answer = points().await?;
        return context.output.answer("GetOrganizationUsageSeriesResponse", &answer, |answer| {
            let each = answer.projects.iter().map(|one| steps(&one.project_ref, &one.points));
            each.collect::<Vec<_>>().join("\n\n")
        });
    }
    let request = GetOrganizationUsageRequest { organization: organization.clone() };
    let answer = ask!(context, get_organization_usage, request)?;
    let lines = if context.output.is_text() { points().await?.projects } else { Vec::new() };
    context.output.answer("GetOrganizationUsageResponse", &answer, |answer| {
        let line = |project: &ProjectUsage| {
            let found = lines.iter().find(|one| one.project_ref == project.project_ref);
            sparkline(found.map_or(&[][..], |one| &one.points), series, |point| point.cpu_seconds)
        };
        let rows = answer.projects.iter().map(|project| project_row(project, line(project))).collect();
        let header = ["PROJECT", "CPU", "MEMORY", "DATABASE", "STORAGE", "MONTH", "CPU OVER TIME"];
        let table = table::rows(header, rows, "no projects");
        let month = month_text(&answer.month_to_date.unwrap_or_default());
        format!("{table}\n\nplan {}; this month: {month}", clean(&answer.plan))
    })
}

async fn of_cluster(context: &Context, cluster: String, series: &Series) -> Result<(), Error> {
    let points = async || {
        let request = GetClusterUsageSeriesRequest {
            cluster: cluster.clone(),
            start_time: series.start(),
            end_time: None,
            step: Some(series.proto_step()),
        };
        ask!(context, get_cluster_usage_series, request)
    };
    if series.shown {
        let answer = points().await?;
        return context.output.answer("GetClusterUsageSeriesResponse", &answer, |answer| {
            let each = answer.nodes.iter().map(|one| steps(&one.name, &one.points));
            each.collect::<Vec<_>>().join("\n\n")
        });
    }
    let request = GetClusterUsageRequest { cluster: cluster.clone() };
    let answer = ask!(context, get_cluster_usage, request)?;
    let lines = if context.output.is_text() { points().await?.nodes } else { Vec::new() };
    context.output.answer("GetClusterUsageResponse", &answer, |answer| {
        let line = |node: &NodeUsage| {
            let found = lines.iter().find(|one| one.node_id == node.node_id);
            sparkline(found.map_or(&[][..], |one| &one.points), series, |point| point.cpu_seconds)
        };
        let rows = answer.nodes.iter().map(|node| node_row(node, line(node))).collect();
        let header = ["NODE", "CPU", "MEMORY", "DISK", "MONTH", "AS OF", "CPU OVER TIME"];
        let table = table::rows(header, rows, "no nodes");
        let notes = answer.nodes.iter().flat_map(notes).map(|note| format!("\n{}", clean(&note)));
        let month = month_text(&answer.month_to_date.unwrap_or_default());
        format!("{table}\n\nthis month: {month}{}", notes.collect::<String>())
    })
}

fn project_row(project: &ProjectUsage, line: String) -> [String; 7] {
    let name = if project.name.is_empty() { &project.project_ref } else { &project.name };
    let month = project.month_to_date.unwrap_or_default();
    [
        name.clone(),
        now(project.current.as_ref(), |now| cores(now.cpu_millis)),
        now(project.current.as_ref(), |now| bytes(now.memory_bytes)),
        size(&project.sizes, Entitlement::DatabaseSize),
        size(&project.sizes, Entitlement::StorageSize),
        format!("{:.1} core-h", month.cpu_seconds / 3600.0),
        line,
    ]
}

fn node_row(node: &NodeUsage, line: String) -> [String; 7] {
    let held = |held: VolumeUsageBytes| bytes(held.database_bytes + held.storage_bytes + held.other_bytes);
    let month = node.month_to_date.unwrap_or_default();
    [
        node.name.clone(),
        now(node.current.as_ref(), |now| cores(now.cpu_millis)),
        now(node.current.as_ref(), |now| bytes(now.memory_bytes)),
        node.volumes.map(held).unwrap_or_default(),
        format!("{:.1} core-h", month.cpu_seconds / 3600.0),
        table::time(node.last_record_time.as_ref()),
        line,
    ]
}

fn notes(node: &NodeUsage) -> Vec<String> {
    let mut notes = Vec::new();
    if node.dropped_records > 0 {
        notes.push(format!("{}: its agent has dropped {} records", node.name, node.dropped_records));
    }
    if node.refused_reports > 0 {
        notes.push(format!("{}: {} reports were refused: {}", node.name, node.refused_reports, node.refusal));
    }
    notes
}

fn now(current: Option<&CurrentUsage>, text: impl FnOnce(&CurrentUsage) -> String) -> String {
    current.map_or_else(|| "-".to_owned(), text)
}

/// Formats what a plan bounds, e.g. `400.0 MiB of 500.0 MiB (80 %): near the limit`.
fn size(sizes: &[SizeAgainstPlan], wanted: Entitlement) -> String {
    let found = sizes.iter().find(|size| size.entitlement() == wanted);
    found
        .map(|size| {
            let said = match (size.level(), size.at_limit()) {
                (SizeLevel::Over, SizeAction::ReadOnly) => ": read-only",
                (SizeLevel::Over, _) => ": over the plan",
                (SizeLevel::Near, _) => ": near the limit",
                _ => "",
            };
            let (used, limit) = (bytes(size.used_bytes), bytes(size.limit_bytes));
            format!("{used} of {limit} ({:.0} %){said}", size.percent)
        })
        .unwrap_or_default()
}

fn month_text(month: &UsageTotals) -> String {
    format!(
        "{:.1} core-h, {:.1} GiB-h of memory, {} in, {} out, {} read, {} written",
        month.cpu_seconds / 3600.0,
        month.memory_gib_hours,
        bytes(month.network_received_bytes),
        bytes(month.network_sent_bytes),
        bytes(month.block_read_bytes),
        bytes(month.block_written_bytes)
    )
}

/// Formats the steps of a series.
fn steps(name: &str, points: &[UsagePoint]) -> String {
    let rows = points.iter().map(|point| {
        [
            table::time(point.time.as_ref()),
            format!("{:.2}", point.cpu_seconds),
            bytes(point.memory_bytes),
            bytes(point.network_received_bytes),
            bytes(point.network_sent_bytes),
            bytes(point.block_read_bytes),
            bytes(point.block_written_bytes),
        ]
    });
    let header = ["TIME", "CPU-S", "MEMORY", "NET IN", "NET OUT", "READ", "WRITTEN"];
    let table = table::rows(header, rows.collect(), "no samples");
    if name.is_empty() { table } else { format!("{}\n{table}", clean(name)) }
}

/// A character for each step, relative to the highest one; a space where nothing is known.
fn sparkline(points: &[UsagePoint], series: &Series, value: impl Fn(&UsagePoint) -> f64) -> String {
    let step = i64::try_from(series.step().as_secs()).unwrap_or(i64::MAX).max(1);
    let slot = |point: &UsagePoint| point.time.map_or(0, |time| time.seconds / step);
    let (Some(first), Some(last)) = (points.first().map(slot), points.last().map(slot)) else {
        return "no samples".to_owned();
    };
    let most = points.iter().map(&value).fold(0.0, f64::max);
    let bars = (first..=last).take(1000).map(|wanted| {
        let Some(point) = points.iter().find(|point| slot(point) == wanted) else { return ' ' };
        level(value(point), most)
    });
    bars.collect()
}

fn level(value: f64, most: f64) -> char {
    let part = if most > 0.0 { value / most } else { 0.0 };
    let reached = |index: &usize| part > f64::from(u32::try_from(*index).unwrap_or(0)) / 8.0;
    LEVELS[(1..LEVELS.len()).take_while(reached).last().unwrap_or(0)]
}

/// Formats thousandths of a core.
fn cores(millis: u64) -> String {
    format!("{}.{:02} cores", millis / 1000, millis % 1000 / 10)
}

fn pair(one: u64, other: u64) -> String {
    format!("{}/s, {}/s", bytes(one), bytes(other))
}

#[expect(clippy::cast_precision_loss, reason = "to be shown with one decimal")]
fn float(number: u64) -> f64 {
    number as f64
}

/// Formats bytes with one decimal.
fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = float(count) / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

/// Formats a span in its largest whole unit.
fn shown(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(DAY, "d"), (HOUR, "h"), (MINUTE, "m")];
    let found =
        units.into_iter().find(|(length, _)| seconds.is_multiple_of(*length) && seconds >= 2 * length);
    found.map_or_else(|| format!("{seconds}s"), |(length, unit)| format!("{}{unit}", seconds / length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(since: u64) -> Series {
        Series { shown: false, since: Duration::from_secs(since), step: None }
    }

    #[test]
    fn a_sparkline_shows_gaps_and_heights() {
        let point = |seconds, cpu_seconds| UsagePoint {
            time: Some(Timestamp { seconds, nanos: 0 }),
            cpu_seconds,
            ..UsagePoint::default()
        };
        let points = [point(0, 8.0), point(1800, 4.0), point(5400, 0.0)];
        assert_eq!(sparkline(&points, &series(DAY), |point| point.cpu_seconds), "█▄ ▁");
        assert_eq!(sparkline(&[], &series(DAY), |point| point.cpu_seconds), "no samples");
    }

    #[test]
    fn steps_are_those_that_are_kept() {
        assert_eq!(series(DAY).step(), Duration::from_mins(30));
        assert_eq!(series(60).step(), Duration::from_mins(1));
        assert_eq!(series(30 * DAY).step(), Duration::from_hours(15));
        assert_eq!(series(365 * DAY).step(), Duration::from_hours(24 * 8));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(bytes(7), "7 B");
        assert_eq!(bytes(500 << 20), "500.0 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(cores(1250), "1.25 cores");
        assert_eq!(
            (shown(Duration::from_hours(24)), shown(Duration::from_hours(48))),
            ("24h".into(), "2d".into())
        );
    }
}
