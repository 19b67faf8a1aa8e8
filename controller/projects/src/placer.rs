//! Finds room for what waits for it: oldest first, at a wake-up and at every poll.

use sqlx::PgPool;
use supalove_failpoints::failpoint;

use super::{
    Projects,
    endpoints::published,
    events::{self, NewEvent},
    lifecycle::take_compute,
    operations,
    placement::{self, Outcome, Waiting},
    secrets,
    snapshot::{self, Snapshot},
    types::{EventType, OperationState},
    verdict::Verdict,
};
use supalove_core::{
    error::{Error, Result, chain},
    hints::Hint,
    ids::{OperationId, ProjectRef},
    jobs::{Job, Rhythm::Woken},
};
use supalove_fleet::clusters;

/// Looked at in one round.
const BATCH: i64 = 5000;

impl Projects {
    /// Looks for room for what waits. Every replica may: the statements decide who was first.
    pub(super) fn placer(&self) -> Job {
        let projects = self.clone();
        Job::on_each("projects.place_pending", Woken(Hint::Capacity, self.times.hinted_poll), move |_| {
            let projects = projects.clone();
            async move { projects.place_all().await }
        })
    }

    async fn place_all(&self) -> Result<()> {
        self.candidates.refresh().await?;
        for (operation, project) in pending(&self.db).await? {
            if let Err(error) = self.find_room(&project, operation).await {
                tracing::warn!(%project, error = chain(&error), "a pending project was not placed");
            }
        }
        Ok(())
    }

    async fn find_room(&self, project: &ProjectRef, operation: OperationId) -> Result<()> {
        let mut connection = self.db.acquire().await?;
        let Some(found) = snapshot::read(&mut connection, project).await? else { return Ok(()) };
        drop(connection);
        match found.placement {
            None => self.place_one(&found, operation).await,
            Some(_) => self.bring_back(&found, operation).await,
        }
    }

    /// A project without a node.
    async fn place_one(&self, project: &Snapshot, operation: OperationId) -> Result<()> {
        let cluster = clusters::store::target(&self.db, &project.cluster.to_string()).await?;
        let Some(node) = self.pick(&cluster, project.needs, project.organization).await else {
            let reason = self
                .candidates
                .of(cluster.id, |view| supalove_scheduler::explain(view.candidates(), project.needs))
                .await;
            return self.still_waiting(project, reason).await;
        };
        let (generation, sealed) =
            secrets::newest_spec(&self.db, &project.project, project.generation).await?;
        let spec = secrets::open_spec(&self.vault, &project.project, generation, &sealed)?;
        let endpoints = published(&spec);
        let waiting =
            Waiting { project: &project.project, operation, needs: project.needs, endpoints: &endpoints };
        let (silent, time) = (self.times.silent_after, self.times.create);
        let outcome = placement::place_pending(&self.db, &waiting, node, silent, time).await?;
        if matches!(outcome, Outcome::Done) {
            failpoint!("controller.place.committed", project.project.as_str());
            self.candidates.reserve(cluster.id, node, project.needs, project.organization).await;
            self.hints.wake(Hint::Node(node));
            self.hints.wake(Hint::Project(project.project.clone()));
        }
        Ok(())
    }

    /// A stopped project that waits for cpu and memory on its own node.
    async fn bring_back(&self, project: &Snapshot, operation: OperationId) -> Result<()> {
        let Some(open) = project.operation.as_ref().filter(|o| o.id == operation) else {
            return Ok(());
        };
        let mut tx = self.db.begin().await?;
        if !take_compute(&mut tx, project, self.times.silent_after).await? {
            return Ok(());
        }
        let guarded = sqlx::query!(
            "UPDATE projects SET state_reason = '', generation = generation + 1, revision = revision + 1
             WHERE ref = $1 AND revision = $2",
            project.project.as_str(),
            project.revision,
        )
        .execute(&mut *tx)
        .await?;
        if guarded.rows_affected() == 0 {
            return Ok(());
        }
        operations::begin(&mut tx, operation, open.kind.time(&self.times), project.generation + 1).await?;
        events::append(
            &mut tx,
            &project.project,
            &NewEvent::new(EventType::ProjectPlaced, "room was found"),
            Some(operation),
        )
        .await?;
        failpoint!("controller.start.room_found", project.project.as_str());
        tx.commit().await?;
        failpoint!("controller.start.room_committed", project.project.as_str());
        if let Some(placement) = project.placement {
            self.hints.wake(Hint::Node(placement.node));
        }
        self.hints.wake(Hint::Project(project.project.clone()));
        Ok(())
    }

    async fn still_waiting(&self, project: &Snapshot, reason: String) -> Result<()> {
        if project.state_reason == reason {
            return Ok(());
        }
        self.decide(&project.project, |found| {
            let waits = found.operation.as_ref().is_some_and(|o| o.state == OperationState::Pending);
            if !waits || found.placement.is_some() {
                return Verdict::default();
            }
            Verdict {
                state: Some((found.state, reason.clone())),
                status: Some(reason.clone()),
                events: vec![NewEvent::new(EventType::ProjectPending, reason.clone())],
                ..Verdict::default()
            }
        })
        .await
    }
}

async fn pending(db: &PgPool) -> Result<Vec<(OperationId, ProjectRef)>> {
    let rows = sqlx::query!(
        "SELECT id, project_ref FROM operations WHERE state = 'PENDING' ORDER BY created_at LIMIT $1",
        BATCH
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|r| Ok((OperationId(r.id), r.project_ref.parse().map_err(Error::internal)?)))
        .collect()
}
