//! Every time that one program relies on in the other, with one test of their order. Each program defines the times
//! that only it needs (poll intervals, waits for the engine) in its own times.

use std::time::Duration;

/// The times of the protocol between controller and agent. Tests shorten the times that they wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolTimes {
    // --- Liveness ---
    /// Both sides: time without a frame from the peer after which an HTTP/2 ping is sent. `Hello` carries it.
    pub heartbeat: Duration,
    /// Both sides: time without a reply to a ping after which the connection is closed.
    pub ping_timeout: Duration,
    /// Controller: silence after which a node is UNHEALTHY and gets no new projects. `Hello` carries it.
    pub silent_after: Duration,
    /// Controller: silence after which a node of a shared cluster is LOST.
    pub lost_after: Duration,
    /// Controller: silence after which a node of a private cluster is LOST; such hosts may have slower links.
    pub lost_after_private: Duration,
    /// Controller: interval at which it writes when each connected node was last heard.
    pub seen_flush: Duration,

    // --- Connections ---
    /// Agent: one TCP connect to the controller, and one TLS handshake.
    pub dial: Duration,
    /// Controller: one TLS handshake on the node port.
    pub handshake: Duration,
    /// Agent: closes a control connection if the controller does not send `Hello` within this time.
    pub hello_within: Duration,
    /// Agent: first backoff before it dials again; it doubles, with full jitter.
    pub reconnect_first: Duration,
    /// Agent: maximum backoff before it dials again. Agents reconnect to a restarted controller within twice this.
    pub reconnect_cap: Duration,
    /// Agent: a session that lasted this long since its `Hello` resets the backoff.
    pub session_settled: Duration,
    /// Controller: timeout of the `Goodbye` call.
    pub goodbye: Duration,
    /// Controller: how long it tells a revoked node to wait before it dials again. Agent: how long it waits after a
    /// controller has refused it a certificate because the node is revoked.
    pub revoked_retry: Duration,
    /// Controller: while two agents use one identity, how long the newest session is protected from the other agent.
    pub duplicate_hold: Duration,

    // --- Calls to the agent ---
    /// Controller: one unary call to an agent.
    pub agent_call: Duration,
    /// Agent: all engine calls for one `Inventory`, so that the response comes before the call's deadline.
    pub inventory_answer: Duration,
    /// Agent: the check of the host's ports and networks for `Hello` and `Inventory`.
    pub host_check: Duration,

    // --- Certificates ---
    /// Controller: one join or renewal connection as a whole.
    pub short_connection: Duration,
    /// Agent: one enrolment, renewal or recovery on an open connection.
    pub short_call: Duration,
    /// Controller: lifetime of a nonce of `Recover`.
    pub recovery_nonce: Duration,
}

impl ProtocolTimes {
    /// The times of production.
    pub const DEFAULT: Self = Self {
        heartbeat: Duration::from_secs(5),
        ping_timeout: Duration::from_secs(10),
        silent_after: Duration::from_secs(20),
        lost_after: Duration::from_secs(90),
        lost_after_private: Duration::from_mins(5),
        seen_flush: Duration::from_secs(5),
        dial: Duration::from_secs(5),
        handshake: Duration::from_secs(10),
        hello_within: Duration::from_secs(15),
        reconnect_first: Duration::from_millis(250),
        reconnect_cap: Duration::from_secs(5),
        session_settled: Duration::from_secs(10),
        goodbye: Duration::from_secs(1),
        revoked_retry: Duration::from_mins(10),
        duplicate_hold: Duration::from_secs(30),
        agent_call: Duration::from_secs(10),
        inventory_answer: Duration::from_secs(8),
        host_check: Duration::from_secs(5),
        short_connection: Duration::from_secs(30),
        short_call: Duration::from_secs(20),
        recovery_nonce: Duration::from_mins(1),
    };

    /// The times by which each side detects a dead peer.
    pub const fn liveness(&self) -> Liveness {
        Liveness { heartbeat: self.heartbeat, ping_timeout: self.ping_timeout }
    }
}

impl Default for ProtocolTimes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Minimum heartbeat that an agent accepts, so that no controller can make it flood the network with pings.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(50);
/// Maximum silence that an agent accepts, so that it still detects a dead connection.
const LONGEST_SILENCE: Duration = Duration::from_mins(10);

/// How a side detects a dead peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liveness {
    /// Time without a frame after which this side sends a ping.
    pub heartbeat: Duration,
    /// Time without a reply to a ping after which this side closes the connection.
    pub ping_timeout: Duration,
}

