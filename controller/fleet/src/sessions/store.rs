//! Sessions in PostgreSQL.

use std::{net::IpAddr, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use supalove_core::{
    Core, SystemWrite, Write,
    database::Db,
    error::Result,
    ids::{ControllerId, NodeId},
    restores::LEAP,
    times::Times,
};

/// Result of the request for a session.
pub enum SessionStart {
    /// The session has begun, with this epoch.
    Epoch(i64),
    /// There is no such node.
    Unknown,
    /// The operator revoked the node.
    Revoked,
    /// Another live agent holds this identity; retry after at most this time.
    Held(Duration),
}

/// Begins a session: takes the next epoch and records this replica as its holder.
pub async fn begin(
    write: &mut impl Write,
    node: NodeId,
    address: IpAddr,
    controller: ControllerId,
    times: &Times,
) -> Result<SessionStart> {
    let hold = times.duplicate_hold.as_secs_f64();
    let alarm = times.duplicate_alarm.as_secs_f64();
    // A controller without a heartbeat for longer than this has stopped, and its sessions have ended.
    let fresh = (times.seen_flush + times.poll * 2).as_secs_f64();
    let epoch = sqlx::query_scalar!(
        "WITH next AS (UPDATE nodes SET session_epoch = session_epoch + 1, dialled_from = $6::text::inet
             WHERE id = $1 AND revoked_at IS NULL AND (NOT coalesce(
                 duplicate_at > now() - make_interval(secs => $4) AND greeted_at > now() - make_interval(secs => $3), false)
                 OR NOT EXISTS (SELECT 1 FROM node_sessions s JOIN controllers c ON c.id = s.controller_id
                     WHERE s.node_id = nodes.id AND s.epoch = nodes.greeted_epoch
                         AND c.seen_at > now() - make_interval(secs => $5)))
             RETURNING session_epoch)
         INSERT INTO node_sessions (node_id, controller_id, epoch) SELECT $1, $2, session_epoch FROM next
         ON CONFLICT (node_id) DO UPDATE SET controller_id = EXCLUDED.controller_id, epoch = EXCLUDED.epoch,
             connected_at = now()
         WHERE node_sessions.epoch < EXCLUDED.epoch
         RETURNING epoch",
        node.0,
        controller.0,
        hold,
        alarm,
        fresh,
        address.to_string(),
    )
    .fetch_optional(write.connection().await?)
    .await?;
    if let Some(epoch) = epoch {
        return Ok(SessionStart::Epoch(epoch));
    }
    let why = sqlx::query!(
        "SELECT revoked_at IS NOT NULL AS \"revoked!\",
             coalesce(extract(epoch FROM least(greeted_at + make_interval(secs => $2),
                 (SELECT c.seen_at + make_interval(secs => $3) FROM node_sessions s JOIN controllers c ON c.id = s.controller_id
                     WHERE s.node_id = nodes.id AND s.epoch = nodes.greeted_epoch)) - now()), 0)::float8 AS \"held!\"
         FROM nodes WHERE id = $1",
        node.0,
        hold,
        fresh,
    )
    .fetch_optional(write.connection().await?)
    .await?;
    Ok(match why {
        None => SessionStart::Unknown,
        Some(row) if row.revoked => {
            // Not for each try: an agent that was refused tries again and again.
            sqlx::query!(
                "UPDATE nodes SET returned_at = now() WHERE id = $1 AND forgotten_at IS NOT NULL
                     AND coalesce(returned_at < now() - interval '1 minute', true)",
                node.0
            )
            .execute(write.connection().await?)
            .await?;
            SessionStart::Revoked
        }
        Some(row) => SessionStart::Held(Duration::from_secs_f64(row.held.clamp(0.1, hold))),
    })
}

/// A session of this replica that must end.
pub struct EndedSession {
    pub node: NodeId,
    /// True if the operator revoked the node; false if the node has a newer session.
    pub revoked: bool,
    /// Run id of the agent with the newer session.
    pub run_id: String,
    /// Boot id of that agent's host.
    pub boot_id: String,
}

/// Returns which of these sessions must end.
pub async fn to_end(db: &Db, nodes: &[Uuid], epochs: &[i64]) -> Result<Vec<EndedSession>> {
    let rows = sqlx::query!(
        "SELECT n.id AS \"id: NodeId\", n.revoked_at IS NOT NULL AS \"revoked!\", n.agent_run_id, n.boot_id
         FROM unnest($1::uuid[], $2::bigint[]) AS held (id, epoch) JOIN nodes n ON n.id = held.id
         WHERE n.revoked_at IS NOT NULL OR n.greeted_epoch > held.epoch",
        nodes,
        epochs,
    )
    .fetch_all(db)
    .await?;
    let found = rows.into_iter().map(|row| EndedSession {
        node: row.id,
        revoked: row.revoked,
        run_id: row.agent_run_id,
        boot_id: row.boot_id,
    });
    Ok(found.collect())
}

