//! What can be set about a running agent: the host's settings, and every time limit in one place.
//!
//! In: parsed arguments. Out: values that every module shares and that never change.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use supalove_spec::{ProtocolTimes, SlotLayout};

/// Settings of the host that every part of the agent needs.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// Where records, configuration directories and the identity lie. Absolute.
    pub state_dir: PathBuf,
    /// Where the volumes lie. Absolute.
    pub volumes_dir: PathBuf,
    /// From how full a disk no new project comes, in percent.
    pub full_disk_percent: u8,
    /// What keeps a volume from growing.
    pub volume_quota: VolumeQuota,
    /// Address that published ports bind to.
    pub publish_address: IpAddr,
    /// Name under which published ports are reached; none = found when a session starts.
    pub advertise_address: Option<String>,
    /// How ports and network range are cut into slots.
    pub slots: SlotLayout,
}

/// What keeps a volume from growing beyond its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum VolumeQuota {
    /// Each new volume is a file system of a fixed size in a file.
    Loop,
    /// The agent measures, warns, and stops who writes on.
    Measure,
}

/// Every time of the agent. Tests hold their order: here, and for those of the protocol in `supalove-spec`.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// What the controller relies on as well.
    pub protocol: ProtocolTimes,
    /// How long a stopping agent lets running calls end.
    pub shutdown: Duration,
    /// One call to the Docker Engine.
    pub engine_call: Duration,
    /// How often the engine is asked for a sign of life.
    pub engine_check: Duration,
    /// An engine that has not answered for so long is silent.
    pub engine_silent: Duration,
    /// How often the engine's chains in the packet filter are looked at.
    pub chains_check: Duration,
    /// Interval at which the agent asks the engine whether containers outlive its restart.
    pub live_restore_check: Duration,
    /// What the engine may take for a stop beyond the container's own grace.
    pub engine_stop_margin: Duration,
    /// An image pull that reports nothing new for this long has failed.
    pub pull_idle: Duration,
    /// An image pull may take this long altogether.
    pub pull_total: Duration,
    /// How long after a need for an image a controller may begin to watch needs: at the start of a session.
    pub image_watch: Duration,
    /// How long a controller may take to say whether it keeps an image.
    pub image_answer: Duration,
    /// Shortest pause between two progress reports of one pull.
    pub progress_every: Duration,
    /// One run of the packet filter program.
    pub rules_call: Duration,
    /// How often the packet filter is compared with what it should be.
    pub rules_check: Duration,
    /// How often all containers are listed; events in between are only hints.
    pub truth: Duration,
    /// How long a removed project is still reported.
    pub removed_kept: Duration,
    /// First pause before an ended container is started again; pauses double.
    pub restart_first: Duration,
    /// Longest pause before an ended container is started again.
    pub restart_cap: Duration,
    /// A service that was healthy this long starts again without a pause.
    pub restart_reset: Duration,
    /// A service other than a database that fails its probe this long is restarted.
    pub unhealthy_restart: Duration,
    /// First pause before a failed step is tried again; pauses double.
    pub retry_first: Duration,
    /// Longest pause before a failed step is tried again.
    pub retry_cap: Duration,
    /// Probe interval right after a start.
    pub probe_fast: Duration,
    /// How long after a start the fast interval holds.
    pub probe_fast_for: Duration,
    /// Probe interval after that.
    pub probe_medium: Duration,
    /// How long after a start the medium interval holds.
    pub probe_medium_for: Duration,
    /// Probe interval from then until the service is ready.
    pub probe_slow: Duration,
    /// One file of start SQL may take this long.
    pub start_sql: Duration,
    /// A probe that finds a spoilt role this long after a start says so, instead of waiting until the service is late.
    pub role_spoilt: Duration,
    /// How often a project's volumes are measured; more often while they grow fast.
    pub disk_check: Duration,
    /// Shortest pause between two measurements.
    pub disk_check_least: Duration,
    /// One change of a database's settings.
    pub database_setting: Duration,
    /// A tunnel's dial to a container.
    pub tunnel_dial: Duration,
    /// First pause before a renewal is tried again; pauses double.
    pub renew_retry_first: Duration,
    /// Longest pause before a renewal is tried again: 20 % of a certificate's life remain for that.
    pub renew_retry_cap: Duration,
    /// When another root signs, nodes renew within this time, each at a random moment.
    pub renew_spread: Duration,
    /// How often the counters of containers are read.
    pub usage_sample: Duration,
    /// How often what was read becomes a record for the controller.
    pub usage_record: Duration,
    /// How often volumes are measured for these records.
    pub usage_volumes: Duration,
}

