//! Capacity of nodes. The SQL functions `node_reserve`, `node_adopt`, `node_reserve_compute` and `node_release` change
//! the counters of `node_capacity`; this file calls them, and `placer/placement.rs` within its statements.

use ipnet::IpNet;
use sqlx::{postgres::types::PgRange, types::ipnetwork::IpNetwork};
use supalove_core::{
    Core, Write,
    error::{Error, Result},
    ids::{ClusterId, NodeId, ProjectRef},
};
use supalove_failpoints::failpoint;
use supalove_fleet::clusters::{ClusterKind, HelloValues, blocked_ranges};
use supalove_proto::{node::v1::BlockedSlot, v1::ErrorReason};
use supalove_scheduler::{Candidate, Names, Resources, reasons};

use crate::{store::snapshot::Snapshot, verdict::NodeRecord};

const NOTHING: Resources = Resources { cpu_millis: 0, memory_mib: 0, disk_mib: 0 };

/// Stores the capacity that a node reports, and what projects may reserve of it by its cluster's reserve and factors.
pub async fn save_hello(write: &mut impl Write, node: NodeId, hello: &HelloValues) -> Result<()> {
    // Before the node's capacity: a change of the factors locks in this order, and comes before or after.
    sqlx::query!(
        "SELECT c.id FROM nodes n JOIN clusters c ON c.id = n.cluster_id WHERE n.id = $1 FOR SHARE OF c",
        node.0
    )
    .fetch_optional(write.connection().await?)
    .await?;
    refuse_moved_slots(write, node, hello).await?;
    sqlx::query!(
        "INSERT INTO node_capacity AS a (node_id, port_base, network_range, slots, blocked_slots, blocked_reasons, host_cpu,
             host_memory, host_disk, cpu_cap, memory_cap, disk_cap)
         SELECT n.id, $2, $3, $4, range_agg_or_empty($5), $6, $7, $8, $9, node_cap($7::int, c.cpu_reserve, c.cpu_overcommit)::int,
             node_cap($8::int, c.memory_reserve, c.memory_overcommit)::int, node_cap($9, c.disk_reserve, c.disk_overcommit)
         FROM nodes n JOIN clusters c ON c.id = n.cluster_id WHERE n.id = $1
         ON CONFLICT (node_id) DO UPDATE SET port_base = EXCLUDED.port_base, network_range = EXCLUDED.network_range,
             slots = EXCLUDED.slots, blocked_slots = EXCLUDED.blocked_slots, blocked_reasons = EXCLUDED.blocked_reasons,
             host_cpu = EXCLUDED.host_cpu, host_memory = EXCLUDED.host_memory, host_disk = EXCLUDED.host_disk,
             cpu_cap = EXCLUDED.cpu_cap, memory_cap = EXCLUDED.memory_cap, disk_cap = EXCLUDED.disk_cap",
        node.0,
        hello.port_base,
        network(hello.network_range.into()),
        hello.slots,
        &hello.blocked as &[PgRange<i32>],
        &hello.blocked_reasons,
        hello.cpu_millis,
        hello.memory_mib,
        hello.disk_mib,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Recomputes what projects may reserve on the nodes of a cluster whose factors or reserve have changed. Nothing moves: a node on
/// which they reserve more than it has now takes no new project until there is room again. Returns the names of those nodes.
pub async fn recompute(write: &mut impl Write, cluster: ClusterId) -> Result<Vec<String>> {
    let overfull = sqlx::query_scalar!(
        "WITH changed AS (
             UPDATE node_capacity a SET cpu_cap = node_cap(a.host_cpu, c.cpu_reserve, c.cpu_overcommit)::int,
                 memory_cap = node_cap(a.host_memory, c.memory_reserve, c.memory_overcommit)::int,
                 disk_cap = node_cap(a.host_disk, c.disk_reserve, c.disk_overcommit)
             FROM nodes n JOIN clusters c ON c.id = n.cluster_id
             WHERE n.id = a.node_id AND c.id = $1
             RETURNING n.name, n.revoked_at IS NULL AND (a.cpu_used > a.cpu_cap OR a.memory_used > a.memory_cap
                 OR a.disk_used > a.disk_cap) AS overfull)
         SELECT name FROM changed WHERE overfull ORDER BY name",
        cluster.0
    );
    Ok(overfull.fetch_all(write.connection().await?).await?)
}

