//! Every time of the protocol and of the control plane's own loops, in one place, so that their order can be checked.

use std::time::Duration;

/// The times. One value serves a whole process; tests shorten what they wait for.
#[derive(Debug, Clone)]
pub struct Times {
    /// Between HTTP/2 pings on a control session.
    pub heartbeat: Duration,
    /// Without an answer to a ping, the session is dead.
    pub ping_timeout: Duration,
    /// Without a sign of life, a node is unhealthy and gets no new projects.
    pub silent_after: Duration,
    /// Without a sign of life, a node of a shared cluster is lost.
    pub lost_after: Duration,
    /// The same for private clusters, whose hosts sit behind worse lines.
    pub lost_after_private: Duration,
    /// Between two writes of all live sessions' `seen_at`.
    pub seen_flush: Duration,
    /// Between two looks at whether the control database answers, for health checks.
    pub health: Duration,
    /// For the TLS handshake on the node port.
    pub handshake: Duration,
    /// Between two looks at what is on a host.
    pub inventory: Duration,
    /// For one unary call to an agent.
    pub agent_call: Duration,
    /// For a join connection as a whole.
    pub enrolment: Duration,
    /// Between two looks at the database where there is no hint, or where a lost hint may not cost more.
    pub poll: Duration,
    /// Between two looks at the database where a hint comes at each change. The truth behind the hint.
    pub hinted_poll: Duration,
    /// Between two deletions of rows that nobody asks for any more.
    pub prune: Duration,
    /// Without a sign of life, a replica of the controller is gone.
    pub replica_gone: Duration,
    /// How long the job results of a replica that is gone are kept.
    pub replica_forgotten: Duration,
    /// Between two keep-alives of a watch.
    pub keep_alive: Duration,
    /// Default and upper bound of a unary public call.
    pub call: Duration,
    /// Longest life of a streaming call; its caller opens another one.
    pub stream: Duration,
    /// Longest wait of `WaitOperation`.
    pub wait_operation: Duration,
    /// Life of a lease, and how often its holder renews it.
    pub lease: Duration,
    /// See [`Times::lease`].
    pub lease_renew: Duration,
    /// Longest time an operation may wait for room on a node.
    pub pending: Duration,
    /// From placement to ACTIVE_HEALTHY, image pulls included.
    pub create: Duration,
    /// From the call (or from room on the node) to ACTIVE_HEALTHY.
    pub start: Duration,
    /// From the call to INACTIVE.
    pub stop: Duration,
    /// From the call to nothing left, or to stopped with the data kept.
    pub delete: Duration,
    /// Life of an access token.
    pub access_token: Duration,
    /// Life of a session without a refresh.
    pub refresh_token: Duration,
    /// Undo window of a deleted project, if the caller names none.
    pub undo_window: Duration,
    /// How long a `request_id` is remembered.
    pub idempotency: Duration,
    /// Life of a node's certificate; renewed at a random 50 to 80 % of it.
    pub node_certificate: Duration,
    /// Life of a controller's own certificate; renewed likewise.
    pub controller_certificate: Duration,
    /// How long a nonce of `Recover` works.
    pub recovery_nonce: Duration,
    /// Age at which every replica surely knows a new root.
    pub authority_settled: Duration,
    /// For an agent to hear why its connection is closed.
    pub goodbye: Duration,
    /// How long a revoked node's agent is asked not to dial again.
    pub revoked_retry: Duration,
    /// While two agents fight for one identity, the newest session is left in peace for this long.
    pub duplicate_hold: Duration,
    /// How long after the last fight a node is still guarded, and its alarm shown.
    pub duplicate_alarm: Duration,
}

impl Default for Times {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        let s = Duration::from_secs;
        Self {
            heartbeat: s(5),
            ping_timeout: s(10),
            silent_after: s(20),
            lost_after: s(90),
            lost_after_private: s(300),
            seen_flush: s(5),
            health: s(5),
            handshake: s(10),
            inventory: s(60),
            agent_call: s(10),
            enrolment: s(30),
            poll: s(1),
            hinted_poll: s(10),
            prune: s(60),
            replica_gone: s(20),
            replica_forgotten: s(600),
            keep_alive: s(15),
            call: s(30),
            stream: s(24 * HOUR),
            wait_operation: s(600),
            lease: s(10),
            lease_renew: s(3),
            pending: s(24 * HOUR),
            create: s(600),
            start: s(300),
            stop: s(180),
            delete: s(300),
            access_token: s(HOUR),
            refresh_token: s(30 * 24 * HOUR),
            undo_window: s(7 * 24 * HOUR),
            idempotency: s(24 * HOUR),
            node_certificate: s(30 * 24 * HOUR),
            controller_certificate: s(90 * 24 * HOUR),
            recovery_nonce: s(60),
            authority_settled: s(3),
            goodbye: s(1),
            revoked_retry: s(600),
            duplicate_hold: s(30),
            duplicate_alarm: s(HOUR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_in_the_order_the_protocol_needs() {
        let t = Times::default();
        assert!(t.heartbeat < t.ping_timeout, "a late ping must not end a session");
        assert!(
            t.heartbeat + t.ping_timeout < t.silent_after,
            "a dead connection must be noticed before its node counts as silent"
        );
        assert!(t.seen_flush * 2 < t.silent_after, "one missed flush must not make nodes silent");
        assert!(t.silent_after * 2 < t.lost_after && t.lost_after < t.lost_after_private);
        assert!(t.lease_renew * 2 < t.lease, "a lease must survive one missed renewal");
        assert!(t.poll < t.seen_flush);
        assert!(t.seen_flush * 3 < t.replica_gone, "a few missed heartbeats must not make a replica gone");
        assert!(
            t.replica_gone + t.prune < t.replica_forgotten,
            "a replica that is gone is shown for a while"
        );
        assert!(t.poll <= t.hinted_poll && t.hinted_poll < t.keep_alive);
        assert!(t.agent_call < t.stop && t.stop <= t.delete && t.delete <= t.start && t.start <= t.create);
        assert!(t.create < t.pending);
        assert!(t.access_token < t.refresh_token);
        assert!(t.enrolment < t.recovery_nonce, "a nonce must outlive the connection it was asked on");
        assert!(t.recovery_nonce < t.node_certificate && t.node_certificate < t.controller_certificate);
        assert_eq!(t.node_certificate.as_secs(), supalove_certs::NODE_LIFETIME.num_seconds().unsigned_abs());
        assert_eq!(
            t.controller_certificate.as_secs(),
            supalove_certs::CONTROLLER_LIFETIME.num_seconds().unsigned_abs()
        );
        assert!(t.poll * 2 < t.authority_settled, "a root is used only when every replica has seen it");
        assert!(t.poll + t.goodbye < Duration::from_secs(3), "a revocation is done everywhere within 3 s");
        assert!(t.duplicate_hold < t.revoked_retry && t.duplicate_hold < t.duplicate_alarm);
    }
}
