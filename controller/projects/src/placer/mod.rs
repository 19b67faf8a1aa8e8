//! Places projects: new ones, and pending ones oldest first, at each hint and at every poll.

mod candidates;
mod placement;

use rand::rngs::SmallRng;
use supalove_failpoints::failpoint;

pub use candidates::Candidates;
pub use placement::{Adopted, NewProject, Place, Written, insert_adopted};

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
use supalove_fleet::clusters::{self, Target};
use supalove_scheduler::{Names, Obstacle, Resources};

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

/// Why a project waits that a node has already.
const LEFT_OVER: &str = "a node of the cluster has the project already, as a leftover, and no placement says so: whoever manages the node \
    adopts it there (`supalove nodes leftovers`, `nodes adopt`), or delete the project";

/// Where a project would be placed, or why on no node.
#[derive(Debug)]
pub struct Explanation {
    /// The node that was chosen.
    pub node: Option<(NodeId, String)>,
    /// Nodes that were considered, and how many of them fit.
    pub nodes: usize,
    pub fits: usize,
    /// Why the others do not.
    pub obstacles: Vec<Obstacle>,
    /// What would make room.
    pub remedies: Vec<String>,
    /// All of it, for people.
    pub message: String,
    /// Whether the caller may know the names of nodes.
    pub names: Names,
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
                Outcome::SizeRefused => return Err(self.size_refused(new).await),
            }
        }
        let reason = self
            .candidates
            .with_view(new.cluster.id, |cluster, view| {
                supalove_scheduler::explain(view.candidates(), new.needs, cluster.names)
            })
            .await;
        match self.insert(one, new, None, &reason).await? {
            Outcome::Done(written) => Ok(written),
            Outcome::NodeRefused => Err(Error::internal("a pending project asked for a node")),
            Outcome::QuotaExceeded => Err(self.quota_exceeded(new).await),
            Outcome::SizeRefused => Err(self.size_refused(new).await),
        }
    }

    async fn quota_exceeded(&self, new: &NewProject<'_>) -> Error {
        supalove_plans::projects_exceeded(&self.core.db, new.organization).await
    }

    async fn size_refused(&self, new: &NewProject<'_>) -> Error {
        supalove_plans::size_refused(&self.core.db, new.organization, &new.size.name).await
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
            .with_view(cluster.id, |cluster, view| {
                supalove_scheduler::pick(view, needs, organization, cluster.policy, &mut rng)
            })
            .await
    }

    /// Answers where a project would be placed now, or why on no node. `operator`: names the nodes of shared clusters, too.
    pub async fn explain(
        &self,
        cluster: &Target,
        needs: Resources,
        organization: OrganizationId,
        operator: bool,
    ) -> Result<Explanation> {
        self.candidates.refresh().await?;
        let picked = self.pick(cluster, needs, organization).await;
        let explained = self.candidates.with_view(cluster.id, |settings, view| {
            let names = if operator { Names::Shown } else { settings.names };
            let candidates = view.candidates();
            let (fits, obstacles) = supalove_scheduler::obstacles(candidates, needs);
            let node = picked.and_then(|id| candidates.iter().find(|one| one.node == id));
            Explanation {
                node: node.map(|one| (one.node, one.name.clone())),
                nodes: candidates.len(),
                fits,
                obstacles,
                remedies: supalove_scheduler::remedies(candidates, needs, names),
                message: supalove_scheduler::explain(candidates, needs, names),
                names,
            }
        });
        Ok(explained.await)
    }

    async fn place_all(&self) -> Result<()> {
        self.candidates.refresh().await?;
        let mut failed = FirstFailure::default();
        for one in pending(&self.core.db).await? {
            failed.note(&one.project, self.find_room(&one).await);
        }
        failed.result()
    }

    async fn find_room(&self, pending: &Pending) -> Result<()> {
        let mut connection = self.core.db.acquire().await?;
        let Some(found) = snapshot::read(&mut connection, &pending.project).await? else { return Ok(()) };
        drop(connection);
        match found.placement {
            // Elsewhere it would begin without its data.
            None if pending.is_left_over => self.still_waiting(&found, LEFT_OVER.to_owned()).await,
            None => self.place_one(&found, pending.operation).await,
            Some(_) => self.bring_back(&found, pending.operation).await,
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
                .with_view(cluster.id, |cluster, view| {
                    supalove_scheduler::explain(view.candidates(), project.needs, cluster.names)
                })
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

/// An operation that waits for room.
struct Pending {
    operation: OperationId,
    project: ProjectRef,
    /// A node of the project's cluster has the project as a leftover, with a record of it.
    is_left_over: bool,
}

async fn pending(db: &Db) -> Result<Vec<Pending>> {
    let pending = sqlx::query_as!(
        Pending,
        "SELECT id AS \"operation: OperationId\", project_ref AS \"project: ProjectRef\", EXISTS (
             SELECT FROM node_leftovers k JOIN nodes n ON n.id = k.node_id JOIN projects p ON p.ref = k.project_ref
             WHERE k.project_ref = operations.project_ref AND k.generation > 0 AND k.delete_requested_at IS NULL
                 AND n.cluster_id = p.cluster_id AND n.revoked_at IS NULL) AS \"is_left_over!\"
         FROM operations WHERE state = 'PENDING' ORDER BY created_at LIMIT $1",
        BATCH
    );
    Ok(pending.fetch_all(db).await?)
}