/// A placement keeps its ports and network for good, so a host with placements must keep the settings that define them.
async fn refuse_moved_slots(write: &mut impl Write, node: NodeId, hello: &HelloValues) -> Result<()> {
    // A placement takes its ports from this row: it comes before the check, or waits for the new settings.
    lock(write, node).await?;
    let kept = sqlx::query!(
        "SELECT a.port_base, a.network_range::text AS \"network_range!\", p.highest AS \"highest!\"
         FROM node_capacity a, (SELECT max(slot) AS highest FROM placements WHERE node_id = $1) p
         WHERE a.node_id = $1 AND p.highest IS NOT NULL
             AND (a.port_base <> $2 OR a.network_range <> $3 OR p.highest >= $4)",
        node.0,
        hello.port_base,
        network(hello.network_range.into()),
        hello.slots,
    )
    .fetch_optional(write.connection().await?)
    .await?;
    let Some(kept) = kept else { return Ok(()) };
    Err(Error::FailedPrecondition {
        reason: ErrorReason::SlotsMoved,
        message: format!(
            "the node has projects; run its agent with --port-base {} --network-range {} and at least {} --slots",
            kept.port_base,
            kept.network_range,
            kept.highest + 1
        ),
    })
}

/// Locks the capacity of a node, which comes after the node and before its placements.
async fn lock(write: &mut impl Write, node: NodeId) -> Result<()> {
    sqlx::query!("SELECT node_id FROM node_capacity WHERE node_id = $1 FOR NO KEY UPDATE", node.0)
        .fetch_optional(write.connection().await?)
        .await?;
    Ok(())
}

fn network(net: IpNet) -> IpNetwork {
    // Every prefix of an IpNet is a valid prefix of an IpNetwork.
    IpNetwork::new(net.addr(), net.prefix_len()).unwrap_or(IpNetwork::from(net.addr()))
}

