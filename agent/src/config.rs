//! What can be set about a running agent: the host's settings, and every time limit in one place.
//!
//! In: parsed arguments. Out: values that the rooms share and never change.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;

/// Number of host ports in a slot's block.
pub const PORTS_PER_SLOT: u32 = 8;
/// Prefix length of a slot's network.
pub const SLOT_PREFIX: u8 = 27;

/// Settings of one host that lie in everything the agent does.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// Where records, configuration directories and the identity lie. Absolute.
    pub state_dir: PathBuf,
    /// Address that published ports bind to.
    pub publish_address: IpAddr,
    /// Name under which published ports are reached; none = found when a session starts.
    pub advertise_address: Option<String>,
    /// First port of slot 0.
    pub port_base: u16,
    /// Number of slots.
    pub slots: u32,
    /// Range that the slots' networks are cut from.
    pub network_range: Ipv4Net,
}

impl HostSettings {
    /// First port of a slot's block, if the slot exists.
    pub fn slot_ports(&self, slot: u32) -> Option<u16> {
        let offset = (slot < self.slots).then(|| slot.checked_mul(PORTS_PER_SLOT))??;
        u16::try_from(u32::from(self.port_base).checked_add(offset)?).ok()
    }

    /// The /27 of a slot, if the slot exists.
    pub fn slot_network(&self, slot: u32) -> Option<Ipv4Net> {
        let offset = (slot < self.slots).then(|| slot.checked_mul(32))??;
        let first = u32::from(self.network_range.network()).checked_add(offset)?;
        let network = Ipv4Net::new(first.into(), SLOT_PREFIX).ok()?;
        self.network_range.contains(&network).then_some(network)
    }

    /// How many slots the ports and the network range have room for.
    pub fn room_for_slots(port_base: u16, network_range: Ipv4Net) -> u32 {
        let networks = 1_u32
            .checked_shl(u32::from(SLOT_PREFIX.saturating_sub(network_range.prefix_len())))
            .unwrap_or(u32::MAX);
        let networks = if network_range.prefix_len() > SLOT_PREFIX { 0 } else { networks };
        networks.min((u32::from(u16::MAX) + 1 - u32::from(port_base)) / PORTS_PER_SLOT)
    }
}

/// Every time of the agent. A test holds their order.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// One TCP dial to the controller, and one TLS handshake.
    pub dial: Duration,
    /// A connection on which nobody says Hello for this long is given up.
    pub hello_within: Duration,
    /// First pause before dialling again; pauses double and are fully jittered.
    pub reconnect_first: Duration,
    /// Longest pause before dialling again: a restarted controller has its agents back within twice this.
    pub reconnect_cap: Duration,
    /// A session that lasted this long since its Hello makes the next pause the first again.
    pub session_settled: Duration,
    /// HTTP/2 ping on an otherwise quiet connection.
    pub ping_interval: Duration,
    /// A ping that is not answered for this long ends the connection.
    pub ping_timeout: Duration,
    /// How long a stopping agent lets running calls end.
    pub shutdown: Duration,
    /// One call to the Docker Engine.
    pub engine_call: Duration,
    /// All looks at the engine for one inventory: the answer is there before the controller's deadline of 10 s.
    pub inventory: Duration,
    /// What the engine may take for a stop beyond the container's own grace.
    pub engine_stop_margin: Duration,
    /// An image pull that reports nothing new for this long has failed.
    pub pull_idle: Duration,
    /// An image pull may take this long altogether.
    pub pull_total: Duration,
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
    /// A tunnel's dial to a container.
    pub tunnel_dial: Duration,
    /// One renewal or recovery after the connection stands.
    pub renew_call: Duration,
    /// First pause before a renewal is tried again; pauses double.
    pub renew_retry_first: Duration,
    /// Longest pause before a renewal is tried again: 20 % of a certificate's life remain for that.
    pub renew_retry_cap: Duration,
    /// When another root signs, nodes renew within this time, each at a random moment.
    pub renew_spread: Duration,
    /// How long a node that was refused a certificate because it is revoked waits before it asks again.
    pub revoked_pause: Duration,
}

