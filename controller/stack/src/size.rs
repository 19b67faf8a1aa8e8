//! What the size of a project does to its specification. In: a release's own numbers for the service that follows the size, its
//! database. Out: what that service reserves, its limits, its volume and its settings. The other services stay as they are.
//!
//! A size says what is reserved. The limits grow in the same proportion, so that the release decides how much of a node its
//! database may use beyond its reservation, whatever the size. A release that needs more than a size gives gets what it needs.

use supalove_proto::node::v1 as node;
use supalove_spec::limits::{CPU_MILLIS, MEMORY_MIB};

use super::manifest::{Limits, Manifest, Resources, Service, Volume, VolumeKind};

/// Connections that the platform's probe and services, and superusers, have besides those of the project's own roles. The
/// images' `postgresql.conf` keeps as many.
const PLATFORM_CONNECTIONS: u32 = 40;

/// What a size gives a project's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Thousandths of a core that it reserves.
    pub cpu_millis: u32,
    /// MiB of memory that it reserves.
    pub memory_mib: u32,
    /// MiB of its volumes.
    pub disk_mib: u32,
    /// Connections that the project's own roles may have.
    pub connections: u32,
}

impl Default for Size {
    /// What every published release gives its database by itself, and what the images are configured for: projects that are
    /// older than sizes have it, and the smallest size begins with it (`migrations/0025_project_sizes.sql`).
    fn default() -> Self {
        Self { cpu_millis: 150, memory_mib: 256, disk_mib: 1024, connections: 60 }
    }
}

impl Size {
    /// What the service reserves.
    pub(super) fn reserve(&self, service: &Service) -> Resources {
        let own = service.reserve;
        if !service.follows_size() {
            return own;
        }
        Resources {
            cpu_millis: own.cpu_millis.max(self.cpu_millis),
            memory_mib: own.memory_mib.max(self.memory_mib),
            disk_mib: own.disk_mib.max(self.disk_mib),
        }
    }

    /// Limits of the service's container.
    pub(super) fn limits(&self, service: &Service) -> Limits {
        let reserve = self.reserve(service);
        let own = &service.limits;
        Limits {
            cpu_millis: scaled(own.cpu_millis, service.reserve.cpu_millis, reserve.cpu_millis)
                .min(CPU_MILLIS),
            memory_mib: scaled(own.memory_mib, service.reserve.memory_mib, reserve.memory_mib)
                .min(MEMORY_MIB),
            ..own.clone()
        }
    }

    /// Settings of its server; `None` if those of the image are right.
    pub(super) fn postgres(&self, service: &Service) -> Option<node::PostgresSettings> {
        if !service.launch.is_postgres() {
            return None;
        }
        let memory = self.reserve(service).memory_mib;
        let mut settings = node::PostgresSettings::default();
        if self.connections != Self::default().connections {
            settings.max_connections = self.connections.saturating_add(PLATFORM_CONNECTIONS);
            settings.tenant_connections = self.connections;
        }
        if memory != service.reserve.memory_mib {
            // As in the images: half of the reservation, a quarter of the limit or less.
            settings.shared_buffers_mib = memory / 2;
        }
        (settings != node::PostgresSettings::default()).then_some(settings)
    }

    /// A volume of the release. The largest data volume of the database takes what the size gives beyond the release's own.
    pub(super) fn volume(&self, manifest: &Manifest, volume: &Volume) -> node::VolumeSpec {
        let mut spec = volume.spec();
        if let Some(service) = manifest.services.iter().find(|service| service.follows_size())
            && largest(manifest, service) == Some(volume.name())
        {
            let more = self.reserve(service).disk_mib - service.reserve.disk_mib;
            spec.size_mib = spec.size_mib.saturating_add(more);
        }
        spec
    }
}

/// `limit`, grown as what is reserved has.
fn scaled(limit: u32, own: u32, reserved: u32) -> u32 {
    if own == 0 {
        return limit;
    }
    let scaled = (u64::from(limit) * u64::from(reserved)).div_ceil(u64::from(own));
    u32::try_from(scaled).unwrap_or(u32::MAX)
}

/// Name of the largest volume with data and a size that the service mounts.
fn largest<'a>(manifest: &'a Manifest, service: &Service) -> Option<&'a String> {
    let mounts = |name: &String| service.volumes.iter().any(|mount| &mount.volume == name);
    let sized = manifest.volumes.iter().filter_map(|volume| match volume {
        Volume::Detailed { name, kind: VolumeKind::Data, size_mib } if mounts(name) => Some((size_mib, name)),
        _ => None,
    });
    sized.max_by_key(|(size, _)| **size).map(|(_, name)| name)
}
