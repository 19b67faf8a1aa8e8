//! The command line. Every option of `run` is also an environment variable.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::Ipv4Net;
use supalove_certs::CaFingerprint;
use supalove_spec::{SlotLayout, SlotLayoutError};

use crate::config::{HostSettings, Times, VolumeQuota};
use crate::host::CapacityOverride;

/// Runs Supalove projects on this Docker host.
#[derive(Debug, Parser)]
#[command(name = "supalove-agent", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make this host a node of a cluster.
    Join(Join),
    /// Run projects until stopped.
    Run(Box<Run>),
    /// Show what the running agent is doing.
    Status(Status),
    /// Check this host and say what is wrong and how to mend it. Changes nothing.
    Doctor(Box<Doctor>),
    /// Remove what the agent keeps on this host. Refuses while projects are on it, and while the agent runs.
    Leave(Box<Leave>),
    /// Get a new certificate for a host that has only its key left. A running agent does this by itself; by hand it is
    /// needed only if the fleet's CA was replaced while the host was off.
    Recover(Recover),
}

/// Options of `recover`.
#[derive(Debug, Args)]
pub struct Recover {
    /// SHA-256 of the CA to trust instead of those known, as `supalove authorities list` shows it.
    #[arg(long)]
    pub ca: Option<CaFingerprint>,
    /// Where things lie.
    #[command(flatten)]
    pub state: StateDir,
}

/// Where things lie.
#[derive(Debug, Args)]
pub struct StateDir {
    /// Directory of identity, records and configuration.
    #[arg(long, env = "SUPALOVE_AGENT_STATE_DIR", default_value = "/var/lib/supalove-agent")]
    pub state_dir: PathBuf,
}

/// Options of `join`.
#[derive(Debug, Args)]
pub struct Join {
    /// Controller's node port as host:port, without http://; several with commas between, the preferred one first.
    #[arg(long, env = "SUPALOVE_AGENT_CONTROLLER")]
    pub controller: String,
    /// Join token. Better given by SUPALOVE_JOIN_TOKEN or --token-file: arguments are visible to every user.
    #[arg(long, env = "SUPALOVE_JOIN_TOKEN", hide_env_values = true, conflicts_with = "token_file")]
    pub token: Option<String>,
    /// File that holds the join token.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// Name of this host in the cluster; the host's own name by default.
    #[arg(long)]
    pub name: Option<String>,
    /// Replace an identity that is there.
    #[arg(long)]
    pub force: bool,
    /// Where the identity goes.
    #[command(flatten)]
    pub state: StateDir,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Where things lie.
    #[command(flatten)]
    pub state: StateDir,
    /// Docker Engine: unix:///path or tcp://host:port.
    #[arg(long, env = "SUPALOVE_AGENT_DOCKER_HOST", default_value = "unix:///var/run/docker.sock")]
    pub docker_host: String,
    /// Address that published ports of projects bind to.
    #[arg(long, env = "SUPALOVE_AGENT_PUBLISH_ADDRESS", default_value = "127.0.0.1")]
    pub publish_address: IpAddr,
    /// Host name or address under which published ports are reached; found by itself if not given.
    #[arg(long, env = "SUPALOVE_AGENT_ADVERTISE_ADDRESS")]
    pub advertise_address: Option<String>,
    /// First port of slot 0; each slot has eight.
    #[arg(long, env = "SUPALOVE_AGENT_PORT_BASE", default_value_t = 5500)]
    pub port_base: u16,
    /// Number of slots, that is of projects at once.
    #[arg(long, env = "SUPALOVE_AGENT_SLOTS", default_value_t = 256)]
    pub slots: u32,
    /// Range that the projects' networks are cut from.
    #[arg(long, env = "SUPALOVE_AGENT_NETWORK_RANGE", default_value = "10.213.0.0/16")]
    pub network_range: Ipv4Net,
    /// Thousandths of a core that may be reserved; all by default.
    #[arg(long, env = "SUPALOVE_AGENT_CPU_MILLIS")]
    pub cpu_millis: Option<u32>,
    /// MiB of memory that may be reserved; all by default.
    #[arg(long, env = "SUPALOVE_AGENT_MEMORY_MIB")]
    pub memory_mib: Option<u32>,
    /// MiB of disk that may be reserved; by default all of the disk that the volumes lie on.
    #[arg(long, env = "SUPALOVE_AGENT_DISK_MIB")]
    pub disk_mib: Option<u64>,
    /// Directory of the projects' volumes. By default one in the state directory, or in the engine's where that is on another
    /// disk.
    #[arg(long, env = "SUPALOVE_AGENT_VOLUMES_DIR")]
    pub volumes_dir: Option<PathBuf>,
    /// From how full a disk of the engine or the volumes no new project comes, in percent; 10 less is told.
    #[arg(long, env = "SUPALOVE_AGENT_FULL_DISK_PERCENT", default_value_t = 90,
        value_parser = clap::value_parser!(u8).range(50..=100))]
    pub full_disk_percent: u8,
    /// What keeps volumes from growing beyond their size; by default "loop" where the host allows it, else "measure".
    #[arg(long, env = "SUPALOVE_AGENT_VOLUME_QUOTA")]
    pub volume_quota: Option<VolumeQuota>,
    /// Port of loopback, or address and port, on which `GET /metrics` shows metrics in Prometheus' format, e.g. 9101. Without TLS and
    /// open to whoever reaches it. Off by default.
    #[arg(long, env = "SUPALOVE_AGENT_METRICS_LISTEN", value_name = "PORT|ADDRESS", value_parser = supalove_net::metrics::address)]
    pub metrics_listen: Option<SocketAddr>,
    /// Milliseconds between two samples of usage; a record has four, and volumes are measured for every fifth record.
    #[arg(long, value_name = "MILLISECONDS", hide = true, value_parser = clap::value_parser!(u32).range(10..=60_000))]
    pub usage_sample: Option<u32>,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Options of the agent that runs here, or will.
    #[command(flatten)]
    pub run: Run,
    /// Check a host that has not joined yet.
    #[arg(long)]
    pub before_join: bool,
    /// Before joining: the controller's node port, host:port, or several with commas between.
    #[arg(long, env = "SUPALOVE_AGENT_CONTROLLER")]
    pub controller: Option<String>,
    /// Before joining: the join token, whose CA the controller must show. Only from the environment.
    #[arg(skip = std::env::var("SUPALOVE_JOIN_TOKEN").ok().map(zeroize::Zeroizing::new))]
    pub token: Option<zeroize::Zeroizing<String>>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `leave`.
