//! TransferProject: another organization gets a project. Only rows change: the desired state, and so the node, stays as it is.
//!
//! Lock order: both organizations by their ids, then the project. Rights, quota and what is in the way are decided under the locks
//! of the organizations, since members and limits change only under them.

use supalove_core::{
    Mutation, Write,
    access::{
        Call, Object as _,
        Permission::{ReceiveProjects, TransferProjects},
        decide,
    },
    error::{Error, Result},
    hints::Hint,
};
use supalove_failpoints::failpoint;
use supalove_organizations::{OrganizationKey, store::members};
use supalove_proto::v1::{PreviewTransferResponse, TransferMember, TransferObstacle};

use super::{
    Acts,
    lifecycle::{TRIES, check_organization},
};
use crate::{
    ProjectKey,
    store::{
        events::{self, NewEvent},
        snapshot::{self, Snapshot},
        transfers::{self, Moved},
    },
    transfer::{changes, obstacles, stays},
    types::EventType,
};

/// People whom a preview names.
const MEMBERS: i64 = 200;

/// A project that the caller may give away, and an organization for which the caller may take it.
pub struct Parties {
    pub project: ProjectKey,
    /// Slug of the organization that has it.
    pub source: String,
    pub target: OrganizationKey,
}

impl Acts {
    /// What a transfer would change, and what is in its way. Changes nothing.
    pub async fn preview_transfer(&self, call: &Call, parties: &Parties) -> Result<PreviewTransferResponse> {
        let Parties { project, source, target } = parties;
        let mut connection = self.core.db.acquire().await?;
        let found = snapshot::expect(&mut connection, &project.project).await?;
        check_organization(call, &found)?;
        let scene = transfers::scene(&mut connection, &project.project, target.id).await?;
        let size = &found.size.name;
        let refused = supalove_plans::refused_by_plan(&mut connection, target.id, size).await?;
        drop(connection);
        let db = &self.core.db;
        let limits = supalove_plans::compare_for_transfer(db, project.organization, target.id).await?;
        let members = members::differences(db, project.organization, target.id, MEMBERS).await?;
        let obstacle =
            |error: Error| TransferObstacle { reason: error.reason().into(), message: error.to_string() };
        Ok(PreviewTransferResponse {
            source_organization: source.clone(),
            target_organization: target.slug.clone(),
            obstacles: obstacles(&found, &scene, refused, &target.slug).into_iter().map(obstacle).collect(),
            members_total: members.first().map_or(0, |one| u32::try_from(one.total).unwrap_or(u32::MAX)),
            members: members.into_iter().map(wire_member).collect(),
            changes: changes(source, &target.slug, &limits),
            stays: stays(),
            limits: limits.limits,
            etag: found.revision.to_string(),
        })
    }

    /// Transfers a project.
    pub async fn transfer(
        &self,
        call: &Call,
        mut mutation: Mutation,
        parties: &Parties,
        etag: &str,
    ) -> Result<()> {
        let Parties { project, target, .. } = parties;
        for _ in 0..TRIES {
            if !try_transfer(&mut mutation, call, parties, etag).await? {
                mutation.roll_back();
                continue;
            }
            mutation.also_in(target.id, project.project.as_str());
            let hints = [
                Hint::Project(project.project.clone()),
                // Both count another number of projects, and both streams have a change to tell.
                Hint::Organization(project.organization),
                Hint::Organization(target.id),
            ];
            return mutation.commit(project.project.as_str(), hints).await;
        }
        Err(Error::Aborted("the project changed at the same time"))
    }
}

/// Decides and writes; false if the project changed meanwhile.
async fn try_transfer(write: &mut Mutation, call: &Call, parties: &Parties, etag: &str) -> Result<bool> {
    let Parties { project, source, target } = parties;
    lock(write, call, parties).await?;
    let found = snapshot::expect(write.connection().await?, &project.project).await?;
    check_organization(call, &found)?;
    if !etag.is_empty() && etag != found.revision.to_string() {
        return Err(Error::Changed("project"));
    }
    let scene = transfers::scene(write.connection().await?, &project.project, target.id).await?;
    let refused =
        supalove_plans::refused_by_plan(write.connection().await?, target.id, &found.size.name).await?;
    if let Some(obstacle) = obstacles(&found, &scene, refused, &target.slug).into_iter().next() {
        return Err(obstacle);
    }
    match transfers::move_project(write, &found, target.id, &scene.name).await? {
        Moved::Done => {}
        Moved::Changed => return Ok(false),
        Moved::NoRoom => return Err(Error::internal("a quota changed under its lock")),
    }
    failpoint!("controller.transfer.moved", project.project.as_str());
    tell(write, &found, source, &target.slug).await?;
    failpoint!("controller.transfer.told", project.project.as_str());
    Ok(true)
}

/// Locks both organizations, and decides again on the caller's right in each: it may have been lost meanwhile.
async fn lock(write: &mut Mutation, call: &Call, parties: &Parties) -> Result<()> {
    let Parties { project, target, .. } = parties;
    let no_project = || Error::NotFound { kind: ProjectKey::KIND, name: project.project.to_string() };
    let no_target = || Error::NotFound { kind: OrganizationKey::KIND, name: target.slug.clone() };
    if !members::lock_both(write, project.organization, target.id).await? {
        // An organization with a project cannot be deleted, so it is the other one.
        return Err(no_target());
    }
    let user = call.principal()?.user;
    let in_source = members::role(write, project.organization, user).await?;
    decide(call, TransferProjects, in_source, no_project)?;
    let in_target = members::role(write, target.id, user).await?;
    decide(call, ReceiveProjects, in_target, no_target)
}

/// Tells those who watch the project. The database appends the events of both organizations.
async fn tell(write: &mut impl Write, project: &Snapshot, source: &str, target: &str) -> Result<()> {
    let event = NewEvent::new(
        EventType::ProjectTransferred,
        format!("transferred from the organization {source} to {target}"),
    );
    events::append(write, &project.project, &event, None).await
}

fn wire_member(one: members::Difference) -> TransferMember {
    let role = |role: Option<supalove_core::access::Role>| {
        role.map(supalove_organizations::api::wire_role).unwrap_or_default().into()
    };
    TransferMember {
        user_id: one.user.to_string(),
        email: one.email,
        source_role: role(one.first),
        target_role: role(one.second),
    }
}