/// Records that two live agents have this identity. Audits it unless it was already known.
pub async fn duplicate(write: &mut SystemWrite, node: NodeId, detail: &str, times: &Times) -> Result<()> {
    let news = sqlx::query_scalar!(
        "WITH before AS (SELECT duplicate_at FROM nodes WHERE id = $1 FOR NO KEY UPDATE)
         UPDATE nodes SET duplicate_at = now(), duplicate_detail = $2 FROM before WHERE id = $1
         RETURNING coalesce(before.duplicate_at < now() - make_interval(secs => $3), true) AS \"news!\"",
        node.0,
        detail,
        times.duplicate_alarm.as_secs_f64(),
    )
    .fetch_optional(write.connection().await?)
    .await?;
    if news == Some(true) {
        let method = "/supalove.node.v1.NodeAgentService/Hello";
        write.audit_outcome(method, &node.to_string(), "DUPLICATE_IDENTITY");
    }
    Ok(())
}

/// Lifts the epoch of a node above one that its agent has seen; false if it is above it already.
pub async fn raise_epoch(write: &mut impl Write, node: NodeId, newest: i64) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE nodes SET session_epoch = $2 WHERE id = $1 AND session_epoch < $2 AND $2 - $3 <= session_epoch",
        node.0,
        newest,
        LEAP,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Number of nodes that may connect.
pub async fn count(write: &mut impl Write) -> Result<i64> {
    let count = sqlx::query_scalar!("SELECT count(*) AS \"count!\" FROM nodes WHERE revoked_at IS NULL");
    Ok(count.fetch_one(write.connection().await?).await?)
}

/// Ends a session, unless a newer one has begun.
pub async fn end_session(
    write: &mut impl Write,
    node: NodeId,
    controller: ControllerId,
    epoch: i64,
) -> Result<()> {
    sqlx::query!(
        "DELETE FROM node_sessions WHERE node_id = $1 AND controller_id = $2 AND epoch = $3",
        node.0,
        controller.0,
        epoch,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Deletes sessions of replicas that are deleted: they have been silent for long. A node that comes back begins another one.
pub async fn prune(write: &mut impl Write) -> Result<()> {
    sqlx::query!(
        "DELETE FROM node_sessions s WHERE NOT EXISTS (SELECT 1 FROM controllers c WHERE c.id = s.controller_id)"
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Writes the heartbeat of this replica, which registers it again if it was deleted meanwhile, and for each of its nodes how many
/// seconds ago the agent was heard. After a break of its heartbeats the replica counts as there from now on only. A node whose row is
/// locked has its turn at the next flush: one row must not make all nodes of a replica look silent. Returns the heartbeat that the
/// database had, and the new one.
pub async fn seen(
    write: &mut impl Write,
    core: &Core,
    (nodes, seconds): (Vec<Uuid>, Vec<f64>),
) -> Result<Heartbeats> {
    let heartbeats = sqlx::query_as!(
        Heartbeats,
        "WITH known AS (SELECT seen_at FROM controllers WHERE id = $1)
         INSERT INTO controllers (id, address, version) VALUES ($1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET seen_at = now(), watching_since = CASE
             WHEN controllers.seen_at > now() - make_interval(secs => $4) THEN controllers.watching_since ELSE now() END
         RETURNING (SELECT seen_at FROM known) AS found, seen_at AS written",
        core.controller.0,
        core.node_address,
        env!("CARGO_PKG_VERSION"),
        core.times.replica_gone.as_secs_f64(),
    )
    .fetch_one(write.connection().await?)
    .await?;
    sqlx::query!(
        "WITH free AS (SELECT id FROM nodes WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
         UPDATE nodes n SET seen_at = greatest(n.seen_at, now() - make_interval(secs => heard.seconds))
         FROM unnest($1::uuid[], $2::float8[]) AS heard (node_id, seconds)
         WHERE n.id = heard.node_id AND n.id IN (SELECT id FROM free)",
        &nodes,
        &seconds,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(heartbeats)
}

/// Heartbeats of this replica.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeats {
    /// The last one that the database knew; `None` if it did not know the replica.
    pub found: Option<DateTime<Utc>>,
    /// The new one.
    pub written: DateTime<Utc>,
}

impl Heartbeats {
    /// True if the database no longer has an earlier heartbeat that it confirmed: it was restored from a backup, or has failed
    /// over to a server that lacked it. Replicas that were silent for a day are deleted, which is no loss.
    pub fn lack(&self, confirmed: DateTime<Utc>) -> bool {
        match self.found {
            Some(found) => found < confirmed,
            None => self.written - confirmed < TimeDelta::hours(12),
        }
    }
}

/// Addresses from which the nodes of the fleet opened their newest sessions.
pub async fn dialled_from(db: &Db) -> Result<Vec<IpAddr>> {
    let addresses = sqlx::query_scalar!(
        "SELECT DISTINCT host(dialled_from) AS \"address!\" FROM nodes WHERE dialled_from IS NOT NULL AND revoked_at IS NULL"
    );
    Ok(addresses.fetch_all(db).await?.iter().filter_map(|address| address.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_that_was_confirmed_and_is_gone_is_a_loss() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(9);
        let found = |found: Option<TimeDelta>| Heartbeats { found: found.map(|ago| now - ago), written: now };
        let confirmed = now - TimeDelta::seconds(5);
        assert!(!found(Some(TimeDelta::seconds(5))).lack(confirmed));
        assert!(!found(Some(TimeDelta::seconds(2))).lack(confirmed), "one whose answer was lost");
        assert!(found(Some(TimeDelta::seconds(6))).lack(confirmed));
        assert!(found(None).lack(confirmed));
        assert!(!found(None).lack(now - TimeDelta::days(1)), "it was deleted as gone");
    }
}