impl Liveness {
    /// Reads the times of `Hello`, in milliseconds. `None` if a number is missing (an older controller, or a test) or
    /// if they are inconsistent; the agent then keeps its own times. The agent closes the connection one heartbeat
    /// before the controller declares the node silent.
    pub fn from_hello(heartbeat_ms: u32, silent_after_ms: u32) -> Option<Self> {
        let heartbeat = Duration::from_millis(heartbeat_ms.into());
        let silent_after = Duration::from_millis(silent_after_ms.into());
        let ping_timeout = silent_after.checked_sub(heartbeat * 2)?;
        let makes_sense =
            heartbeat >= SHORTEST_HEARTBEAT && silent_after <= LONGEST_SILENCE && heartbeat < ping_timeout;
        makes_sense.then_some(Self { heartbeat, ping_timeout })
    }

    /// Silence of the peer after which this side closes the connection.
    pub fn longest_silence(&self) -> Duration {
        self.heartbeat + self.ping_timeout
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The one test of their order across both programs: `…` is said by the first, relied on by the second.
    #[test]
    fn times_stand_in_the_order_the_protocol_needs() {
        let t = ProtocolTimes::DEFAULT;

        // Liveness.
        assert!(t.heartbeat < t.ping_timeout, "a late ping does not end a session");
        assert!(
            t.liveness().longest_silence() < t.silent_after,
            "either side drops a dead connection before the controller calls its node silent"
        );
        assert!(t.seen_flush * 2 < t.silent_after, "one missed write does not make nodes silent");
        assert!(t.silent_after * 2 < t.lost_after && t.lost_after < t.lost_after_private);

        // Connections.
        assert!(t.reconnect_first < t.reconnect_cap);
        assert!(t.reconnect_cap * 2 <= Duration::from_secs(10), "a session is back within 10 s");
        assert!(
            t.reconnect_cap * 2 < t.silent_after,
            "a restarted controller has its agents back before they are silent"
        );
        assert!(
            t.dial <= t.reconnect_cap && t.dial < t.handshake,
            "the agent gives up a handshake before the controller"
        );
        assert!(
            t.dial < t.hello_within && t.agent_call < t.hello_within,
            "the controller's Hello has its whole time"
        );
        assert!(t.session_settled > t.reconnect_cap);
        assert!(t.goodbye < t.agent_call);
        assert!(t.goodbye < t.reconnect_cap && t.duplicate_hold < t.revoked_retry);

        // Calls to the agent.
        assert!(
            t.inventory_answer < t.agent_call,
            "an agent whose engine hangs says so before the call's deadline"
        );
        assert!(
            t.host_check < t.inventory_answer && t.host_check < t.agent_call,
            "Hello is answered in time"
        );

        // Certificates.
        assert!(t.short_call < t.short_connection, "the agent gives up a renewal before the controller does");
        assert!(t.short_connection < t.recovery_nonce, "a nonce outlives the connection it was asked on");
        assert!(t.recovery_nonce < t.revoked_retry);
    }

    #[test]
    fn what_a_controller_of_these_times_tells_is_what_the_agent_has() {
        let t = ProtocolTimes::DEFAULT;
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap();
        let told = Liveness::from_hello(millis(t.heartbeat), millis(t.silent_after));
        assert_eq!(told, Some(t.liveness()));
    }

    #[test]
    fn a_hello_that_makes_no_sense_changes_nothing() {
        for (heartbeat, silent_after) in [
            (0, 0),
            (0, 20_000),
            (5000, 0),
            (5000, 10_000),
            (5000, 15_000),
            (10, 20_000),
            (5000, u32::MAX),
            (u32::MAX, u32::MAX),
        ] {
            assert_eq!(Liveness::from_hello(heartbeat, silent_after), None, "{heartbeat} {silent_after}");
        }
    }

    proptest! {
        #[test]
        fn told_times_notice_a_dead_controller_before_it_would_notice_us(heartbeat in any::<u32>(), silent_after in any::<u32>()) {
            if let Some(told) = Liveness::from_hello(heartbeat, silent_after) {
                prop_assert!(told.longest_silence() < Duration::from_millis(silent_after.into()));
                prop_assert!(told.heartbeat < told.ping_timeout && told.heartbeat >= SHORTEST_HEARTBEAT);
            }
        }
    }
}
