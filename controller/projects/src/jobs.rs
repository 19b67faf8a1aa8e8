//! Background jobs: fail operations past their deadline, close undo windows, mark projects of silent nodes as
//! ACTIVE_UNHEALTHY or UNKNOWN, end deleted projects on revoked nodes, and delete what is old. One
//! replica at a time, by lease.

use std::time::Duration;

use supalove_failpoints::failpoint;
use supalove_proto::v1::ErrorReason;

use crate::{
    acts,
    decide::decide,
    first_failure::FirstFailure,
    reconciler::judge,
    retention::{self, Walk},
    store::{events::NewEvent, operations::Failure, snapshot::Snapshot},
    types::{Desired, EventType, OperationKind, OperationState, ProjectState},
    verdict::{NodeRecord, Verdict},
};
use supalove_core::{
    Core,
    error::Result,
    hints::Hint,
    ids::{NodeId, OperationId, ProjectRef},
    jobs::{Job, Rhythm::Every, Run},
    presence,
};

const EXPIRE: &str = "projects.expire_operations";
const PURGE: &str = "projects.close_undo_windows";
const SILENT: &str = "projects.mark_silent";
const ABANDON: &str = "projects.abandon_revoked";
/// Maximum number of projects or operations of one run; the rest follows in the next.
const BATCH: i64 = 100;

/// An operation past its deadline.
struct Expired {
    id: OperationId,
    project: ProjectRef,
    kind: OperationKind,
    state: OperationState,
    status: String,
    trouble: Option<Failure>,
}

/// Runs the room's jobs. Each decision checks that its snapshot is still current, so two replicas that run a job at
/// the same time do no harm; the lease only saves work.
#[derive(Clone)]
pub struct Housekeeper {
    core: Core,
}

impl Housekeeper {
    /// On the control database.
    pub fn new(core: &Core) -> Self {
        Self { core: core.for_work() }
    }

    pub fn jobs(&self) -> Vec<Job> {
        vec![
            self.job(EXPIRE, |keeper, run| async move { keeper.fail_expired(keeper.up(&run).await?).await }),
            self.job(PURGE, |keeper, _| async move { keeper.close_undo_windows().await }),
            self.job(SILENT, |keeper, run| async move { keeper.mark_silent(keeper.up(&run).await?).await }),
            self.job(ABANDON, |keeper, run| async move { keeper.abandon(keeper.up(&run).await?).await }),
            self.prune(),
        ]
    }

    fn prune(&self) -> Job {
        let core = self.core.clone();
        let walk = Walk::default();
        Job::leased("projects.prune", Every(self.core.times.prune), move |_| {
            let (core, walk) = (core.clone(), walk.clone());
            async move { retention::prune(&core, &walk).await }
        })
    }