#[derive(Debug, Args)]
pub struct Leave {
    /// Options with which the agent ran here.
    #[command(flatten)]
    pub run: Run,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Where things lie.
    #[command(flatten)]
    pub state: StateDir,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Wait so many seconds at most until the node is ready, and say so in one line.
    #[arg(long, value_name = "SECONDS", conflicts_with = "json")]
    pub wait: Option<u64>,
}

/// Settings that do not fit together.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Ports, networks and number of slots do not fit together.
    #[error("{0}; see --slots, --port-base and --network-range")]
    Slots(#[from] SlotLayoutError),
    /// A node without slots takes no projects.
    #[error("--slots must be 1 or more")]
    NoSlots,
}

impl Run {
    /// The host's settings, checked.
    pub fn settings(&self, state_dir: PathBuf) -> Result<HostSettings, SettingsError> {
        if self.slots == 0 {
            return Err(SettingsError::NoSlots);
        }
        Ok(HostSettings {
            volumes_dir: self.volumes_dir.clone().unwrap_or_else(|| state_dir.join("volumes")),
            full_disk_percent: self.full_disk_percent,
            volume_quota: self.volume_quota.unwrap_or(VolumeQuota::Measure),
            state_dir,
            publish_address: self.publish_address,
            advertise_address: self.advertise_address.clone(),
            slots: SlotLayout::new(self.port_base, self.network_range, self.slots)?,
        })
    }

    /// The times, except those set by hidden options: tests shorten the times that they wait for.
    pub fn times(&self, times: Times) -> Times {
        let Some(millis) = self.usage_sample else { return times };
        let sample = Duration::from_millis(millis.into());
        Times { usage_sample: sample, usage_record: sample * 4, usage_volumes: sample * 20, ..times }
    }

    /// Capacity given by hand.
    pub fn capacity(&self) -> CapacityOverride {
        CapacityOverride { cpu_millis: self.cpu_millis, memory_mib: self.memory_mib, disk_mib: self.disk_mib }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn run(words: &[&str]) -> Run {
        let all = ["supalove-agent", "run"].iter().chain(words);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Run(run) => *run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let settings = run(&[]).settings("/s".into()).unwrap();
        assert_eq!((settings.slots.port_base(), settings.slots.slots()), (5500, 256));
        assert_eq!(settings.full_disk_percent, 90);
    }

    #[test]
    fn settings_that_do_not_fit_are_refused() {
        let narrow = run(&["--network-range", "10.0.0.0/26"]).settings("/s".into());
        assert!(matches!(narrow, Err(SettingsError::Slots(SlotLayoutError::TooMany { room: 2, .. }))));
        let host_bits = run(&["--network-range", "10.0.0.1/16"]).settings("/s".into());
        assert!(matches!(host_bits, Err(SettingsError::Slots(SlotLayoutError::NotANetwork { .. }))));
        assert!(matches!(run(&["--slots", "0"]).settings("/s".into()), Err(SettingsError::NoSlots)));
        assert!(run(&["--port-base", "1023"]).settings("/s".into()).is_err());
        assert!(run(&["--port-base", "65000"]).settings("/s".into()).is_err());
    }
}
