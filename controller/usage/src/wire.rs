//! Between the room's types and those of the wire.

use chrono::{DateTime, Utc};
use supalove_core::{ids::ProjectRef, wire::timestamp};
use supalove_plans::{Entitlement as Limited, Held, SizeAction};
use supalove_proto::v1::{
    self as pb, CurrentUsage, Entitlement, NodeUsage, ProjectUsage, SizeAgainstPlan, SizeLevel, UsagePoint,
    UsageTotals, VolumeUsageBytes,
};

use crate::{
    amounts::{Amounts, Volumes},
    limits::Level,
    store::read::{OfNode, OfProject, Point},
};

const MIB: u64 = 1024 * 1024;
/// KiB × seconds of a GiB × hour.
const GIB_HOUR: f64 = 1024.0 * 1024.0 * 3600.0;

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "a sum of months, to be shown")]
fn float(number: i64) -> f64 {
    number as f64
}

fn current((at, used): &(DateTime<Utc>, Amounts)) -> CurrentUsage {
    CurrentUsage {
        time: Some(timestamp(*at)),
        // Microseconds in a second are millionths of a core.
        cpu_millis: used.per_second(used.cpu_us) / 1000,
        memory_bytes: used.memory_bytes(),
        network_received_bytes_per_second: used.per_second(used.received_bytes),
        network_sent_bytes_per_second: used.per_second(used.sent_bytes),
        block_read_bytes_per_second: used.per_second(used.read_bytes),
        block_written_bytes_per_second: used.per_second(used.written_bytes),
    }
}

fn volumes(volumes: Volumes) -> VolumeUsageBytes {
    VolumeUsageBytes {
        database_bytes: count(volumes.database),
        storage_bytes: count(volumes.storage),
        other_bytes: count(volumes.other),
    }
}

pub fn totals(used: &Amounts) -> UsageTotals {
    UsageTotals {
        cpu_seconds: float(used.cpu_us) / 1e6,
        memory_gib_hours: float(used.memory_kib_seconds) / GIB_HOUR,
        network_received_bytes: count(used.received_bytes),
        network_sent_bytes: count(used.sent_bytes),
        block_read_bytes: count(used.read_bytes),
        block_written_bytes: count(used.written_bytes),
    }
}

/// `levels`: of the sizes that are not fine.
pub fn project(found: OfProject, plan: &Held, levels: &[(ProjectRef, Limited, Level)]) -> ProjectUsage {
    let held = found.usage.volumes.unwrap_or_default();
    let limits = &plan.limits;
    let of = |limited: Limited| {
        let known = levels.iter().find(|(project, of, _)| (project, *of) == (&found.project, limited));
        known.map_or(Level::Fine, |(_, _, level)| *level)
    };
    ProjectUsage {
        project_ref: found.project.to_string(),
        name: found.name,
        current: found.usage.current.as_ref().map(current),
        volumes: found.usage.volumes.map(volumes),
        month_to_date: Some(totals(&found.usage.month)),
        sizes: vec![
            SizeAgainstPlan {
                level: wire_level(of(Limited::DatabaseSize)).into(),
                at_limit: action(plan.at_size_limit).into(),
                ..size(Entitlement::DatabaseSize, held.database, limits.database_mib)
            },
            SizeAgainstPlan {
                level: wire_level(of(Limited::StorageSize)).into(),
                at_limit: action(SizeAction::Notify).into(),
                ..size(Entitlement::StorageSize, held.storage, limits.storage_mib)
            },
        ],
    }
}

fn size(entitlement: Entitlement, used: i64, limit_mib: i64) -> SizeAgainstPlan {
    let limit_bytes = count(limit_mib).saturating_mul(MIB);
    let percent = match (used, limit_mib) {
        (0, _) => 0.0,
        (_, 0) => 100.0,
        (used, limit) => float(used) * 100.0 / (float(limit) * 1024.0 * 1024.0),
    };
    SizeAgainstPlan {
        entitlement: entitlement.into(),
        used_bytes: count(used),
        limit_bytes,
        percent,
        ..SizeAgainstPlan::default()
    }
}

fn wire_level(level: Level) -> SizeLevel {
    match level {
        Level::Fine => SizeLevel::Fine,
        Level::Near => SizeLevel::Near,
        Level::Over => SizeLevel::Over,
    }
}

fn action(action: SizeAction) -> pb::SizeAction {
    match action {
        SizeAction::Notify => pb::SizeAction::Notify,
        SizeAction::ReadOnly => pb::SizeAction::ReadOnly,
    }
}

pub fn node(found: OfNode) -> NodeUsage {
    NodeUsage {
        node_id: found.node.to_string(),
        name: found.name,
        current: found.usage.current.as_ref().map(current),
        volumes: found.usage.volumes.map(volumes),
        month_to_date: Some(totals(&found.usage.month)),
        last_record_time: found.last.map(timestamp),
        dropped_records: count(found.dropped),
        refused_reports: count(found.refused),
        refusal: found.refusal,
    }
}

pub fn point<T>(found: &Point<T>) -> UsagePoint {
    let used = &found.used;
    UsagePoint {
        time: Some(timestamp(found.at)),
        covered: Some(prost_types::Duration {
            seconds: used.covered_ms / 1000,
            // Below 10⁹.
            nanos: i32::try_from(used.covered_ms % 1000).unwrap_or(0) * 1_000_000,
        }),
        cpu_seconds: float(used.cpu_us) / 1e6,
        memory_bytes: used.memory_bytes(),
        memory_max_bytes: count(used.memory_max_kib).saturating_mul(1024),
        network_received_bytes: count(used.received_bytes),
        network_sent_bytes: count(used.sent_bytes),
        block_read_bytes: count(used.read_bytes),
        block_written_bytes: count(used.written_bytes),
        volumes: used.volumes.map(volumes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_compared_with_the_plan() {
        let percent = |used, limit| size(Entitlement::DatabaseSize, used, limit).percent;
        assert!((percent(400 << 20, 500) - 80.0).abs() < 1e-9);
        assert!(percent(0, 0).abs() < 1e-9 && (percent(1, 0) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_minute_is_shown_as_means_of_a_second() {
        let used = Amounts {
            covered_ms: 60_000,
            cpu_us: 30_000_000,
            memory_kib_seconds: 1024 * 60,
            received_bytes: 600,
            ..Amounts::default()
        };
        let shown = current(&(DateTime::UNIX_EPOCH, used));
        assert_eq!((shown.cpu_millis, shown.memory_bytes), (500, 1024 * 1024));
        assert_eq!(shown.network_received_bytes_per_second, 10);
        assert!((totals(&used).cpu_seconds - 30.0).abs() < 1e-9);
    }
}
