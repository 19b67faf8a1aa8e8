//! UpdateProject: a new name, which is no part of the content, and another size. A resize takes the road of an upgrade: while it
//! runs the project holds what either size needs, so that the node is never overcommitted, and a failure returns to the size
//! before with what that reserved.

use supalove_core::{
    Mutation, Write as _,
    access::Call,
    error::{Error, Result},
    hints::Hint,
    ids::{OperationId, ProjectRef},
    wire::{Changes, display_text},
};
use supalove_failpoints::failpoint;
use supalove_plans::{ProjectSize, find_size, take_size};
use supalove_proto::v1::{ErrorReason, UpdateProjectRequest};
use supalove_scheduler::Resources;

use super::{
    Acts,
    change::{Changed, red_and_untouched, waits_for_compute},
    create::needs,
    lifecycle::{TRIES, check_organization, hints, overtake},
    transitions::Act,
};
use crate::{
    capacity,
    content::{Content, given, restarted},
    store::{
        changes::{self, Change},
        events::{self, NewEvent},
        operations::{self, NewOperation},
        projects, secrets,
        snapshot::{self, Snapshot},
    },
    types::{Desired, EventType, OperationKind, ProjectState},
};

/// What a caller asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked<'a> {
    name: Option<String>,
    size: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// Reads the fields that the mask names; without a mask, those that are not empty.
    fn read(body: &'a UpdateProjectRequest) -> Result<Self> {
        let mask = body.update_mask.as_ref();
        let changes = Changes::parse(mask, &["name", "size"])?;
        let is_masked = mask.is_some_and(|mask| !mask.paths.is_empty());
        let asks = |field: &str, value: &str| changes.field(field) && (is_masked || !value.is_empty());
        let name = asks("name", &body.name).then(|| display_text("name", &body.name)).transpose()?;
        let size = asks("size", &body.size).then_some(body.size.as_str());
        if size.is_some_and(str::is_empty) {
            return Err(Error::field("size", "must be the name of a size, e.g. small"));
        }
        if name.is_none() && size.is_none() {
            return Err(Error::field("update_mask", "nothing is to be changed; give a name or a size"));
        }
        Ok(Self { name, size })
    }
}

/// A decided resize.
struct Plan {
    size: ProjectSize,
    /// What the project needs with it.
    needs: Resources,
    spec: Vec<u8>,
    return_spec: Vec<u8>,
    new_secrets: secrets::SealedSecrets,
    release: String,
    restarted: Vec<String>,
}

impl Acts {
    /// UpdateProject without authorization and response encoding. A repeated call returns the operation of the first one.
    pub async fn update(
        &self,
        call: &Call,
        project: &ProjectRef,
        body: &UpdateProjectRequest,
    ) -> Result<Changed> {
        let asked = Asked::read(body)?;
        let mut mutation = self.core.mutation(call).once(call, &body.request_id, body).await?;
        if let Some(done) = mutation.replayed() {
            return Ok(Changed { operation: done.operation, restarted: Vec::new() });
        }
        for _ in 0..TRIES {
            let found = snapshot::expect(mutation.connection().await?, project).await?;
            check_organization(call, &found)?;
            check_etag(&found, &body.etag)?;
            let size = match asked.size {
                None => None,
                Some(name) => other_size(&mut mutation, &found, name).await?,
            };
            let Some(size) = size else {
                return rename(mutation, &found, asked.name.as_deref(), &body.etag).await;
            };
            match self.try_resize(mutation, call, &found, asked.name.as_deref(), size).await? {
                Ok(changed) => return Ok(changed),
                Err(again) => mutation = again,
            }
        }
        Err(Error::Aborted("the project changed at the same time"))
    }

