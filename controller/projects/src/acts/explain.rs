//! ExplainPlacement: where a project would be placed, before anybody creates it.

use supalove_fleet::clusters::access::sees_fleet;
use supalove_organizations::OrganizationKey;
use supalove_proto::v1::{
    ExplainPlacementRequest, ExplainPlacementResponse, PlacementObstacle, PlacementObstacleReason as Reason,
    PlacementResources,
};
use supalove_scheduler::{Blocked, Misfit, Names, Obstacle, Resources};

use super::{Acts, create::needs};
use crate::content::given;
use supalove_core::{
    access::Call,
    error::{Error, Result},
};

/// Bounds of what may be asked for, so that no sum overflows: cpu in millicores, memory and disk in MiB.
const MOST: (u32, u32, u64) = (1_000_000, 1 << 24, 1 << 30);

impl Acts {
    /// ExplainPlacement without authorization.
    pub async fn explain(
        &self,
        call: &Call,
        grant: &OrganizationKey,
        body: &ExplainPlacementRequest,
    ) -> Result<ExplainPlacementResponse> {
        let needs = if let Some(resources) = &body.resources {
            asked(resources)?
        } else {
            let size = supalove_plans::find_size(&self.core.db, grant.id, &body.size).await?;
            needs(self.release(&body.release)?, &given(&size))?
        };
        let cluster = self.cluster(&body.cluster, grant.id).await?;
        let found = self.placer.explain(&cluster, needs, grant.id, sees_fleet(call)?).await?;
        let named = found.names == Names::Shown;
        let (node_id, node_name) = match found.node {
            Some((id, name)) if named => (id.to_string(), name),
            _ => (String::new(), String::new()),
        };
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(ExplainPlacementResponse {
            fits: found.fits > 0,
            node_id,
            node_name,
            nodes: count(found.nodes),
            fitting_nodes: count(found.fits),
            obstacles: found.obstacles.into_iter().map(|one| obstacle(one, named)).collect(),
            remedies: found.remedies,
            message: found.message,
            resources: Some(PlacementResources {
                cpu_millis: needs.cpu_millis.unsigned_abs(),
                memory_mib: needs.memory_mib.unsigned_abs(),
                disk_mib: needs.disk_mib.unsigned_abs(),
            }),
        })
    }
}

fn asked(given: &PlacementResources) -> Result<Resources> {
    let (cpu, memory, disk) = MOST;
    let wrong = |field: &str, most: String| {
        Error::field(format!("resources.{field}"), format!("must be at most {most}"))
    };
    if given.cpu_millis > cpu {
        return Err(wrong("cpu_millis", cpu.to_string()));
    }
    if given.memory_mib > memory {
        return Err(wrong("memory_mib", memory.to_string()));
    }
    if given.disk_mib > disk {
        return Err(wrong("disk_mib", disk.to_string()));
    }
    Ok(Resources {
        cpu_millis: given.cpu_millis.cast_signed(),
        memory_mib: given.memory_mib.cast_signed(),
        disk_mib: given.disk_mib.cast_signed(),
    })
}

fn obstacle(one: Obstacle, named: bool) -> PlacementObstacle {
    let (reason, missing) = match one.misfit {
        Misfit::NotConnected => (Reason::NotConnected, 0),
        Misfit::Blocked(Blocked::EngineSilent) => (Reason::EngineSilent, 0),
        Misfit::Blocked(Blocked::ChainsMissing) => (Reason::FirewallChainsMissing, 0),
        Misfit::Blocked(Blocked::Other) => (Reason::Condition, 0),
        Misfit::Draining => (Reason::Draining, 0),
        Misfit::Cordoned => (Reason::Cordoned, 0),
        Misfit::Cpu(missing) => (Reason::Cpu, i64::from(missing)),
        Misfit::Memory(missing) => (Reason::Memory, i64::from(missing)),
        Misfit::Disk(missing) => (Reason::Disk, missing),
        Misfit::Slots => (Reason::Slots, 0),
    };
    PlacementObstacle {
        reason: reason.into(),
        nodes: u32::try_from(one.nodes.len()).unwrap_or(u32::MAX),
        node_names: if named { one.nodes } else { Vec::new() },
        missing: missing.unsigned_abs(),
    }
}
