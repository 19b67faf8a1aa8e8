//! All times of the protocol and of the control plane's loops, in one place, so that a test can check their order.

use std::time::Duration;

use supalove_spec::ProtocolTimes;

/// The times. A process has one value; tests shorten the times that they wait for.
#[derive(Debug, Clone)]
pub struct Times {
    /// Interval of HTTP/2 pings on a control session.
    pub heartbeat: Duration,
    /// How long a ping may stay unanswered before the session counts as dead.
    pub ping_timeout: Duration,
    /// Silence after which a node is UNHEALTHY and gets no new projects.
    pub silent_after: Duration,
    /// Silence after which a node of a shared cluster is LOST.
    pub lost_after: Duration,
    /// Silence after which a node of a private cluster is LOST; such hosts may have slower links.
    pub lost_after_private: Duration,
    /// Silence of a node after which deleted projects on it are removed without it.
    pub lost_for_good: Duration,
    /// How long after a start, or an outage of the database, nodes get to return before that.
    pub nodes_return: Duration,
    /// Interval at which a replica writes `seen_at` of its live sessions.
    pub seen_flush: Duration,
    /// Interval at which a replica writes when personal access tokens were used.
    pub token_uses: Duration,
    /// Interval at which the health check probes the control database.
    pub health: Duration,
    /// Timeout of the TLS handshake on the node port.
    pub handshake: Duration,
    /// Interval of inventories of a host.
    pub inventory: Duration,
    /// Interval at which an agent repeats the digests of its projects' states.
    pub repeat_digests: Duration,
    /// Interval at which the controller compares the reports that it has judged with the projects' rows.
    pub resync: Duration,
    /// Timeout of a unary call to an agent.
    pub agent_call: Duration,
    /// Timeout of a whole join connection.
    pub enrolment: Duration,
    /// Poll interval where there is no hint, or where a lost hint must not cost more than this.
    pub poll: Duration,
    /// Poll interval where each change publishes a hint; it makes up for lost hints.
    pub hinted_poll: Duration,
    /// Interval at which expired rows are deleted.
    pub prune: Duration,
    /// Silence after which a replica of the controller counts as gone.
    pub replica_gone: Duration,
    /// Retention of the job results of a replica that is gone.
    pub replica_forgotten: Duration,
    /// Interval of keep-alive messages on a watch.
    pub keep_alive: Duration,
    /// Default and maximum duration of a unary public call.
    pub call: Duration,
    /// Maximum duration of a streaming call; the caller then opens a new one.
    pub stream: Duration,
    /// Longest wait of `WaitOperation`.
    pub wait_operation: Duration,
    /// How long a lease lasts without renewal.
    pub lease: Duration,
    /// Interval at which the holder renews its lease.
    pub lease_renew: Duration,
    /// How long an operation may wait for capacity on a node.
    pub pending: Duration,
    /// Deadline of a create: from placement to ACTIVE_HEALTHY, including image pulls.
    pub create: Duration,
    /// Deadline of a start: from the call (or from when the node had capacity) to ACTIVE_HEALTHY.
    pub start: Duration,
    /// Deadline of a stop: from the call to INACTIVE.
    pub stop: Duration,
    /// Deadline of a delete: from the call to REMOVED, or to stopped with the data kept.
    pub delete: Duration,
    /// Lifetime of an access token.
    pub access_token: Duration,
    /// Lifetime of a session without a refresh.
    pub refresh_token: Duration,
    /// Longest life of a session, whatever is refreshed.
    pub session: Duration,
    /// How long a refresh token that was used gets the same successor again: two tabs, or a lost answer.
    pub refresh_grace: Duration,
    /// Default undo window of a deleted project.
    pub undo_window: Duration,
    /// How long the controller keeps a `request_id`.
    pub idempotency: Duration,
    /// Interval of signed checkpoints of the audit log.
    pub audit_checkpoint: Duration,
    /// Retention of the audit log.
    pub audit_kept: Duration,
    /// Retention of what has ended: operations, events, removed projects, join tokens.
    pub ended_kept: Duration,
    /// For one answer of the mail server: to a connection, the TLS handshake, a command, a mail's content.
    pub mail_answer: Duration,
    /// For one mail, from its claim to the server's last answer.
    pub mail_send: Duration,
    /// After this time a mail that a replica has claimed is anybody's again: the replica died while it sent the mail.
    pub mail_claim: Duration,
    /// First pause after a failure to send; each further one about doubles it.
    pub mail_retry: Duration,
    /// Longest pause after failures to send.
    pub mail_retry_most: Duration,
    /// Poll interval of the outbox; each new mail publishes a hint.
    pub mail_poll: Duration,
    /// Retention of the rows of mails that were sent or given up; their content is deleted at once.
    pub mails_kept: Duration,
    /// Lifetime of a node's certificate; the agent renews it after a random 50 to 80 % of it.
    pub node_certificate: Duration,
    /// Lifetime of a controller's own certificate; it renews it likewise.
    pub controller_certificate: Duration,
    /// Lifetime of a nonce of `Recover`.
    pub recovery_nonce: Duration,
    /// Age of a new root from which every replica must know it.
    pub authority_settled: Duration,
    /// Timeout of the `Goodbye` call.
    pub goodbye: Duration,
    /// How long the agent of a revoked node must wait before it dials again.
    pub revoked_retry: Duration,
    /// How long after a forgotten node last asked for a session its return is an alarm.
    pub returned_alarm: Duration,
    /// While two agents use one identity, how long the newest session is protected from the other agent.
    pub duplicate_hold: Duration,
    /// How long after the last sighting of two agents the protection and the alarm last.
    pub duplicate_alarm: Duration,
    /// Interval at which minutes of usage are summed to hours and days.
    pub usage_roll_up: Duration,
    /// Interval at which sizes are compared with plans, and agents are told changed limits.
    pub usage_limits: Duration,
}