    async fn try_resize(
        &self,
        mut mutation: Mutation,
        call: &Call,
        found: &Snapshot,
        name: Option<&str>,
        size: ProjectSize,
    ) -> Result<Result<Changed, Mutation>> {
        Act::Resize.check(found.state, found.operation.as_ref().map(|open| open.kind))?;
        if found.placement.is_none() {
            return Err(Error::FailedPrecondition {
                reason: ErrorReason::NotPlaced,
                message:
                    "the project waits for capacity on a node; delete it, and create it with the other size"
                        .to_owned(),
            });
        }
        if waits_for_compute(found) {
            // Nothing of it reaches its node before the next start.
            return Err(Error::FailedPrecondition {
                reason: ErrorReason::WrongState,
                message:
                    "the project waits for cpu and memory on its node; stop it, then resize it and start it"
                        .to_owned(),
            });
        }
        // First in the lock order.
        take_size(&mut mutation, found.organization, &size.name).await?;
        let plan = self.plan_resize(&mut mutation, found, size).await?;
        let Some(operation) = self.write_resize(&mut mutation, call, found, name, &plan).await? else {
            mutation.roll_back();
            return Ok(Err(mutation));
        };
        mutation.starts(operation);
        mutation.commit(found.project.as_str(), hints(found)).await?;
        failpoint!("controller.resize.committed", found.project.as_str());
        Ok(Ok(Changed { operation: Some(operation), restarted: plan.restarted }))
    }

    async fn plan_resize(
        &self,
        mutation: &mut Mutation,
        found: &Snapshot,
        size: ProjectSize,
    ) -> Result<Plan> {
        let vault = &self.core.vault;
        let project = &found.project;
        let mut content = Content::read(mutation, vault, project).await?;
        content.size = given(&size);
        let release = content.release(&self.releases)?;
        let new = content.render(release, project)?;
        let (generation, sealed) =
            secrets::newest_spec(mutation.connection().await?, project, found.generation).await?;
        let old = secrets::open_spec(vault, project, generation, &sealed)?;
        let next = found.generation + 1;
        Ok(Plan {
            needs: needs(release, &content.size)?,
            size,
            // Nothing of a stopped project runs.
            restarted: if found.desired == Desired::Running { restarted(&old, &new) } else { Vec::new() },
            spec: secrets::seal_spec(vault, project, next, &new)?,
            return_spec: secrets::seal_spec(vault, project, next + 1, &old)?,
            new_secrets: content.seal_new_secrets(vault, project)?,
            release: content.release,
        })
    }

    /// Writes a plan; returns `None` if the project changed meanwhile.
    async fn write_resize(
        &self,
        write: &mut Mutation,
        call: &Call,
        found: &Snapshot,
        name: Option<&str>,
        plan: &Plan,
    ) -> Result<Option<OperationId>> {
        let project = &found.project;
        let needs = changes::during(found.needs, plan.needs);
        if !capacity::grow(write, found, needs).await? {
            let why = capacity::lacking(write, found, needs).await?;
            return Err(Error::FailedPrecondition {
                reason: ErrorReason::NodeFull,
                message: format!(
                    "the project's node has no room for the size {} in addition: {why}. Choose a smaller size, or stop or \
                     delete a project there",
                    plan.size.name
                ),
            });
        }
        failpoint!("controller.resize.room_taken", project.as_str());
        if !write_desired(write, found, name, &plan.size, needs).await? {
            return Ok(None);
        }
        secrets::insert(write, project, &plan.new_secrets).await?;
        secrets::insert_spec(write, project, found.generation + 1, &plan.spec).await?;
        overtake(write, found, OperationKind::Resize).await?;
        let operation = OperationId::generate();
        let restarting = match plan.restarted.as_slice() {
            [] => "no service restarts".to_owned(),
            names => format!("restarting {}", names.join(", ")),
        };
        let message = format!("from {} to {}; {restarting}", found.size.name, plan.size.name);
        let new = NewOperation {
            id: operation,
            project,
            kind: OperationKind::Resize,
            generation: found.generation + 1,
            by: call.principal()?.user,
            time: Some(OperationKind::Resize.time(&self.core.times)),
            status_message: &message,
        };
        operations::insert(write, &new).await?;
        operations::set_red_before(write, operation, &red_and_untouched(found, &plan.restarted)).await?;
        let change = Change {
            operation,
            from: plan.release.clone(),
            to: plan.release.clone(),
            state_before: found.state,
            needs_before: found.needs,
            needs_after: plan.needs,
            size_before: found.size.clone(),
            size_after: plan.size.name.clone(),
            return_generation: found.generation + 2,
            return_spec: plan.return_spec.clone(),
        };
        changes::insert(write, project, &change).await?;
        let event = NewEvent::new(EventType::OperationStarted, format!("resize project: {message}"));
        events::append(write, project, &event, Some(operation)).await?;
        failpoint!("controller.resize.written", project.as_str());
        Ok(Some(operation))
    }
}

