//! CreateProject: validates, renders, picks a node and writes everything in one statement. Slow work comes later.

use supalove_failpoints::failpoint;
use supalove_proto::v1::CreateProjectRequest;

use crate::{
    acts::Acts,
    content::given,
    endpoints::{ServiceEndpoint, published},
    placer::{NewProject, Place, Written},
    store::{
        certificates::Certificate,
        operations::{self, Operation},
        projects::{self, Endpoint, Project},
        secrets::{seal_secrets, seal_spec},
    },
    types::{OperationKind, OperationState, ProjectState},
};
use supalove_core::{
    access::Call,
    error::{Error, Result},
    hints::Hint,
    ids::{OperationId, OrganizationId, ProjectRef},
    mutation::Mutation,
    wire::display_text,
};
use supalove_fleet::clusters::{self, Target};
use supalove_organizations::OrganizationKey;
use supalove_scheduler::Resources;
use supalove_stack::{ProjectInput, ProjectSecrets, ProjectSettings, Release, Size};

/// Host of a port that only programs on the node reach. The placing statement has the same literal.
const LOOPBACK: &str = "127.0.0.1";

/// Result of a create, or of the first call with the same request id.
pub struct Created {
    pub project: Project,
    pub operation: Operation,
}

impl Acts {
    /// CreateProject without authorization and response encoding.
    pub async fn create(
        &self,
        call: &Call,
        grant: &OrganizationKey,
        body: &CreateProjectRequest,
    ) -> Result<Created> {
        let mut mutation = self.core.mutation(call).once_in_one_statement(call, &body.request_id, body)?;
        let refused = match self.create_now(&mut mutation, call, grant, body).await {
            Err(refused) => refused,
            created => return created,
        };
        // A repeated call returns the first result, whatever made this attempt fail.
        let Some(done) = mutation.made_before().await? else { return Err(refused) };
        let operation = done.operation.ok_or_else(|| Error::internal("a create without an operation"))?;
        let project = done.resource.parse().map_err(Error::internal)?;
        Ok(Created {
            project: projects::get(&self.core.db, &project).await?,
            operation: operations::get(&self.core.db, operation).await?,
        })
    }

    async fn create_now(
        &self,
        mutation: &mut Mutation,
        call: &Call,
        grant: &OrganizationKey,
        body: &CreateProjectRequest,
    ) -> Result<Created> {
        let name = display_text("name", &body.name)?;
        let release = self.release(&body.release)?;
        let cluster = self.cluster(&body.cluster, grant.id).await?;
        let project = ProjectRef::generate();
        let secrets = ProjectSecrets::generate(project.as_str()).map_err(Error::internal)?;
        let size = supalove_plans::find_size(&self.core.db, grant.id, &body.size).await?;
        let settings = ProjectSettings { size: given(&size), ..ProjectSettings::default() };
        let input = ProjectInput {
            project_ref: project.as_str(),
            project_name: &name,
            secrets: &secrets,
            settings: &settings,
        };
        let spec = supalove_stack::render(release, &input).map_err(Error::internal)?;
        let needs = needs(release, &settings.size)?;
        let certificate =
            release.has_database_tls().then(|| Certificate::from_secrets(&secrets)).transpose()?;
        let new = NewProject {
            project: &project,
            organization: grant.id,
            cluster: &cluster,
            name: &name,
            release: release.name(),
            needs,
            size: &size,
            operation: OperationId::generate(),
            by: call.principal()?.user,
            secrets: &seal_secrets(&self.core.vault, &project, &secrets)?,
            spec: &seal_spec(&self.core.vault, &project, 1, &spec)?,
            endpoints: &published(&spec),
            certificate: certificate.as_ref(),
        };
        failpoint!("controller.create.decided", project.as_str());
        let written = match self.placer.place(&mutation.in_one_statement(project.as_str()), &new).await {
            Err(taken @ Error::AlreadyExists { .. }) => {
                return Err(self.name_taken(grant.id, &name, taken).await?);
            }
            written => written?,
        };
        failpoint!("controller.create.committed", project.as_str());
        self.core.hints.wake(Hint::Project(project.clone()));
        self.core.hints.wake(Hint::Organization(grant.id));
        self.core.hints.wake(written.place.as_ref().map_or(Hint::Capacity, |place| Hint::Node(place.node)));
        Ok(created(&new, &grant.slug, written))
    }

