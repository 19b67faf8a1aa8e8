//! Places projects: new ones, and pending ones oldest first, at each hint and at every poll.

mod candidates;
mod placement;

use rand::rngs::SmallRng;
use supalove_failpoints::failpoint;

pub use candidates::Candidates;
pub use placement::{NewProject, Place, Written};

use self::placement::{Outcome, Waiting};
use crate::{
    capacity,
    decide::decide,
    endpoints::published,
    first_failure::FirstFailure,
    store::{
        events::{self, NewEvent},
        operations, secrets,
        snapshot::{self, Snapshot},
    },
    types::{EventType, OperationState},
    verdict::Verdict,
};
use supalove_core::{
    Core, Write,
    database::Db,
    error::{Error, Result},
    hints::Hint,
    ids::{NodeId, OperationId, OrganizationId, ProjectRef},
    jobs::{Job, Rhythm::Woken},
    mutation::OneStatement,
};
use supalove_fleet::clusters::{self, ClusterKind, Target};
use supalove_scheduler::{Policy, Resources};

/// Name of the job, and actor of its writes.
const JOB: &str = "projects.place_pending";
/// Nodes to try before storing the project as pending. The placer reloads the view before the last try.
const TRIES: usize = 4;
/// Maximum number of pending operations of one run.
const BATCH: i64 = 5000;

/// Finds nodes for projects. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Placer {
    core: Core,
    candidates: Candidates,
}

impl Placer {
    /// Creates a placer with an empty view of the fleet; the first placement loads it.
    pub fn new(core: &Core) -> Self {
        Self { candidates: Candidates::new(core.db.clone(), core.times.clone()), core: core.clone() }
    }

    /// Places pending projects. Every replica may run it; the statements prevent double placement.
    pub fn job(&self) -> Job {
        let core = self.core.for_work();
        let placer = Self { candidates: self.candidates.clone(), core };
        Job::on_each(JOB, Woken(Hint::Capacity, self.core.times.hinted_poll), move |_| {
            let placer = placer.clone();
            async move { placer.place_all().await }
        })
    }

    /// Tries the best nodes, then stores the project as pending.
    pub async fn place(&self, one: &OneStatement<'_>, new: &NewProject<'_>) -> Result<Written> {
        for attempt in 1..=TRIES {
            if attempt > 1 {
                self.candidates.refresh().await?;
            }
            let Some(node) = self.pick(new.cluster, new.needs, new.organization).await else {
                if attempt == 1 {
                    continue;
                }
                break;
            };
            match self.insert(one, new, Some(node), "").await? {
                Outcome::Done(written) => {
                    self.candidates.reserve(new.cluster.id, node, new.needs, new.organization).await;
                    return Ok(written);
                }
                Outcome::NodeRefused => {
                    tracing::debug!(%node, "node no longer has the capacity; trying another");
                }
                Outcome::QuotaExceeded => return Err(self.quota_exceeded(new).await),
            }
        }
        let reason = self
            .candidates
            .with_view(new.cluster.id, |view| supalove_scheduler::explain(view.candidates(), new.needs))
            .await;
        match self.insert(one, new, None, &reason).await? {
            Outcome::Done(written) => Ok(written),
            Outcome::NodeRefused => Err(Error::internal("a pending project asked for a node")),
            Outcome::QuotaExceeded => Err(self.quota_exceeded(new).await),
        }
    }

    async fn quota_exceeded(&self, new: &NewProject<'_>) -> Error {
        supalove_plans::projects_exceeded(&self.core.db, new.organization).await
    }

    async fn insert(
        &self,
        one: &OneStatement<'_>,
        new: &NewProject<'_>,
        node: Option<NodeId>,
        reason: &str,
    ) -> Result<Outcome<Written>> {
        let times = &self.core.times;
        placement::insert_project(one, new, node, reason, times.silent_after, times.create).await
    }

    /// Asks the scheduler for a node, with the view in memory.
    async fn pick(&self, cluster: &Target, needs: Resources, organization: OrganizationId) -> Option<NodeId> {
        let mut rng: SmallRng = rand::make_rng();
        self.candidates
            .with_view(cluster.id, |view| {
                supalove_scheduler::pick(view, needs, organization, policy(cluster.kind), &mut rng)
            })
            .await
    }