/// Returns what a size gives the project; `None` if it has that. A project keeps its disk: volumes only grow.
async fn other_size(mutation: &mut Mutation, found: &Snapshot, name: &str) -> Result<Option<ProjectSize>> {
    let asked = find_size(mutation.connection().await?, found.organization, name).await?;
    let size = keeping_disk(asked, &found.size);
    Ok((size != found.size).then_some(size))
}

fn keeping_disk(asked: ProjectSize, has: &ProjectSize) -> ProjectSize {
    ProjectSize { disk_mib: asked.disk_mib.max(has.disk_mib), ..asked }
}

async fn rename(mut mutation: Mutation, found: &Snapshot, name: Option<&str>, etag: &str) -> Result<Changed> {
    let mut changed = vec![Hint::Project(found.project.clone())];
    if let Some(name) = name {
        let organization = projects::rename(&mut mutation, &found.project, name, etag).await?;
        if organization != found.organization {
            return Err(Error::Aborted("the project was transferred to another organization"));
        }
        changed.push(Hint::Organization(organization));
    }
    mutation.commit(found.project.as_str(), changed).await?;
    Ok(Changed::default())
}

fn check_etag(found: &Snapshot, etag: &str) -> Result<()> {
    if found.state == ProjectState::Removed {
        return Err(projects::removed());
    }
    if etag.is_empty() || etag == found.revision.to_string() {
        return Ok(());
    }
    Err(Error::Changed("project"))
}

/// Writes the new desired state; false if the project changed meanwhile.
async fn write_desired(
    write: &mut Mutation,
    project: &Snapshot,
    name: Option<&str>,
    size: &ProjectSize,
    needs: Resources,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE projects SET name = coalesce($3, name), state = $4, state_reason = '', generation = generation + 1,
             revision = revision + 1, cpu_millis = $5, memory_mib = $6, disk_mib = $7, size = $8, size_cpu_millis = $9,
             size_memory_mib = $10, size_disk_mib = $11, size_connections = $12
         WHERE ref = $1 AND revision = $2",
        project.project.as_str(),
        project.revision,
        name,
        ProjectState::Resizing.as_sql(),
        needs.cpu_millis,
        needs.memory_mib,
        needs.disk_mib,
        size.name,
        size.cpu_millis,
        size.memory_mib,
        size.disk_mib,
        size.connections,
    )
    .execute(write.connection().await?)
    .await
    .map_err(|error| projects::name_taken(error, name.unwrap_or_default()))?;
    Ok(done.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(name: &str, size: &str, paths: &[&str]) -> UpdateProjectRequest {
        UpdateProjectRequest {
            name: name.to_owned(),
            size: size.to_owned(),
            update_mask: Some(prost_types::FieldMask {
                paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            }),
            ..UpdateProjectRequest::default()
        }
    }

    #[test]
    fn a_mask_names_what_changes_and_without_one_it_is_what_is_given() {
        let read = |body: &UpdateProjectRequest| {
            Asked::read(body).map(|asked| (asked.name, asked.size.map(str::to_owned)))
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(read(&body("a", "small", &[])).unwrap(), (named("a"), named("small")));
        assert_eq!(read(&body("a", "", &[])).unwrap(), (named("a"), None));
        assert_eq!(read(&body("a", "small", &["size"])).unwrap(), (None, named("small")));
        for (wrong, field) in [
            (body("", "", &[]), "update_mask"),
            (body("a", "", &["size"]), "size"),
            (body("", "small", &["name"]), "name"),
            (body("a", "small", &["slug"]), "update_mask"),
        ] {
            let Err(Error::Invalid(fields)) = read(&wrong) else { panic!("{wrong:?} passed") };
            assert_eq!(fields[0].field, field);
        }
    }

    #[test]
    fn a_smaller_size_keeps_the_disk() {
        let size = |memory_mib, disk_mib| ProjectSize {
            name: "x".to_owned(),
            cpu_millis: 1,
            memory_mib,
            disk_mib,
            connections: 1,
        };
        assert_eq!(keeping_disk(size(1, 10), &size(2, 20)), size(1, 20));
        assert_eq!(keeping_disk(size(2, 20), &size(1, 10)), size(2, 20));
    }
}