/// Stores the currently blocked slots.
pub async fn save_blocked(write: &mut impl Write, node: NodeId, blocked: &[BlockedSlot]) -> Result<bool> {
    let (ranges, reasons) = blocked_ranges(blocked, i32::MAX);
    let done = sqlx::query!(
        "UPDATE node_capacity SET blocked_slots = range_agg_or_empty($2), blocked_reasons = $3
         WHERE node_id = $1 AND blocked_reasons <> $3",
        node.0,
        &ranges as &[PgRange<i32>],
        &reasons,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Blocks more slots.
pub async fn block_also(
    write: &mut impl Write,
    node: NodeId,
    ranges: &[PgRange<i32>],
    reasons: &[String],
) -> Result<()> {
    sqlx::query!(
        "UPDATE node_capacity SET blocked_slots = blocked_slots + range_agg_or_empty($2), blocked_reasons = blocked_reasons || $3
         WHERE node_id = $1",
        node.0,
        ranges as &[PgRange<i32>],
        reasons,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Takes the room of a leftover's project on its node, with the slot that the agent's record has; `None` if something does not fit.
pub async fn adopt(
    core: &Core,
    write: &mut impl Write,
    node: NodeId,
    project: &ProjectRef,
    needs: Resources,
    slot: i32,
) -> Result<Option<AdoptedPlace>> {
    let place = sqlx::query_as!(
        AdoptedPlace,
        "SELECT node_name AS \"node_name!\", host AS \"host!\", slot AS \"slot!\", first_port AS \"first_port!\", subnet AS \"subnet!\"
         FROM node_adopt($1, $2, $3, $4, $5, $6, $7)",
        node.0,
        project.as_str(),
        needs.cpu_millis,
        needs.memory_mib,
        needs.disk_mib,
        slot,
        core.times.silent_after.as_secs_f64(),
    );
    Ok(place.fetch_optional(write.connection().await?).await?)
}

/// Where a leftover is.
#[derive(Debug)]
pub struct AdoptedPlace {
    pub node_name: String,
    /// Address at which users reach published ports.
    pub host: String,
    pub slot: i32,
    /// First port of the slot.
    pub first_port: i32,
    pub subnet: IpNetwork,
}

/// Reserves cpu and memory for a project that has its slot; false if the node lacks them, is draining, or is not connected.
pub async fn reserve_compute(core: &Core, write: &mut impl Write, project: &Snapshot) -> Result<bool> {
    let Some(placement) = project.placement else {
        return Ok(false);
    };
    let reserved = sqlx::query_scalar!(
        "SELECT node_reserve_compute($1, $2, $3, $4) AS \"reserved!\"",
        placement.node.0,
        project.needs.cpu_millis,
        project.needs.memory_mib,
        core.times.silent_after.as_secs_f64(),
    )
    .fetch_one(write.connection().await?)
    .await?;
    if !reserved {
        return Ok(false);
    }
    let taken = sqlx::query!(
        "UPDATE placements SET holds_compute = true WHERE project_ref = $1 AND node_id = $2 AND NOT holds_compute",
        project.project.as_str(),
        placement.node.0,
    )
    .execute(write.connection().await?)
    .await?;
    failpoint!("controller.act.compute_taken", project.project.as_str());
    if taken.rows_affected() == 1 {
        Ok(true)
    } else {
        Err(Error::Aborted("the project changed at the same time"))
    }
}

/// Releases cpu and memory and keeps slot and disk. Does nothing if the project holds none.
pub async fn release_compute(write: &mut impl Write, project: &Snapshot) -> Result<()> {
    let Some(placement) = project.placement else {
        return Ok(());
    };
    lock(write, placement.node).await?;
    let freed = sqlx::query!(
        "UPDATE placements SET holds_compute = false WHERE project_ref = $1 AND node_id = $2 AND holds_compute",
        project.project.as_str(),
        placement.node.0,
    )
    .execute(write.connection().await?)
    .await?;
    if freed.rows_affected() == 1 {
        sqlx::query!(
            "SELECT node_release($1, $2, $3, 0, NULL)",
            placement.node.0,
            project.needs.cpu_millis,
            project.needs.memory_mib,
        )
        .fetch_one(write.connection().await?)
        .await?;
    }
    failpoint!("controller.report.compute_freed", project.project.as_str());
    Ok(())
}

/// Reserves what a placed project needs more than it has; false if its node lacks it.
pub async fn grow(write: &mut impl Write, project: &Snapshot, needs: Resources) -> Result<bool> {
    let Some(placement) = project.placement else {
        return Ok(false);
    };
    let more = difference(project, needs, placement.holds_compute);
    if more == NOTHING {
        return Ok(true);
    }
    let reserved = sqlx::query_scalar!(
        "SELECT node_grow($1, $2, $3, $4) AS \"reserved!\"",
        placement.node.0,
        more.cpu_millis,
        more.memory_mib,
        more.disk_mib,
    )
    .fetch_one(write.connection().await?)
    .await?;
    Ok(reserved)
}

/// Why the node of a placed project lacks what the project needs more than it has, and what is free there, for people.
pub async fn lacking(write: &mut impl Write, project: &Snapshot, needs: Resources) -> Result<String> {
    let placement = project.placement.ok_or_else(|| Error::internal("a project without a node"))?;
    let row = sqlx::query!(
        "SELECT n.name, c.kind AS \"kind: ClusterKind\", a.cpu_cap, a.cpu_used, a.memory_cap, a.memory_used, a.disk_cap, a.disk_used
         FROM nodes n JOIN node_capacity a ON a.node_id = n.id JOIN clusters c ON c.id = n.cluster_id WHERE n.id = $1",
        placement.node.0,
    )
    .fetch_one(write.connection().await?)
    .await?;
    let node = Candidate {
        node: placement.node,
        name: row.name,
        // A project that has its slot there may grow whatever keeps new ones away.
        schedulable: true,
        draining: false,
        connected: true,
        blocked: None,
        capacity: Resources { cpu_millis: row.cpu_cap, memory_mib: row.memory_cap, disk_mib: row.disk_cap },
        used: Resources { cpu_millis: row.cpu_used, memory_mib: row.memory_used, disk_mib: row.disk_used },
        free_slots: 1,
        recent_failures: 0,
    };
    Ok(in_words(&node, difference(project, needs, placement.holds_compute), names_of(row.kind)))
}

/// Whether the owners of projects see the names of a cluster's nodes.
pub fn names_of(kind: ClusterKind) -> Names {
    match kind {
        ClusterKind::Shared => Names::Counted,
        ClusterKind::Private => Names::Shown,
    }
}

fn in_words(node: &Candidate, more: Resources, names: Names) -> String {
    let free = |cap: i64, used: i64| (cap - used).max(0);
    format!(
        "{}; free there are {} millicores, {} MiB memory and {} MiB disk",
        reasons(std::slice::from_ref(node), more, names),
        free(node.capacity.cpu_millis.into(), node.used.cpu_millis.into()),
        free(node.capacity.memory_mib.into(), node.used.memory_mib.into()),
        free(node.capacity.disk_mib, node.used.disk_mib),
    )
}

/// Gives back what a placed project has more than it needs.
pub async fn shrink(write: &mut impl Write, project: &Snapshot, needs: Resources) -> Result<()> {
    let Some(placement) = project.placement else {
        return Ok(());
    };
    let more = difference(project, needs, placement.holds_compute);
    if more == NOTHING {
        return Ok(());
    }
    sqlx::query!(
        "SELECT node_release($1, $2, $3, $4, NULL)",
        placement.node.0,
        -more.cpu_millis,
        -more.memory_mib,
        -more.disk_mib,
    )
    .fetch_one(write.connection().await?)
    .await?;
    Ok(())
}

/// What a project needs more than it has; cpu and memory count only while it holds them.
fn difference(project: &Snapshot, needs: Resources, holds_compute: bool) -> Resources {
    let held = i32::from(holds_compute);
    Resources {
        cpu_millis: held * (needs.cpu_millis - project.needs.cpu_millis),
        memory_mib: held * (needs.memory_mib - project.needs.memory_mib),
        disk_mib: needs.disk_mib - project.needs.disk_mib,
    }
}

/// Releases everything that a project holds on its node.
pub async fn release_all(write: &mut impl Write, project: &Snapshot) -> Result<()> {
    let Some(placement) = project.placement else {
        return Ok(());
    };
    let mut cpu = 0;
    let mut memory = 0;
    if placement.holds_compute {
        cpu = project.needs.cpu_millis;
        memory = project.needs.memory_mib;
    }
    sqlx::query!(
        "SELECT node_release($1, $2, $3, $4, $5)",
        placement.node.0,
        cpu,
        memory,
        project.needs.disk_mib,
        placement.slot,
    )
    .fetch_one(write.connection().await?)
    .await?;
    Ok(())
}

/// Counts a successful or failed start of a node.
pub async fn record_start(write: &mut impl Write, node: NodeId, record: NodeRecord) -> Result<()> {
    match record {
        NodeRecord::Started => {
            sqlx::query!(
                "UPDATE node_capacity SET start_failures = 0 WHERE node_id = $1 AND start_failures > 0",
                node.0
            )
            .execute(write.connection().await?)
            .await?;
        }
        NodeRecord::Failed => {
            sqlx::query!(
                "UPDATE node_capacity SET start_failures = start_failures + 1, last_failure_at = now() WHERE node_id = $1",
                node.0
            )
            .execute(write.connection().await?)
            .await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_node_is_named_with_what_it_lacks_and_has() {
        let node = Candidate {
            node: NodeId::generate(),
            name: "roomy".to_owned(),
            schedulable: true,
            draining: false,
            connected: true,
            blocked: None,
            capacity: Resources { cpu_millis: 1000, memory_mib: 1000, disk_mib: 5000 },
            used: Resources { cpu_millis: 500, memory_mib: 900, disk_mib: 5100 },
            free_slots: 1,
            recent_failures: 0,
        };
        assert_eq!(
            in_words(&node, Resources { cpu_millis: 100, memory_mib: 256, disk_mib: 0 }, Names::Shown),
            "0 of 1 node fits: roomy lacks 156 MiB memory; free there are 500 millicores, 100 MiB memory and 0 MiB disk"
        );
    }
}
