//! Adopts leftovers, and asks for their deletion. Each in one transaction, under the lock of the node's row, which inventories and Hello
//! take, too. What is placed on the node meanwhile waits for the node's capacity, or is another project.

use supalove_core::{
    Core, Mutation, Write,
    access::Call,
    error::{Error, Result},
    hints::Hint,
    ids::{NodeId, ProjectRef},
};
use supalove_failpoints::failpoint;
use supalove_fleet::clusters::{
    self,
    access::{NodeKey, allow},
};
use supalove_proto::v1::ErrorReason;
use supalove_scheduler::Resources;

use super::{Leftover, store};
use crate::{
    capacity,
    endpoints::published,
    placer,
    store::{
        events::{self, NewEvent},
        operations, secrets,
        snapshot::{self, Snapshot},
    },
    types::{Desired, EventType, OperationState, ProjectState},
};

/// Attempts before ABORTED when the project keeps changing, for example the reason of its wait.
const TRIES: usize = 5;

/// Places a project where its leftover is, with the generation after the one that the agent has: the agent compares what it has with
/// what it is told, and data that it knows stays. Returns the project.
pub async fn adopt(core: &Core, call: &Call, node_id: &str, project_ref: &str) -> Result<ProjectRef> {
    let key: NodeKey = allow(core, call, node_id).await?;
    let project = parse_ref(project_ref)?;
    let mut mutation = core.mutation(call);
    for _ in 0..TRIES {
        let leftover = locked(&mut mutation, &key, &project).await?;
        if let Some(why) = leftover.not_adoptable() {
            return Err(refused(ErrorReason::LeftoverNotAdoptable, &project, "adopted", &why));
        }
        let found = snapshot::expect(mutation.connection().await?, &project).await?;
        if !place(core, &mut mutation, &leftover, &found).await? {
            mutation.roll_back();
            continue;
        }
        if call.organization.get() != Some(&found.organization) {
            mutation.also_in(found.organization, project.as_str());
        }
        failpoint!("controller.leftover.adopted", project.as_str());
        let hints =
            [Hint::Node(key.node), Hint::Project(project.clone()), Hint::Organization(found.organization)];
        mutation.commit(&target(key.node, &project), hints).await?;
        return Ok(project);
    }
    Err(Error::Aborted("the project keeps changing"))
}

/// False if the project changed meanwhile.
async fn place(core: &Core, write: &mut Mutation, leftover: &Leftover, found: &Snapshot) -> Result<bool> {
    let runs = found.desired == Desired::Running;
    let mut needs = found.needs;
    if !runs {
        needs = Resources { cpu_millis: 0, memory_mib: 0, ..needs };
    }
    let slot = leftover.slot.ok_or_else(|| Error::internal("a leftover without a slot was adoptable"))?;
    let place = capacity::adopt(core, write, leftover.node, &found.project, needs, slot).await?;
    let place = place.ok_or_else(|| {
        let why = format!(
            "the node is draining or not connected, another project holds its slot {slot}, or the node lacks {} millicores, {} MiB \
             memory or {} MiB disk: see `supalove nodes describe`",
            needs.cpu_millis, needs.memory_mib, needs.disk_mib
        );
        refused(ErrorReason::LeftoverNotAdoptable, &found.project, "adopted", &why)
    })?;
    let (generation, sealed) =
        secrets::newest_spec(write.connection().await?, &found.project, found.generation).await?;
    let spec = secrets::open_spec(&core.vault, &found.project, generation, &sealed)?;
    let adopted = placer::Adopted {
        project: &found.project,
        node: leftover.node,
        place: &place,
        runs,
        applied: leftover.generation,
        endpoints: &published(&spec),
    };
    let guarded = sqlx::query!(
        "UPDATE projects SET state_reason = '', generation = generation + 1, revision = revision + 1
         WHERE ref = $1 AND revision = $2",
        found.project.as_str(),
        found.revision,
    )
    .execute(write.connection().await?)
    .await?;
    if guarded.rows_affected() == 0 {
        return Ok(false);
    }
    placer::insert_adopted(write, &adopted).await?;
    let waiting = found.operation.as_ref().filter(|open| open.state == OperationState::Pending);
    if let Some(open) = waiting {
        operations::begin(write, open.id, open.kind.time(&core.times), found.generation + 1).await?;
    }
    let message = format!("adopted on {}, where it was found", place.node_name);
    let event = NewEvent::new(EventType::ProjectPlaced, message);
    events::append(write, &found.project, &event, waiting.map(|open| open.id)).await?;
    store::forget(write, leftover.node, &found.project).await?;
    clusters::store::explain(write, leftover.node, found.project.as_str()).await?;
    Ok(true)
}

/// Asks for the deletion of a leftover; the node's session carries it out, now or when the node is connected again.
pub async fn delete(core: &Core, call: &Call, node_id: &str, project_ref: &str) -> Result<Leftover> {
    let key: NodeKey = allow(core, call, node_id).await?;
    let project = parse_ref(project_ref)?;
    let mut mutation = core.mutation(call);
    let leftover = locked(&mut mutation, &key, &project).await?;
    if let Some(why) = leftover.not_deletable() {
        return Err(refused(ErrorReason::LeftoverInUse, &project, "deleted", &why));
    }
    let is_deleted = leftover.known.as_ref().is_some_and(|known| known.state == ProjectState::Removed);
    if !is_deleted && store::may_be_restored(mutation.connection().await?, key.node).await? {
        let why = "the control database was restored from a backup and may lack the project: the operator looks whether a newer backup \
            has it, then confirms the restore (`supalove platform confirm-restore`)";
        return Err(refused(ErrorReason::LeftoverInUse, &project, "deleted", why));
    }
    store::request_deletion(&mut mutation, key.node, &project).await?;
    let asked = one(&mut mutation, key.node, &project).await?;
    mutation.commit(&target(key.node, &project), [Hint::Node(key.node)]).await?;
    Ok(asked)
}

/// Locks the node, and returns its leftover of the project.
async fn locked(write: &mut impl Write, key: &NodeKey, project: &ProjectRef) -> Result<Leftover> {
    let node = clusters::store::lock_node(write, key.node).await?;
    if node.is_none_or(|node| node.revoked) {
        return Err(Error::FailedPrecondition {
            reason: ErrorReason::NodeRevoked,
            message: format!(
                "the node {} was revoked for good, so its agent takes no orders; remove what is left on the host itself",
                key.node
            ),
        });
    }
    one(write, key.node, project).await
}

async fn one(write: &mut impl Write, node: NodeId, project: &ProjectRef) -> Result<Leftover> {
    let wanted = store::Wanted { project: Some(project), ..store::Wanted::default() };
    let found = store::list(write.connection().await?, node, wanted, 1).await?.into_iter().next();
    found.ok_or_else(|| Error::NotFound { kind: "leftover", name: project.to_string() })
}

fn parse_ref(text: &str) -> Result<ProjectRef> {
    text.parse().map_err(|_| Error::field("project_ref", "must be a project's ref: 20 lowercase letters"))
}

fn refused(reason: ErrorReason, project: &ProjectRef, what: &str, why: &str) -> Error {
    Error::FailedPrecondition {
        reason,
        message: format!("the leftover of project {project} cannot be {what}: {why}"),
    }
}

/// Target of the audit rows.
fn target(node: NodeId, project: &ProjectRef) -> String {
    format!("{node} {project}")
}