impl Times {
    /// The times of production.
    pub const DEFAULT: Self = Self {
        dial: Duration::from_secs(5),
        hello_within: Duration::from_secs(15),
        reconnect_first: Duration::from_millis(250),
        reconnect_cap: Duration::from_secs(5),
        session_settled: Duration::from_secs(10),
        ping_interval: Duration::from_secs(5),
        ping_timeout: Duration::from_secs(10),
        shutdown: Duration::from_secs(2),
        engine_call: Duration::from_secs(30),
        inventory: Duration::from_secs(8),
        engine_stop_margin: Duration::from_secs(15),
        pull_idle: Duration::from_mins(1),
        pull_total: Duration::from_mins(10),
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
        tunnel_dial: Duration::from_secs(5),
        renew_call: Duration::from_secs(20),
        renew_retry_first: Duration::from_secs(1),
        renew_retry_cap: Duration::from_mins(5),
        renew_spread: Duration::from_secs(5),
        revoked_pause: Duration::from_mins(10),
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

    fn settings(range: &str, slots: u32) -> HostSettings {
        HostSettings {
            state_dir: "/state".into(),
            publish_address: [127, 0, 0, 1].into(),
            advertise_address: None,
            port_base: 5500,
            slots,
            network_range: range.parse().unwrap(),
        }
    }

    #[test]
    fn times_are_in_order() {
        let t = Times::DEFAULT;
        assert!(t.reconnect_first < t.reconnect_cap);
        assert!(t.reconnect_cap * 2 <= Duration::from_secs(10), "a session is back within 10 s");
        assert!(t.dial <= t.reconnect_cap);
        assert!(t.ping_interval < t.ping_timeout);
        // Silence for 20 s is what the controller calls unhealthy: a dead connection must be found before.
        assert!(t.ping_interval + t.ping_timeout < Duration::from_secs(20));
        assert!(t.hello_within > t.dial);
        assert!(t.session_settled > t.reconnect_cap);
        assert!(t.inventory < Duration::from_secs(10), "the controller's deadline for a call");
        assert!(t.truth < t.removed_kept);
        assert!(t.progress_every < t.pull_idle && t.pull_idle < t.pull_total);
        assert!(t.rules_call < t.rules_check);
        assert!(t.restart_first < t.restart_cap && t.restart_cap < t.restart_reset);
        assert!(t.retry_first < t.retry_cap);
        assert!(t.probe_fast < t.probe_medium && t.probe_medium < t.probe_slow);
        assert!(t.probe_fast_for < t.probe_medium_for);
        assert!(t.probe_slow < t.unhealthy_restart);
        assert!(t.renew_call < Duration::from_secs(30), "the controller's limit for the whole connection");
        assert!(t.renew_retry_first < t.renew_retry_cap && t.renew_retry_cap < t.revoked_pause);
        assert!(t.reconnect_cap <= t.renew_spread && t.renew_spread < t.renew_retry_cap);
    }

    #[test]
    fn start_probes_slow_down() {
        let t = Times::DEFAULT;
        assert_eq!(t.start_probe_pause(Duration::ZERO), t.probe_fast);
        assert_eq!(t.start_probe_pause(Duration::from_secs(3)), t.probe_medium);
        assert_eq!(t.start_probe_pause(Duration::from_mins(1)), t.probe_slow);
    }

    #[test]
    fn slots_give_ports_and_networks() {
        let host = settings("10.213.0.0/16", 100);
        assert_eq!(host.slot_ports(0), Some(5500));
        assert_eq!(host.slot_ports(3), Some(5524));
        assert_eq!(host.slot_ports(100), None);
        assert_eq!(host.slot_network(0).unwrap().to_string(), "10.213.0.0/27");
        assert_eq!(host.slot_network(9).unwrap().to_string(), "10.213.1.32/27");
    }

    #[test]
    fn a_small_range_has_room_for_few() {
        assert_eq!(HostSettings::room_for_slots(5500, "10.0.0.0/26".parse().unwrap()), 2);
        assert_eq!(HostSettings::room_for_slots(5500, "10.0.0.0/28".parse().unwrap()), 0);
        assert_eq!(HostSettings::room_for_slots(65500, "10.0.0.0/16".parse().unwrap()), 4);
        assert_eq!(settings("10.0.0.0/26", 9).slot_network(2), None);
    }
}