    fn job<F>(&self, name: &'static str, work: impl Fn(Self, Run) -> F + Send + Sync + 'static) -> Job
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let keeper = self.clone();
        Job::leased(name, Every(self.core.times.poll), move |run| work(keeper.clone(), run))
    }

    /// For how long the control plane has been there: the database has answered this job, and a controller would have heard the
    /// nodes. A replica that stood still for a while has not noticed itself that it was away.
    async fn up(&self, run: &Run) -> Result<Duration> {
        let watched = presence::watched_for(&self.core.db, &self.core.times).await?;
        Ok(run.database_up.min(watched))
    }

    async fn fail_expired(&self, up: Duration) -> Result<()> {
        let mut failed = FirstFailure::default();
        for expired in self.expired(up).await? {
            let failure = expired.failure();
            tracing::warn!(operation = %expired.id, project = %expired.project, reason = failure.reason, "operation missed its deadline: it fails");
            failpoint!("controller.jobs.expired", expired.project.as_str());
            let done =
                decide(&self.core, EXPIRE, &expired.project, |found| expire(found, &expired, &failure)).await;
            failed.note(&expired.project, done);
        }
        failed.result()
    }

    /// Running operations whose time is up, and pending ones that have waited for too long. What ended while the control plane
    /// was away may be done on its node: until nodes that are there have had time to say so, such a deadline does not count.
    async fn expired(&self, up: Duration) -> Result<Vec<Expired>> {
        let since = (up < self.core.times.silent_after).then_some(up.as_secs_f64());
        let rows = sqlx::query!(
            "SELECT id AS \"id: OperationId\", project_ref AS \"project: ProjectRef\", kind AS \"kind: OperationKind\",
                 state AS \"state: OperationState\", status_message, error_reason, error_message, error_service, error_log
             FROM operations WHERE (state = 'RUNNING' AND deadline < now()
                     AND ($3::float8 IS NULL OR deadline > now() - make_interval(secs => $3)))
                 OR (state = 'PENDING' AND created_at < now() - make_interval(secs => $1)) ORDER BY random() LIMIT $2",
            self.core.times.pending.as_secs_f64(),
            BATCH,
            since,
        )
        .fetch_all(&self.core.db)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Expired {
                id: row.id,
                project: row.project,
                kind: row.kind,
                state: row.state,
                status: row.status_message,
                trouble: row.error_reason.map(|reason| Failure {
                    reason,
                    message: row.error_message.unwrap_or_default(),
                    service: row.error_service.unwrap_or_default(),
                    log_tail: row.error_log.unwrap_or_default(),
                }),
            })
            .collect())
    }

    async fn close_undo_windows(&self) -> Result<()> {
        let mut write = self.core.system_write(PURGE);
        let purged = acts::purge_due(&mut write, self.core.times.replica_gone).await?;
        for (project, _) in &purged {
            failpoint!("controller.jobs.purged", project.as_str());
            tracing::info!(%project, "undo window has ended: deleting the project's data");
        }
        let hints = purged.into_iter().flat_map(|(project, node)| {
            [Some(Hint::Project(project)), node.map(Hint::Node)].into_iter().flatten()
        });
        write.commit(hints).await
    }

    /// Ends deleted projects on revoked nodes, whose agents will never report the removal, and on nodes that have been lost for
    /// a day: who deleted a project must not pay for a host that does not come back. If it does, the inventory shows the
    /// project as unexplained, and its slot stays blocked. After a start, and after an outage of the database, every node gets
    /// time to return: it may be the control plane that was away for a day.
    ///
    /// Projects on forgotten nodes end whatever was asked of them: first what is under way fails, then they are marked as removed
    /// (`purge_due`), then they end here.
    async fn abandon(&self, up: Duration) -> Result<()> {
        self.fail_on_forgotten().await?;
        let lost_for_good = self.core.times.lost_for_good;
        let least = if up < self.core.times.nodes_return { Duration::MAX } else { lost_for_good };
        let rows = sqlx::query!(
            "SELECT p.ref AS \"project: ProjectRef\", n.id AS \"node: NodeId\", n.name, n.revoked_at IS NOT NULL AS \"revoked!\" FROM nodes n JOIN placements l ON l.node_id = n.id JOIN projects p ON p.ref = l.project_ref
             WHERE (n.revoked_at IS NOT NULL OR n.seen_at < now() - make_interval(secs => $2))
                 AND p.desired = 'REMOVED' AND p.removed_at IS NULL ORDER BY random() LIMIT $1",
            BATCH,
            lost_for_good.as_secs_f64(),
        )
        .fetch_all(&self.core.db)
        .await?;
        let mut failed = FirstFailure::default();
        for row in rows.into_iter().filter(|row| row.revoked || least < Duration::MAX) {
            let project = row.project;
            let (why, least) = if row.revoked {
                ("was revoked", Duration::ZERO)
            } else {
                ("has been lost for a day", least)
            };
            tracing::warn!(%project, node = row.name, why, "deleted project is on a node that does not come back: its containers and volumes stay on that host");
            let done = decide(&self.core, ABANDON, &project, |found| {
                abandoned(found, row.node, least, &row.name, why)
            })
            .await;
            failed.note(&project, done);
        }
        failed.result()
    }

    /// Ends what is under way in projects on forgotten nodes, but deletes.
    async fn fail_on_forgotten(&self) -> Result<()> {
        let open = sqlx::query_scalar!(
            "SELECT p.ref AS \"project: ProjectRef\" FROM nodes n JOIN placements l ON l.node_id = n.id
                 JOIN projects p ON p.ref = l.project_ref
             WHERE n.forgotten_at IS NOT NULL AND p.desired <> 'REMOVED' AND p.removed_at IS NULL AND EXISTS (
                 SELECT FROM operations o WHERE o.project_ref = p.ref AND o.state IN ('PENDING', 'RUNNING') AND o.kind <> 'DELETE')
             LIMIT $1",
            BATCH,
        )
        .fetch_all(&self.core.db)
        .await?;
        let mut failed = FirstFailure::default();
        for project in open {
            let done = decide(&self.core, ABANDON, &project, |found| match &found.operation {
                Some(open) if open.kind != OperationKind::Delete => Verdict::failed(
                    open.id,
                    open.kind,
                    Failure::new(ErrorReason::NodeRevoked, acts::FORGOTTEN),
                ),
                _ => Verdict::default(),
            });
            failed.note(&project, done.await);
        }
        failed.result()
    }

    /// Changes the state of projects on silent and lost nodes. After an outage of the controllers or the database
    /// every node gets the full time again. Only the state changes: the containers may still run, and nothing moves
    /// the data.
    async fn mark_silent(&self, up: Duration) -> Result<()> {
        let times = &self.core.times;
        if up < times.silent_after {
            return Ok(());
        }
        let [shared, private] = [times.lost_after, times.lost_after_private]
            .map(|lost| if up < lost { Duration::MAX } else { lost }.as_secs_f64());
        self.name_silent_removals(shared, private).await?;
        let rows = sqlx::query!(
            "WITH silent AS (SELECT l.project_ref, p.state, n.name,
                 to_char(n.seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS since,
                 extract(epoch FROM now() - n.seen_at) >= CASE c.kind WHEN 'PRIVATE' THEN $2::float8 ELSE $3 END AS lost
             FROM nodes n JOIN clusters c ON c.id = n.cluster_id JOIN placements l ON l.node_id = n.id
             JOIN projects p ON p.ref = l.project_ref
             WHERE p.state IN ('ACTIVE_HEALTHY', 'ACTIVE_UNHEALTHY')
                 AND n.seen_at < now() - make_interval(secs => $1))
             SELECT project_ref AS \"project: ProjectRef\", name, since, lost AS \"lost!\" FROM silent WHERE lost OR state = 'ACTIVE_HEALTHY' ORDER BY random() LIMIT $4",
            times.silent_after.as_secs_f64(),
            private,
            shared,
            BATCH,
        )
        .fetch_all(&self.core.db)
        .await?;
        let mut failed = FirstFailure::default();
        for row in rows {
            let project = row.project;
            let reason =
                format!("node {} has been silent since {} UTC", row.name, row.since.unwrap_or_default());
            let (state, least) = if row.lost {
                (ProjectState::Unknown, times.lost_after)
            } else {
                (ProjectState::ActiveUnhealthy, times.silent_after)
            };
            let done =
                decide(&self.core, SILENT, &project, |found| silent(found, least, state, &reason)).await;
            failed.note(&project, done);
        }
        failed.result()
    }
}