impl Times {
    /// The times of production.
    pub const DEFAULT: Self = Self {
        protocol: ProtocolTimes::DEFAULT,
        shutdown: Duration::from_secs(2),
        engine_call: Duration::from_secs(30),
        engine_check: Duration::from_secs(2),
        engine_silent: Duration::from_secs(10),
        chains_check: Duration::from_secs(5),
        live_restore_check: Duration::from_secs(15),
        engine_stop_margin: Duration::from_secs(15),
        pull_idle: Duration::from_mins(1),
        pull_total: Duration::from_mins(10),
        image_watch: Duration::from_secs(2),
        image_answer: Duration::from_secs(15),
        progress_every: Duration::from_millis(500),
        rules_call: Duration::from_secs(10),
        rules_check: Duration::from_secs(30),
        truth: Duration::from_secs(30),
        removed_kept: Duration::from_mins(5),
        restart_first: Duration::from_millis(200),
        restart_cap: Duration::from_secs(30),
        restart_reset: Duration::from_mins(1),
        unhealthy_restart: Duration::from_mins(1),
        retry_first: Duration::from_secs(1),
        retry_cap: Duration::from_mins(1),
        probe_fast: Duration::from_millis(100),
        probe_fast_for: Duration::from_secs(2),
        probe_medium: Duration::from_millis(250),
        probe_medium_for: Duration::from_secs(10),
        probe_slow: Duration::from_secs(1),
        start_sql: Duration::from_mins(1),
        role_spoilt: Duration::from_secs(5),
        disk_check: Duration::from_secs(15),
        disk_check_least: Duration::from_secs(1),
        database_setting: Duration::from_secs(10),
        tunnel_dial: Duration::from_secs(5),
        renew_retry_first: Duration::from_secs(1),
        renew_retry_cap: Duration::from_mins(5),
        renew_spread: Duration::from_secs(5),
        usage_sample: Duration::from_secs(15),
        usage_record: Duration::from_mins(1),
        usage_volumes: Duration::from_mins(5),
    };

    /// How long to wait before the next probe of a service that started `since` ago and is not ready.
    pub fn start_probe_pause(&self, since: Duration) -> Duration {
        if since < self.probe_fast_for {
            self.probe_fast
        } else if since < self.probe_medium_for {
            self.probe_medium
        } else {
            self.probe_slow
        }
    }
}

impl Default for Times {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_order() {
        let t = Times::DEFAULT;
        let protocol = t.protocol;
        assert!(t.shutdown < protocol.agent_call);
        assert!(t.truth < t.removed_kept);
        assert!(t.progress_every < t.pull_idle && t.pull_idle < t.pull_total);
        assert!(t.image_watch < t.image_answer && t.image_answer < t.pull_idle);
        assert!(
            t.protocol.agent_call < t.image_answer,
            "the controller may have to ask for a bulk connection first"
        );
        assert!(t.rules_call < t.rules_check);
        assert!(t.disk_check_least < t.disk_check && t.database_setting < t.disk_check);
        assert!(t.engine_check < t.engine_silent && t.engine_silent < t.engine_call);
        assert!(t.engine_silent + t.engine_check < t.truth && t.engine_silent < t.unhealthy_restart);
        assert!(t.restart_first < t.restart_cap && t.restart_cap < t.restart_reset);
        assert!(t.retry_first < t.retry_cap);
        assert!(t.probe_fast < t.probe_medium && t.probe_medium < t.probe_slow);
        assert!(t.probe_fast_for < t.probe_medium_for);
        assert!(t.probe_slow < t.unhealthy_restart);
        assert!(t.probe_slow < t.role_spoilt && t.role_spoilt < t.start_sql);
        assert!(t.usage_sample < t.usage_record && t.usage_record < t.usage_volumes);
        assert!(t.renew_retry_first < t.renew_retry_cap && t.renew_retry_cap < protocol.revoked_retry);
        assert!(protocol.reconnect_cap <= t.renew_spread && t.renew_spread < t.renew_retry_cap);
    }

    #[test]
    fn start_probes_slow_down() {
        let t = Times::DEFAULT;
        assert_eq!(t.start_probe_pause(Duration::ZERO), t.probe_fast);
        assert_eq!(t.start_probe_pause(Duration::from_secs(3)), t.probe_medium);
        assert_eq!(t.start_probe_pause(Duration::from_mins(1)), t.probe_slow);
    }
}
