//! What happens by itself: operations past their deadline fail, undo windows close, silent nodes' projects become
//! UNKNOWN, deleted ones of revoked nodes end, old request keys are forgotten, audit rows are chained. One replica at a
//! time, by lease.

use std::time::Duration;

use supalove_failpoints::failpoint;
use supalove_proto::v1::ErrorReason;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Projects,
    changes::Change,
    events::NewEvent,
    lifecycle, observe,
    operations::Failure,
    snapshot::Snapshot,
    types::{Desired, EventType, OperationKind, OperationState, ProjectState},
    verdict::{NodeRecord, Verdict},
};
use crate::{
    audit,
    error::{Error, Result, chain},
    ids::{NodeId, OperationId, ProjectRef},
    leases::{self, Held},
    requests,
};

const LEASE: &str = "janitor";
const BATCH: i64 = 100;

/// An operation whose time is up.
struct Expired {
    id: OperationId,
    project: ProjectRef,
    kind: OperationKind,
    state: OperationState,
    status: String,
    trouble: Option<Failure>,
}

impl Projects {
    /// Runs until `stop`.
    pub async fn tidy(&self, stop: CancellationToken) {
        // Since when nodes can have been heard: the start, or the database's return.
        let mut listening = Instant::now();
        let mut tick = tokio::time::interval(self.times.poll);
        let mut renew = Instant::now();
        let mut held: Option<Held> = None;
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            if held.is_none() || Instant::now() >= renew {
                held =
                    leases::take(&self.db, LEASE, self.controller, &self.times).await.unwrap_or_else(|_| {
                        listening = Instant::now();
                        None
                    });
                renew = Instant::now() + self.times.lease_renew;
            }
            let Some(lease) = &held else { continue };
            if let Err(error) = self.tidy_once(lease, listening.elapsed()).await {
                if matches!(error, Error::Unavailable { .. }) {
                    listening = Instant::now();
                }
                tracing::warn!(error = chain(&error), "tidying up failed; trying again");
            }
        }
    }

    /// Every decision here is guarded by what it was made on, so a second janitor does no harm; the lease saves work.
    /// The audit chain alone must have one writer, and guards itself. One part that fails does not stop the others.
    async fn tidy_once(&self, lease: &Held, up: Duration) -> Result<()> {
        let parts = [
            self.fail_expired().await,
            self.close_undo_windows().await,
            self.mark_silent(up).await,
            self.abandon_revoked().await,
            self.prune().await,
            audit::seal(&self.db, lease).await.map(|_| ()).map_err(Error::from),
        ];
        parts.into_iter().collect()
    }

    /// Rows that nobody asks for any more.
    async fn prune(&self) -> Result<()> {
        requests::forget(&self.db, self.times.idempotency.as_secs_f64()).await?;
        sqlx::query!(
            "DELETE FROM user_sessions WHERE greatest(expires_at, ended_at) < now() - interval '30 days'"
        )
        .execute(&self.db)
        .await?;
        sqlx::query!("DELETE FROM used_recovery_nonces WHERE expires_at < now() - interval '1 day'")
            .execute(&self.db)
            .await?;
        sqlx::query!("DELETE FROM controllers WHERE seen_at < now() - interval '1 day'")
            .execute(&self.db)
            .await?;
        Ok(())
    }

    async fn fail_expired(&self) -> Result<()> {
        for expired in self.expired().await? {
            let failure = expired.failure();
            tracing::warn!(operation = %expired.id, project = %expired.project, reason = failure.reason, "an operation's time is up");
            failpoint!("controller.janitor.expired", expired.project.as_str());
            let done = self.decide(&expired.project, |found| expire(found, &expired, &failure)).await;
            log_failure(&expired.project, done);
        }
        Ok(())
    }

    async fn expired(&self) -> Result<Vec<Expired>> {
        let rows = sqlx::query!(
            "SELECT id, project_ref, kind, state, status_message, error_reason, error_message, error_service, error_log
             FROM operations WHERE (state = 'RUNNING' AND deadline < now())
                 OR (state = 'PENDING' AND created_at < now() - make_interval(secs => $1)) LIMIT $2",
            self.times.pending.as_secs_f64(),
            BATCH,
        )
        .fetch_all(&self.db)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Expired {
                    id: OperationId(row.id),
                    project: row.project_ref.parse().map_err(Error::internal)?,
                    kind: OperationKind::from_sql(&row.kind)?,
                    state: OperationState::from_sql(&row.state)?,
                    status: row.status_message,
                    trouble: row.error_reason.map(|reason| Failure {
                        reason,
                        message: row.error_message.unwrap_or_default(),
                        service: row.error_service.unwrap_or_default(),
                        log_tail: row.error_log.unwrap_or_default(),
                    }),
                })
            })
            .collect()
    }

    async fn close_undo_windows(&self) -> Result<()> {
        for (project, node) in lifecycle::purge_due(&self.db).await? {
            failpoint!("controller.janitor.purged", project.as_str());
            tracing::info!(%project, "the undo window is over");
            self.changes.wake(Change::Project(project));
            if let Some(node) = node {
                self.changes.wake(Change::Node(NodeId(node)));
            }
        }
        Ok(())
    }

    /// Deleted projects on revoked nodes. Nobody will ever report that they are gone.
    async fn abandon_revoked(&self) -> Result<()> {
        let rows = sqlx::query!(
            "SELECT p.ref, n.id, n.name FROM nodes n JOIN placements l ON l.node_id = n.id JOIN projects p ON p.ref = l.project_ref
             WHERE n.revoked_at IS NOT NULL AND p.desired = 'REMOVED' AND p.removed_at IS NULL LIMIT $1",
            BATCH,
        )
        .fetch_all(&self.db)
        .await?;
        for row in rows {
            let project: ProjectRef = row.r#ref.parse().map_err(Error::internal)?;
            tracing::warn!(%project, node = row.name, "a deleted project is given up on a revoked node");
            let done = self.decide(&project, |found| abandoned(found, NodeId(row.id), &row.name)).await;
            log_failure(&project, done);
        }
        Ok(())
    }

    /// Projects of silent nodes, and of lost ones. After a start, and after the database was away, everyone gets a full
    /// window. Nothing but the state changes: the containers may well be running, and data does not move by itself.
    async fn mark_silent(&self, up: Duration) -> Result<()> {
        let times = &self.times;
        if up < times.silent_after {
            return Ok(());
        }
        let lost_after =
            |lost: Duration| if up < times.lost_after { Duration::MAX } else { lost.max(times.lost_after) };
        let rows = sqlx::query!(
            "WITH silent AS (SELECT l.project_ref, p.state, n.name,
                 to_char(n.seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS since,
                 extract(epoch FROM now() - n.seen_at) >= CASE c.kind WHEN 'PRIVATE' THEN $2::float8 ELSE $3 END AS lost
             FROM nodes n JOIN clusters c ON c.id = n.cluster_id JOIN placements l ON l.node_id = n.id
             JOIN projects p ON p.ref = l.project_ref
             WHERE p.state IN ('ACTIVE_HEALTHY', 'ACTIVE_UNHEALTHY')
                 AND n.seen_at < now() - make_interval(secs => $1))
             SELECT project_ref, name, since, lost AS \"lost!\" FROM silent WHERE lost OR state = 'ACTIVE_HEALTHY' LIMIT $4",
            times.silent_after.as_secs_f64(),
            lost_after(times.lost_after_private).as_secs_f64(),
            lost_after(times.lost_after).as_secs_f64(),
            BATCH,
        )
        .fetch_all(&self.db)
        .await?;
        for row in rows {
            let project: ProjectRef = row.project_ref.parse().map_err(Error::internal)?;
            let reason =
                format!("node {} has been silent since {} UTC", row.name, row.since.unwrap_or_default());
            let (state, least) = if row.lost {
                (ProjectState::Unknown, times.lost_after)
            } else {
                (ProjectState::ActiveUnhealthy, times.silent_after)
            };
            let done = self.decide(&project, |found| silent(found, least, state, &reason)).await;
            log_failure(&project, done);
        }
        Ok(())
    }
}