    /// The default cluster is shared, so it is the same for all organizations.
    pub(super) async fn cluster(&self, named: &str, organization: OrganizationId) -> Result<Target> {
        let look_up = || clusters::store::target(&self.core.db, named, organization);
        if named.is_empty() {
            self.default_cluster.get_or_try_init(look_up).await.copied()
        } else {
            look_up().await
        }
    }

    /// Returns a better error if a deleted project holds the name, because lists do not show it by default.
    async fn name_taken(&self, organization: OrganizationId, name: &str, taken: Error) -> Result<Error> {
        let holder = projects::deleted_holder(&self.core.db, organization, name).await?;
        Ok(holder.map_or(taken, |(project, until)| Error::NameHeld {
            name: name.to_owned(),
            project: project.to_string(),
            until: until.map(|at| at.format("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default(),
        }))
    }

    pub(super) fn release(&self, name: &str) -> Result<&Release> {
        let name = if name.is_empty() { &*self.default_release } else { name };
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
}

/// Builds the result from the written values, without reading the rows again.
fn created(new: &NewProject<'_>, organization: &str, written: Written) -> Created {
    let Written { at, deadline, place, pending_reason } = written;
    let project = Project {
        project: new.project.clone(),
        name: new.name.to_owned(),
        organization: organization.to_owned(),
        state: ProjectState::ComingUp,
        state_reason: pending_reason.clone(),
        release: new.release.to_owned(),
        cluster: new.cluster.id,
        node: place.as_ref().map(|place| place.node),
        node_name: place.as_ref().map(|place| place.node_name.clone()),
        generation: 1,
        services: Vec::new(),
        endpoints: place.as_ref().map(|place| addresses(new.endpoints, place)).unwrap_or_default(),
        created_at: at,
        deleted_at: None,
        purge_at: None,
        revision: 1,
        event_seq: 2,
        size: new.size.clone(),
        restriction: None,
    };
    let operation = Operation {
        id: new.operation,
        project: new.project.clone(),
        kind: OperationKind::Create,
        state: if place.is_some() { OperationState::Running } else { OperationState::Pending },
        status_message: if place.is_some() { "placed".to_owned() } else { pending_reason },
        error: None,
        created_at: at,
        deadline,
        ended_at: None,
    };
    Created { project, operation }
}

/// Returns the addresses at a place, in the order of the read query.
fn addresses(published: &[ServiceEndpoint], place: &Place) -> Vec<Endpoint> {
    let address = |endpoint: &ServiceEndpoint| Endpoint {
        service: endpoint.service.clone(),
        scheme: endpoint.scheme.to_owned(),
        host: if endpoint.loopback { LOOPBACK.to_owned() } else { place.host.clone() },
        port: place.first_port + endpoint.port_offset,
        kind: "node_port".to_owned(),
    };
    let mut all: Vec<_> = published.iter().map(address).collect();
    all.sort_by(|one, other| one.service.cmp(&other.service));
    all
}

/// What a project of a release reserves, with what its size gives its database.
pub(super) fn needs(release: &Release, size: &Size) -> Result<Resources> {
    let sum = release.resources(size);
    Ok(Resources {
        cpu_millis: i32::try_from(sum.cpu_millis).map_err(Error::internal)?,
        memory_mib: i32::try_from(sum.memory_mib).map_err(Error::internal)?,
        disk_mib: i64::from(sum.disk_mib),
    })
}
