//! The schema of `stack.yaml`. Unknown fields are errors; `validate` checks what types cannot express.

use std::collections::BTreeMap;

use serde::Deserialize;
use supalove_proto::node::v1 as node;

/// A stack release as its `stack.yaml` describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// Name; equals the directory's.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Releases from which a project can be upgraded to this one, with its data.
    #[serde(default)]
    pub upgrades_from: Vec<String>,
    /// Named volumes of a project.
    pub volumes: Vec<Volume>,
    pub services: Vec<Service>,
}

/// A name, or a name with what the volume holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "a string or { name, kind, size_mib }")]
pub(super) enum Volume {
    Plain(String),
    Detailed {
        name: String,
        kind: VolumeKind,
        /// MiB that may lie on it.
        size_mib: u32,
    },
}

/// What a volume holds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum VolumeKind {
    Data,
    Cache,
}

impl Volume {
    pub fn name(&self) -> &String {
        match self {
            Self::Plain(name) | Self::Detailed { name, .. } => name,
        }
    }

    pub fn spec(&self) -> node::VolumeSpec {
        let (kind, size_mib) = match self {
            Self::Plain(_) => (node::VolumeKind::Unspecified, 0),
            Self::Detailed { kind: VolumeKind::Data, size_mib, .. } => (node::VolumeKind::Data, *size_mib),
            Self::Detailed { kind: VolumeKind::Cache, size_mib, .. } => (node::VolumeKind::Cache, *size_mib),
        };
        node::VolumeSpec { name: self.name().clone(), kind: kind.into(), size_mib }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub name: String,
    pub image: String,
    pub launch: Launch,
    #[serde(default)]
    pub aliases: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    #[serde(default)]
    pub ports: Vec<Port>,
    #[serde(default)]
    pub volumes: Vec<Mount>,
    #[serde(default)]
    pub config: Vec<ConfigMount>,
    /// SQL files, by their path in the container, that the agent runs at each start.
    #[serde(default)]
    pub start_sql: Vec<String>,
    /// The same for files that the agent runs when a file with `reload` has changed while the container runs.
    #[serde(default)]
    pub reload_sql: Vec<String>,
    pub probe: Probe,
    #[serde(default)]
    pub depends_on: Vec<String>,
    pub limits: Limits,
    pub reserve: Resources,
    /// The size of the project decides what this service gets. Left out: if it is a database.
    pub sized: Option<bool>,
    pub security: Security,
    pub stop: Stop,
}

impl Service {
    /// True if the size of the project decides what it gets.
    pub fn follows_size(&self) -> bool {
        self.sized.unwrap_or(self.launch.is_postgres())
    }
}

/// The command of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Launch {
    ImageDefault,
    Postgres,
    PostgresTls,
    FunctionsRouter,
}

impl Launch {
    pub fn is_postgres(self) -> bool {
        matches!(self, Self::Postgres | Self::PostgresTls)
    }
}

impl From<Launch> for node::Launch {
    fn from(launch: Launch) -> Self {
        match launch {
            Launch::ImageDefault => Self::ImageDefault,
            Launch::Postgres => Self::Postgres,
            Launch::PostgresTls => Self::PostgresTls,
            Launch::FunctionsRouter => Self::FunctionsRouter,
        }
    }
}

/// A template, or a template with options.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "a string or { value, bind_placement, omit_empty }")]
pub(super) enum EnvValue {
    Plain(String),
    Detailed {
        value: String,
        #[serde(default)]
        bind_placement: bool,
        /// Leaves the variable out if its value is empty: some programs take an empty one for a wrong one.
        #[serde(default)]
        omit_empty: bool,
    },
}

impl EnvValue {
    pub fn template(&self) -> &str {
        match self {
            Self::Plain(value) | Self::Detailed { value, .. } => value,
        }
    }

    pub fn bind_placement(&self) -> bool {
        matches!(self, Self::Detailed { bind_placement: true, .. })
    }

    pub fn omit_empty(&self) -> bool {
        matches!(self, Self::Detailed { omit_empty: true, .. })
    }
}

/// A container port that the agent publishes on the host.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Port {
    pub container: u16,
    pub name: PortName,
    pub exposure: Exposure,
}

/// Named port of the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PortName {
    Api,
    Db,
    Rest,
    Auth,
    Realtime,
    Storage,
    Functions,
}

impl From<PortName> for node::NamedPort {
    fn from(name: PortName) -> Self {
        match name {
            PortName::Api => Self::Api,
            PortName::Db => Self::Db,
            PortName::Rest => Self::Rest,
            PortName::Auth => Self::Auth,
            PortName::Realtime => Self::Realtime,
            PortName::Storage => Self::Storage,
            PortName::Functions => Self::Functions,
        }
    }
}