impl Housekeeper {
    /// A deleted project whose node is lost waits for it; its reason says so, and what ends the wait. In: the silence in seconds
    /// after which nodes of shared and of private clusters are lost.
    async fn name_silent_removals(&self, shared: f64, private: f64) -> Result<()> {
        let rows = sqlx::query!(
            "SELECT p.ref AS \"project: ProjectRef\", n.name FROM projects p
             JOIN placements l ON l.project_ref = p.ref JOIN nodes n ON n.id = l.node_id JOIN clusters c ON c.id = n.cluster_id
             WHERE p.desired = 'REMOVED' AND p.removed_at IS NULL AND n.revoked_at IS NULL
                 AND extract(epoch FROM now() - n.seen_at) >= CASE c.kind WHEN 'PRIVATE' THEN $4::float8 ELSE $1 END
                 AND p.state_reason NOT LIKE $3 ORDER BY random() LIMIT $2",
            shared,
            BATCH,
            format!("%{REMOVAL_WAITS}"),
            private,
        )
        .fetch_all(&self.core.db)
        .await?;
        let mut failed = FirstFailure::default();
        for row in rows {
            let reason = format!("node {} is lost: {REMOVAL_WAITS}", row.name);
            tracing::warn!(project = %row.project, node = row.name, "deleted project is on a lost node: its removal waits");
            let lost_after = self.core.times.lost_after;
            let waits = |found: &Snapshot| {
                let waits = found.desired == Desired::Removed && found.node_silence >= lost_after;
                if waits {
                    Verdict { state: Some((found.state, reason.clone())), ..Verdict::default() }
                } else {
                    Verdict::default()
                }
            };
            failed.note(&row.project, decide(&self.core, SILENT, &row.project, waits).await);
        }
        failed.result()
    }
}

/// End of the reason of a deleted project on a lost node.
const REMOVAL_WAITS: &str = "the removal waits until it is back; after a day, or when an operator revokes the node, the project is removed here and what is left of it stays on that host";

/// Removes the project although its containers and volumes stay on the host, because the node never comes back. Decides again,
/// because the node may have been heard since the query.
fn abandoned(found: &Snapshot, node: NodeId, least: Duration, name: &str, why: &str) -> Verdict {
    let there = found.placement.is_some_and(|placement| placement.node == node);
    if found.desired != Desired::Removed || !there || found.node_silence < least {
        return Verdict::default();
    }
    let message = format!(
        "node {name} {why}: containers and volumes of the project stay on that host; remove them there"
    );
    Verdict {
        events: vec![NewEvent::new(EventType::ProjectAbandoned, message)],
        audit: Some(("/supalove.projects/abandon", "ABANDONED")),
        ..judge::removed(found)
    }
}

/// Decides again, because the project may have changed since the query, or its node may have been heard.
fn silent(found: &Snapshot, least: Duration, state: ProjectState, reason: &str) -> Verdict {
    let up = matches!(found.state, ProjectState::ActiveHealthy | ProjectState::ActiveUnhealthy);
    if !up || found.node_silence < least {
        return Verdict::default();
    }
    Verdict { state: Some((state, reason.to_owned())), ..Verdict::default() }
}

impl Expired {
    /// Returns the last trouble if there was any, else a timeout.
    fn failure(&self) -> Failure {
        if self.state == OperationState::Pending {
            return Failure::new(
                ErrorReason::NoRoom,
                format!("no node had capacity before the deadline: {}", self.status),
            );
        }
        match &self.trouble {
            Some(trouble) => {
                Failure { message: format!("deadline exceeded: {}", trouble.message), ..trouble.clone() }
            }
            None => Failure::new(
                ErrorReason::DeadlineExceeded,
                format!("deadline exceeded; last status: {}", self.status),
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