    async fn place_all(&self) -> Result<()> {
        self.candidates.refresh().await?;
        let mut failed = FirstFailure::default();
        for (operation, project) in pending(&self.core.db).await? {
            failed.note(&project, self.find_room(&project, operation).await);
        }
        failed.result()
    }

    async fn find_room(&self, project: &ProjectRef, operation: OperationId) -> Result<()> {
        let mut connection = self.core.db.acquire().await?;
        let Some(found) = snapshot::read(&mut connection, project).await? else { return Ok(()) };
        drop(connection);
        match found.placement {
            None => self.place_one(&found, operation).await,
            Some(_) => self.bring_back(&found, operation).await,
        }
    }

    /// Places a project without a node.
    async fn place_one(&self, project: &Snapshot, operation: OperationId) -> Result<()> {
        let cluster =
            clusters::store::target(&self.core.db, &project.cluster.to_string(), project.organization)
                .await?;
        let Some(node) = self.pick(&cluster, project.needs, project.organization).await else {
            let reason = self
                .candidates
                .with_view(cluster.id, |view| supalove_scheduler::explain(view.candidates(), project.needs))
                .await;
            return self.still_waiting(project, reason).await;
        };
        let (generation, sealed) =
            secrets::newest_spec(&self.core.db, &project.project, project.generation).await?;
        let spec = secrets::open_spec(&self.core.vault, &project.project, generation, &sealed)?;
        let endpoints = published(&spec);
        let waiting =
            Waiting { project: &project.project, operation, needs: project.needs, endpoints: &endpoints };
        let silent = self.core.times.silent_after;
        let time = self.core.times.create;
        let outcome = placement::place_pending(&self.core.db, &waiting, node, silent, time).await?;
        if matches!(outcome, Outcome::Done(())) {
            failpoint!("controller.place.committed", project.project.as_str());
            self.candidates.reserve(cluster.id, node, project.needs, project.organization).await;
            self.core.hints.wake(Hint::Node(node));
            self.core.hints.wake(Hint::Project(project.project.clone()));
        }
        Ok(())
    }

    /// Starts a stopped project that waits for cpu and memory on its own node.
    async fn bring_back(&self, project: &Snapshot, operation: OperationId) -> Result<()> {
        let Some(open) = project.operation.as_ref().filter(|o| o.id == operation) else {
            return Ok(());
        };
        let mut write = self.core.system_write(JOB);
        if !capacity::reserve_compute(&self.core, &mut write, project).await? {
            return Ok(());
        }
        let guarded = sqlx::query!(
            "UPDATE projects SET state_reason = '', generation = generation + 1, revision = revision + 1
             WHERE ref = $1 AND revision = $2",
            project.project.as_str(),
            project.revision,
        )
        .execute(write.connection().await?)
        .await?;
        if guarded.rows_affected() == 0 {
            return Ok(());
        }
        operations::begin(&mut write, operation, open.kind.time(&self.core.times), project.generation + 1)
            .await?;
        events::append(
            &mut write,
            &project.project,
            &NewEvent::new(EventType::ProjectPlaced, "room was found"),
            Some(operation),
        )
        .await?;
        failpoint!("controller.start.room_found", project.project.as_str());
        write.commit([]).await?;
        failpoint!("controller.start.room_committed", project.project.as_str());
        if let Some(placement) = project.placement {
            self.core.hints.wake(Hint::Node(placement.node));
        }
        self.core.hints.wake(Hint::Project(project.project.clone()));
        Ok(())
    }

    async fn still_waiting(&self, project: &Snapshot, reason: String) -> Result<()> {
        if project.state_reason == reason {
            return Ok(());
        }
        decide(&self.core, JOB, &project.project, |found| {
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

async fn pending(db: &Db) -> Result<Vec<(OperationId, ProjectRef)>> {
    let rows = sqlx::query!(
        "SELECT id AS \"id: OperationId\", project_ref AS \"project: ProjectRef\" FROM operations WHERE state = 'PENDING'
         ORDER BY created_at LIMIT $1",
        BATCH
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.project)).collect())
}

/// Returns the scheduling policy of a cluster.
fn policy(kind: ClusterKind) -> Policy {
    match kind {
        ClusterKind::Shared => Policy::BestFit,
        ClusterKind::Private => Policy::Spread,
    }
}
