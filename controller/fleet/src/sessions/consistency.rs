//! Compares the sessions in this replica's memory with the rows, and looks for what ended sessions have left.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::BoxFuture;
use supalove_core::{
    consistency::{Compared, LiveCheck, RowCheck},
    error::Result,
    ids::NodeId,
    row_check,
};

use super::{Fleet, Session};

/// Rules that the rows of the fleet keep.
pub const ROW_CHECKS: &[RowCheck] = &[
    row_check!(
        "fleet.session_epochs",
        r#"SELECT 'nod_' || replace(n.id::text, '-', '') AS "object!",
               format('epochs of live session, greeted session and newest session in this order: %s', n.session_epoch) AS "expected!",
               format('%s, %s, %s', s.epoch, n.greeted_epoch, n.session_epoch) AS "found!"
           FROM nodes n LEFT JOIN node_sessions s ON s.node_id = n.id
           WHERE s.epoch > n.session_epoch OR n.greeted_epoch > n.session_epoch"#
    ),
    row_check!(
        "fleet.revoked_sessions",
        r#"SELECT 'nod_' || replace(n.id::text, '-', '') AS "object!", 'no session, since the node is revoked' AS "expected!",
               format('session %s', s.epoch) AS "found!"
           FROM nodes n JOIN node_sessions s ON s.node_id = n.id JOIN controllers c ON c.id = s.controller_id
           WHERE n.revoked_at < now() - interval '10 seconds' AND c.seen_at > now() - interval '20 seconds'"#
    ),
    row_check!(
        "fleet.unexplained",
        r#"SELECT 'nod_' || replace(id::text, '-', '') AS "object!", 'a placement for each project on the host' AS "expected!",
               format('none for %s', array_to_string(unexplained, ' ')) AS "found!"
           FROM nodes WHERE unexplained <> '{}'"#
    ),
];

impl Fleet {
    /// The live sessions of this replica.
    pub fn sessions(&self) -> Vec<Session> {
        self.lock().values().cloned().collect()
    }
}

/// The comparison of sessions.
pub struct SessionCheck(pub Fleet);

impl LiveCheck for SessionCheck {
    fn compare(&self) -> BoxFuture<'_, Result<Compared>> {
        Box::pin(self.compare_sessions())
    }
}

impl SessionCheck {
    async fn compare_sessions(&self) -> Result<Compared> {
        let fleet = &self.0;
        let core = fleet.core().for_calls();
        let rows = sqlx::query!(
            "SELECT n.id AS \"node!: NodeId\", n.greeted_epoch AS \"greeted!\", s.epoch AS \"epoch?\", s.controller_id AS \"holder?\"
             FROM nodes n LEFT JOIN node_sessions s ON s.node_id = n.id",
        )
        .fetch_all(&core.db)
        .await?;
        let held: BTreeMap<NodeId, i64> =
            fleet.sessions().into_iter().map(|session| (session.node, session.epoch)).collect();
        let mut compared = Compared::default();
        for row in rows {
            let here = row.holder == Some(core.controller.0);
            let memory = held.get(&row.node);
            if let Some(epoch) = memory {
                compared.note(
                    "fleet.greeted_epoch",
                    row.node,
                    session(Some(*epoch)),
                    session(Some(row.greeted)),
                );
            }
            // A session of another replica is newer than ours: ours is about to end.
            if here || memory.is_some() {
                let stored = row.epoch.filter(|_| here);
                compared.note("fleet.session_row", row.node, session(memory.copied()), session(stored));
            }
        }
        let worked = fleet.0.worked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let expected: BTreeSet<(NodeId, i64)> = held.iter().map(|(node, epoch)| (*node, *epoch)).collect();
        for (node, epoch) in expected.difference(&worked) {
            compared.note("fleet.session_work", node, format!("work on session {epoch}"), "none");
        }
        for (node, epoch) in worked.difference(&expected) {
            compared.note(
                "fleet.session_work",
                node,
                "none",
                format!("work on session {epoch}, which has ended"),
            );
        }
        for node in fleet.0.bulk.connected().into_iter().filter(|node| !held.contains_key(node)) {
            compared.note("fleet.bulk_connection", node, "none without a session", "one");
        }
        Ok(compared)
    }
}

fn session(epoch: Option<i64>) -> String {
    epoch.map_or_else(|| "no session".to_owned(), |epoch| format!("session {epoch}"))
}
