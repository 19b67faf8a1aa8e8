//! CreateProject: validate, render, pick a node, write it all in one statement. Nothing slow happens here.

use supalove_failpoints::failpoint;
use supalove_proto::v1::CreateProjectRequest;

use crate::{
    acts::Acts,
    endpoints::published,
    placer::NewProject,
    store::{
        projects,
        secrets::{seal_secrets, seal_spec},
    },
};
use supalove_core::{
    access::Call,
    error::{Error, Result},
    hints::Hint,
    ids::{OperationId, OrganizationId, ProjectRef},
    wire::display_text,
};
use supalove_fleet::clusters;
use supalove_organizations::OrganizationKey;
use supalove_scheduler::Resources;
use supalove_stack::{ProjectInput, ProjectSecrets, ProjectSettings, Release};

/// What a create made, now or at the first call with the same request id.
pub struct Created {
    /// The project.
    pub project: ProjectRef,
    /// The operation.
    pub operation: OperationId,
}

impl Acts {
    /// CreateProject without authorization and response encoding.
    pub async fn create(
        &self,
        call: &Call,
        grant: &OrganizationKey,
        body: &CreateProjectRequest,
    ) -> Result<Created> {
        let mut mutation = self.core.mutation(call).once(call, &body.request_id, body).await?;
        if let Some(done) = mutation.replayed() {
            let operation = done.operation.ok_or_else(|| Error::internal("a create without an operation"))?;
            return Ok(Created { project: done.resource.parse().map_err(Error::internal)?, operation });
        }
        let name = display_text("name", &body.name)?;
        let release = self.release(&body.release)?;
        let cluster = clusters::store::target(&self.core.db, &body.cluster).await?;
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
            secrets: &seal_secrets(&self.core.vault, &project, &secrets)?,
            spec: &seal_spec(&self.core.vault, &project, 1, &spec)?,
            endpoints: &published(&spec),
        };
        failpoint!("controller.create.decided", project.as_str());
        let node = match self.placer.place(&mutation.in_one_statement(project.as_str()), &new).await {
            Err(taken @ Error::AlreadyExists { .. }) => {
                return Err(self.name_taken(grant.id, &name, taken).await?);
            }
            placed => placed?,
        };
        failpoint!("controller.create.committed", project.as_str());
        self.core.hints.wake(Hint::Project(project.clone()));
        self.core.hints.wake(node.map_or(Hint::Capacity, Hint::Node));
        let operation = new.operation;
        Ok(Created { project, operation })
    }

    /// Why a name is taken: by a deleted project perhaps, which no list shows unless asked.
    async fn name_taken(&self, organization: OrganizationId, name: &str, taken: Error) -> Result<Error> {
        let holder = projects::deleted_holder(&self.core.db, organization, name).await?;
        Ok(holder.map_or(taken, |(project, until)| Error::NameHeld {
            name: name.to_owned(),
            project: project.to_string(),
            until: until.map(|at| at.format("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default(),
        }))
    }

    fn release(&self, name: &str) -> Result<&Release> {
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

fn needs(release: &Release) -> Result<Resources> {
    let sum = release.resources();
    Ok(Resources {
        cpu_millis: i32::try_from(sum.cpu_millis).map_err(Error::internal)?,
        memory_mib: i32::try_from(sum.memory_mib).map_err(Error::internal)?,
        disk_mib: i64::from(sum.disk_mib),
    })
}