impl Default for Times {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        let s = Duration::from_secs;
        let protocol = ProtocolTimes::DEFAULT;
        Self {
            heartbeat: protocol.heartbeat,
            ping_timeout: protocol.ping_timeout,
            silent_after: protocol.silent_after,
            lost_after: protocol.lost_after,
            lost_after_private: protocol.lost_after_private,
            lost_for_good: s(24 * HOUR),
            nodes_return: protocol.lost_after_private,
            seen_flush: protocol.seen_flush,
            token_uses: s(10),
            health: s(5),
            handshake: protocol.handshake,
            inventory: s(60),
            repeat_digests: s(60),
            resync: s(30),
            agent_call: protocol.agent_call,
            enrolment: protocol.short_connection,
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
            session: s(90 * 24 * HOUR),
            refresh_grace: s(10),
            undo_window: s(7 * 24 * HOUR),
            idempotency: s(24 * HOUR),
            audit_checkpoint: s(HOUR),
            audit_kept: s(365 * 24 * HOUR),
            ended_kept: s(90 * 24 * HOUR),
            mail_answer: s(60),
            mail_send: s(150),
            mail_claim: s(180),
            mail_retry: s(5),
            mail_retry_most: s(300),
            mail_poll: s(10),
            mails_kept: s(30 * 24 * HOUR),
            node_certificate: s(30 * 24 * HOUR),
            controller_certificate: s(90 * 24 * HOUR),
            recovery_nonce: protocol.recovery_nonce,
            authority_settled: s(3),
            goodbye: protocol.goodbye,
            revoked_retry: protocol.revoked_retry,
            returned_alarm: protocol.revoked_retry * 4,
            duplicate_hold: protocol.duplicate_hold,
            duplicate_alarm: s(HOUR),
            usage_roll_up: s(60),
            usage_limits: s(60),
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
        assert!(t.lost_after <= t.nodes_return && t.nodes_return < t.lost_for_good);
        assert!(t.silent_after * 2 < t.lost_after && t.lost_after < t.lost_after_private);
        assert!(t.lease_renew * 2 < t.lease, "a lease must survive one missed renewal");
        assert!(
            t.silent_after < t.resync
                && t.resync <= t.repeat_digests
                && t.repeat_digests <= Duration::from_mins(1),
            "a state that was turned by silence or lost is right again within a minute"
        );
        assert!(t.poll < t.seen_flush);
        assert!(t.seen_flush * 3 < t.replica_gone, "a few missed heartbeats must not make a replica gone");
        assert!(
            t.replica_gone + t.prune < t.replica_forgotten,
            "a replica that is gone is shown for a while"
        );
        assert!(t.poll <= t.hinted_poll && t.hinted_poll < t.keep_alive);
        assert!(t.agent_call < t.stop && t.stop <= t.delete && t.delete <= t.start && t.start <= t.create);
        assert!(t.create < t.pending);
        assert!(t.refresh_grace < t.access_token && t.access_token < t.refresh_token);
        assert!(t.refresh_token < t.session, "a session that is used outlives one refresh token");
        assert!(t.audit_checkpoint < t.audit_kept, "the log is never cut behind its newest checkpoint");
        assert!(t.undo_window < t.ended_kept && t.ended_kept < t.audit_kept);
        assert!(t.mail_answer * 2 < t.mail_send, "a mail has time for more than one slow answer");
        assert!(
            t.mail_send + t.lease < t.mail_claim,
            "who sends a mail notes it before another may claim it"
        );
        assert!(t.mail_retry < t.mail_retry_most && t.mail_retry_most < t.access_token);
        assert!(t.enrolment < t.recovery_nonce, "a nonce must outlive the connection it was asked on");
        assert!(t.recovery_nonce < t.node_certificate && t.node_certificate < t.controller_certificate);
        assert_eq!(t.node_certificate.as_secs(), supalove_certs::NODE_LIFETIME.num_seconds().unsigned_abs());
        assert_eq!(
            t.controller_certificate.as_secs(),
            supalove_certs::CONTROLLER_LIFETIME.num_seconds().unsigned_abs()
        );
        assert!(t.poll * 2 < t.authority_settled, "a root is used only when every replica has seen it");
        assert!(t.poll + t.goodbye < Duration::from_secs(3), "a revocation is done everywhere within 3 s");
        assert!(
            t.revoked_retry * 2 + Duration::from_mins(1) < t.returned_alarm,
            "one try that is missed, or not written, must not end the alarm about a node that goes on to ask"
        );
        assert!(t.duplicate_hold < t.revoked_retry && t.duplicate_hold < t.duplicate_alarm);
    }
}
