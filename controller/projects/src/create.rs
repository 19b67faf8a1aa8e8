//! CreateProject: validate, render, pick a node, write it all in one statement. Nothing slow happens here.

use rand::rngs::SmallRng;
use supalove_failpoints::failpoint;
use supalove_proto::v1::CreateProjectRequest;

use super::{
    Projects,
    endpoints::published,
    placement::{self, NewProject, Outcome},
    secrets::{seal_secrets, seal_spec},
    store,
};
use supalove_core::{
    access::Call,
    audit,
    error::{Error, Result},
    hints::Hint,
    ids::{NodeId, OperationId, OrganizationId, ProjectRef},
    requests,
    wire::display_text,
};
use supalove_fleet::clusters::{self, ClusterKind, Target};
use supalove_organizations::OrganizationKey;
use supalove_scheduler::{Policy, Resources};
use supalove_stack::{ProjectInput, ProjectSecrets, ProjectSettings, Release};

/// Nodes tried before the project is written as pending. The view is read anew before the last try.
const TRIES: usize = 4;

/// What a create made, now or at the first call with the same request id.
pub struct Created {
    /// The project.
    pub project: ProjectRef,
    /// The operation.
    pub operation: OperationId,
}

impl Projects {
    /// Makes a project: all of CreateProject but the door before it and the answer after it.
    pub async fn create(
        &self,
        call: &Call,
        grant: &OrganizationKey,
        body: &CreateProjectRequest,
    ) -> Result<Created> {
        let request = requests::Request::from_call(call, &body.request_id, body)?;
        if let Some(answered) = requests::replayed(&self.db, request.as_ref()).await? {
            let operation =
                answered.operation.ok_or_else(|| Error::internal("a create without an operation"))?;
            return Ok(Created { project: answered.resource.parse().map_err(Error::internal)?, operation });
        }
        let name = display_text("name", &body.name)?;
        let release = self.release(&body.release)?;
        let cluster = clusters::store::target(&self.db, &body.cluster).await?;
        let project = ProjectRef::generate();
        let secrets = ProjectSecrets::generate(project.as_str()).map_err(Error::internal)?;
        let settings = ProjectSettings::default();
        let input = ProjectInput {
            project_ref: project.as_str(),
            project_name: &name,
            secrets: &secrets,
            settings: &settings,
        };
        let spec = supalove_stack::render(release, &input).map_err(Error::internal)?;
        let needs = needs(release)?;
        let new = NewProject {
            project: &project,
            organization: grant.id,
            cluster: &cluster,
            name: &name,
            release: release.name(),
            needs,
            operation: OperationId::generate(),
            by: call.principal()?.user,
            secrets: &seal_secrets(&self.vault, &project, &secrets)?,
            spec: &seal_spec(&self.vault, &project, 1, &spec)?,
            endpoints: &published(&spec),
            request: request.as_ref(),
            entry: &audit::Entry::from_call(call, project.as_str()),
        };
        failpoint!("controller.create.decided", project.as_str());
        let node = match self.place(&new).await {
            Err(taken @ Error::AlreadyExists { .. }) => {
                return Err(self.name_taken(grant.id, &name, taken).await?);
            }
            placed => placed?,
        };
        failpoint!("controller.create.committed", project.as_str());
        self.hints.wake(Hint::Project(project.clone()));
        match node {
            Some(node) => self.hints.wake(Hint::Node(node)),
            None => self.hints.wake(Hint::Capacity),
        }
        let operation = new.operation;
        Ok(Created { project, operation })
    }

    /// Why a name is taken: by a deleted project perhaps, which no list shows unless asked.
    async fn name_taken(&self, organization: OrganizationId, name: &str, taken: Error) -> Result<Error> {
        let holder = store::deleted_holder(&self.db, organization, name).await?;
        Ok(holder.map_or(taken, |(project, until)| Error::NameHeld {
            name: name.to_owned(),
            project: project.to_string(),
            until: until.map(|at| at.format("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default(),
        }))
    }

    fn release(&self, name: &str) -> Result<&Release> {
        let name = if name.is_empty() { self.default_release.as_str() } else { name };
        self.releases.get(name).ok_or_else(|| {
            Error::field(
                "release",
                format!(
                    "{name:?} is not known; known are {}",
                    self.releases.names().collect::<Vec<_>>().join(", ")
                ),
            )
        })
    }

    /// Tries the best nodes, then writes the project as pending.
    async fn place(&self, new: &NewProject<'_>) -> Result<Option<NodeId>> {
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
            match self.insert(new, Some(node), "").await? {
                Outcome::Done => {
                    self.candidates.reserve(new.cluster.id, node, new.needs, new.organization).await;
                    return Ok(Some(node));
                }
                Outcome::NodeRefused => tracing::debug!(%node, "the node is full; trying another"),
                Outcome::QuotaExceeded => return Err(quota()),
            }
        }
        let reason = self
            .candidates
            .of(new.cluster.id, |view| supalove_scheduler::explain(view.candidates(), new.needs))
            .await;
        match self.insert(new, None, &reason).await? {
            Outcome::Done => Ok(None),
            Outcome::NodeRefused => Err(Error::internal("a pending project asked for a node")),
            Outcome::QuotaExceeded => Err(quota()),
        }
    }

    async fn insert(&self, new: &NewProject<'_>, node: Option<NodeId>, reason: &str) -> Result<Outcome> {
        placement::insert_project(&self.db, new, node, reason, self.times.silent_after, self.times.create)
            .await
    }

    /// The scheduler's choice from the view in memory.
    pub(super) async fn pick(
        &self,
        cluster: &Target,
        needs: Resources,
        organization: OrganizationId,
    ) -> Option<NodeId> {
        let mut rng: SmallRng = rand::make_rng();
        self.candidates
            .of(cluster.id, |view| {
                supalove_scheduler::pick(view, needs, organization, policy(cluster.kind), &mut rng)
            })
            .await
    }
}

/// How the scheduler fills a cluster.
fn policy(kind: ClusterKind) -> Policy {
    match kind {
        ClusterKind::Shared => Policy::BestFit,
        ClusterKind::Private => Policy::Spread,
    }
}

fn needs(release: &Release) -> Result<Resources> {
    let sum = release.resources();
    Ok(Resources {
        cpu_millis: i32::try_from(sum.cpu_millis).map_err(Error::internal)?,
        memory_mib: i32::try_from(sum.memory_mib).map_err(Error::internal)?,
        disk_mib: i64::from(sum.disk_mib),
    })
}

fn quota() -> Error {
    Error::Quota {
        subject: "organization:projects".to_owned(),
        message:
            "the organization has all the projects it may have; delete one, or ask the operator for more"
                .to_owned(),
    }
}