/// The remains on the host are nobody's any more: the project's end does not wait for a node that never comes back.
fn abandoned(found: &Snapshot, node: NodeId, name: &str) -> Verdict {
    let there = found.placement.is_some_and(|placement| placement.node == node);
    if found.desired != Desired::Removed || !there {
        return Verdict::default();
    }
    let message = format!(
        "node {name} was revoked: containers and volumes of the project stay on that host and have to be removed there"
    );
    Verdict { events: vec![NewEvent::new(EventType::ProjectAbandoned, message)], ..observe::removed(found) }
}

/// The project may have gone another way since it was listed, and its node may have been heard again.
fn silent(found: &Snapshot, least: Duration, state: ProjectState, reason: &str) -> Verdict {
    let up = matches!(found.state, ProjectState::ActiveHealthy | ProjectState::ActiveUnhealthy);
    if !up || found.node_silence < least {
        return Verdict::default();
    }
    Verdict { state: Some((state, reason.to_owned())), ..Verdict::default() }
}

fn log_failure(project: &ProjectRef, done: Result<()>) {
    if let Err(error) = done {
        tracing::warn!(%project, error = chain(&error), "tidying up a project failed; trying again");
    }
}

impl Expired {
    /// The last trouble if there was any, else that it took too long.
    fn failure(&self) -> Failure {
        if self.state == OperationState::Pending {
            return Failure::new(
                ErrorReason::NoRoom,
                format!("no room on a node within the time: {}", self.status),
            );
        }
        match &self.trouble {
            Some(trouble) => {
                Failure { message: format!("not done in time: {}", trouble.message), ..trouble.clone() }
            }
            None => Failure::new(
                ErrorReason::DeadlineExceeded,
                format!("not done in time; last: {}", self.status),
            ),
        }
    }
}

fn expire(found: &Snapshot, expired: &Expired, failure: &Failure) -> Verdict {
    if found.operation.as_ref().is_none_or(|open| open.id != expired.id || open.state != expired.state) {
        return Verdict::default();
    }
    Verdict {
        node: (expired.kind == OperationKind::Create && found.placement.is_some())
            .then_some(NodeRecord::Failed),
        ..Verdict::failed(expired.id, expired.kind, failure.clone())
    }
}