/// Who can reach a published port.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Exposure {
    Published,
    Loopback,
}

impl From<Exposure> for node::Exposure {
    fn from(exposure: Exposure) -> Self {
        match exposure {
            Exposure::Published => Self::Published,
            Exposure::Loopback => Self::Loopback,
        }
    }
}

/// A named volume in the container.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mount {
    pub volume: String,
    pub path: String,
    #[serde(default)]
    pub read_only: bool,
}

/// Read-only files in a directory of their own, or one file alone.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigMount {
    pub path: String,
    #[serde(default)]
    pub single_file: bool,
    pub files: Vec<ConfigFile>,
}

/// One file: `copy` is copied unchanged, `template` is rendered. Both are paths below `templates/`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub path: String,
    pub copy: Option<String>,
    pub template: Option<String>,
    pub uid: u32,
    pub gid: u32,
    /// Octal digits, e.g. "0400".
    pub mode: String,
    #[serde(default)]
    pub bind_placement: bool,
    /// A change of its content alone reaches the running container, see `reload_sql`.
    #[serde(default)]
    pub reload: bool,
}

/// When the service is ready. Exactly one of `http`, `postgres`, `tcp`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Probe {
    pub http: Option<HttpProbe>,
    pub postgres: Option<PostgresProbe>,
    pub tcp: Option<TcpProbe>,
    /// Milliseconds between attempts once the service is ready.
    pub interval_ms: u32,
    /// Milliseconds after which one attempt fails.
    pub timeout_ms: u32,
    /// Seconds from start to the first success.
    pub ready_within_seconds: u32,
    /// Consecutive failures after which a ready service counts as unhealthy.
    pub failures: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpProbe {
    pub port: u16,
    pub path: String,
    /// Template of the bearer token.
    #[serde(default)]
    pub bearer: String,
    #[serde(default)]
    pub host: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PostgresProbe {
    pub port: u16,
    pub user: String,
    /// Template of the password.
    pub password: String,
    pub database: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TcpProbe {
    pub port: u16,
}

/// Resource limits of the container.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub cpu_millis: u32,
    pub memory_mib: u32,
    pub pids: u32,
    /// 0 = the engine's default.
    #[serde(default)]
    pub open_files: u32,
}

/// Resources that the scheduler reserves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// MiB of memory.
    pub memory_mib: u32,
    /// MiB of disk.
    pub disk_mib: u32,
}

impl std::ops::Add for Resources {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
            disk_mib: self.disk_mib.saturating_add(other.disk_mib),
        }
    }
}

impl std::iter::Sum for Resources {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), |total, one| total + one)
    }
}

/// What the container may do. Strict unless an exception says otherwise.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Security {
    /// `uid:gid`; leaving it out needs the exception `image_user`.
    pub user: Option<String>,
    #[serde(default)]
    pub tmpfs: Vec<Tmpfs>,
    #[serde(default)]
    pub exceptions: Vec<Exception>,
}

impl Security {
    pub fn allows(&self, allow: Allow) -> bool {
        self.exceptions.iter().any(|one| one.allow == allow)
    }
}

/// A memory file system.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tmpfs {
    pub path: String,
    pub size_mib: u32,
    /// Octal digits, e.g. "1777".
    pub mode: String,
    pub uid: u32,
    pub gid: u32,
}

/// A right beyond the strict default, and why the service needs it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exception {
    pub allow: Allow,
    pub reason: String,
}

/// The rights that an exception can grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Allow {
    /// The root file system is writable.
    WritableRoot,
    NewPrivileges,
    /// The image chooses the user, which may be root.
    ImageUser,
    Chown,
    Setuid,
    Setgid,
    Fowner,
    DacOverride,
    Kill,
    NetBindService,
}

impl Allow {
    /// Returns the capability, if the right is one.
    pub fn capability(self) -> Option<node::Capability> {
        use node::Capability;
        match self {
            Self::WritableRoot | Self::NewPrivileges | Self::ImageUser => None,
            Self::Chown => Some(Capability::Chown),
            Self::Setuid => Some(Capability::Setuid),
            Self::Setgid => Some(Capability::Setgid),
            Self::Fowner => Some(Capability::Fowner),
            Self::DacOverride => Some(Capability::DacOverride),
            Self::Kill => Some(Capability::Kill),
            Self::NetBindService => Some(Capability::NetBindService),
        }
    }
}

/// How the container is stopped.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stop {
    pub signal: String,
    pub grace_seconds: u32,
}

/// Permission bits from octal digits.
pub(super) fn parse_mode(digits: &str) -> Option<u32> {
    u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777)
}
