//! Compares the nodes that are connected to this replica with the rows: asks each agent what it has and how it is, and judges that
//! as a report is judged. What a report would change is a difference: the report, or its verdict, was lost.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, future::BoxFuture, stream};
use supalove_core::{
    Core,
    consistency::{Compared, LiveCheck},
    error::{Result, chain},
    ids::{NodeId, ProjectRef},
};
use supalove_fleet::{Fleet, Session};
use supalove_proto::node::v1::{InventoryRequest, InventoryResponse, ObservedStack, StackPhase};

use super::{
    due,
    judge::{judge, printable},
};
use crate::{
    store::{
        projects::ServiceStatus,
        snapshot::{self, Snapshot},
    },
    types::{Desired, ProjectState},
};

/// For the answer of a node: less than a third of the time of a call, which may ask it twice.
const ANSWER: Duration = Duration::from_secs(9);
/// Nodes that are asked at once. Each takes a connection to the database meanwhile.
const AT_ONCE: usize = 8;

/// The comparison of nodes.
pub struct NodeCheck {
    core: Core,
    fleet: Fleet,
}

impl LiveCheck for NodeCheck {
    fn compare(&self) -> BoxFuture<'_, Result<Compared>> {
        Box::pin(self.compare_nodes())
    }
}

/// What the rows say of a project on a node.
struct Row {
    project: ProjectRef,
    slot: i32,
    applied: i64,
}

impl NodeCheck {
    pub fn new(core: &Core, fleet: &Fleet) -> Self {
        Self { core: core.for_calls(), fleet: fleet.clone() }
    }

    async fn compare_nodes(&self) -> Result<Compared> {
        let nodes = sqlx::query!(
            "SELECT id AS \"id: NodeId\", name FROM nodes WHERE revoked_at IS NULL AND greeted_epoch > 0 ORDER BY name"
        )
        .fetch_all(&self.core.db)
        .await?;
        let mut compared = Compared::default();
        let mut connected = Vec::new();
        for node in nodes {
            match self.fleet.session(node.id) {
                Ok(session) => connected.push(session),
                Err(_) => compared.not_compared.push(format!(
                    "node {} ({}): its agent is not connected to this replica of the controller",
                    node.name, node.id
                )),
            }
        }
        let until = tokio::time::Instant::now() + ANSWER;
        let mut answers = stream::iter(connected)
            .map(|session| async move {
                let answer = tokio::time::timeout_at(until, ask(&session)).await;
                (
                    session.node,
                    answer.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER.as_secs()))),
                )
            })
            .buffer_unordered(AT_ONCE);
        while let Some((node, answer)) = answers.next().await {
            match answer {
                Ok(found) => {
                    compared.nodes += 1;
                    self.compare_node(&mut compared, node, &found).await?;
                }
                Err(why) => compared.note("projects.node_answer", node, "its inventory", printable(&why)),
            }
        }
        Ok(compared)
    }

    async fn compare_node(
        &self,
        compared: &mut Compared,
        node: NodeId,
        found: &InventoryResponse,
    ) -> Result<()> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT project_ref AS \"project: ProjectRef\", slot, applied_generation AS applied FROM placements WHERE node_id = $1",
            node.0,
        )
        .fetch_all(&self.core.db)
        .await?;
        for project in due::unexplained(&self.core.db, node, found).await? {
            compared.note(
                "projects.unexplained",
                &project,
                "nothing of it on the host",
                format!("remains on {node}"),
            );
        }
        let inventory: BTreeMap<&str, _> =
            found.projects.iter().map(|project| (project.project_ref.as_str(), project)).collect();
        for row in &rows {
            let there = inventory.get(row.project.as_str());
            let stored = there.map_or(0, |there| there.generation);
            if row.applied > 0 {
                let generation = |number: u64| format!("generation {number} at the agent");
                compared.note(
                    "projects.stored_generation",
                    &row.project,
                    generation(row.applied.unsigned_abs()),
                    generation(stored),
                );
            }
            if let Some(slot) = there.and_then(|there| there.slot) {
                compared.note(
                    "projects.slot",
                    &row.project,
                    format!("slot {}", row.slot),
                    format!("slot {slot}"),
                );
            }
        }
        if !found.compared {
            compared.not_compared.push(format!(
                "node {node}: its agent is older than this check and did not compare its host"
            ));
            return Ok(());
        }
        for difference in &found.differences {
            compared.note(
                format!("node.{}", printable(&difference.check)),
                format!("{node} {}", printable(&difference.project_ref)).trim_end(),
                printable(&difference.expected),
                printable(&difference.found),
            );
        }
        let states: BTreeMap<&str, &ObservedStack> =
            found.states.iter().map(|state| (state.project_ref.as_str(), state)).collect();
        let mut connection = self.core.db.acquire().await?;
        for row in &rows {
            if let Some(project) = snapshot::read(&mut connection, &row.project).await?
                && project.placement.is_some_and(|placement| placement.node == node)
            {
                compare_state(compared, &project, states.get(row.project.as_str()).copied());
            }
        }
        Ok(())
    }
}

async fn ask(session: &Session) -> Result<InventoryResponse, String> {
    let answer = session.client.clone().inventory(InventoryRequest { compare: true }).await;
    answer.map(tonic::Response::into_inner).map_err(|status| chain(&status))
}

/// Compares a project with the state that its agent sees.
fn compare_state(compared: &mut Compared, project: &Snapshot, state: Option<&ObservedStack>) {
    let Some(state) = state.filter(|state| i64::try_from(state.generation) == Ok(project.generation)) else {
        // The generation on its way, or the one that did not arrive, is compared by itself.
        return;
    };
    let verdict = judge(project, state).reduced(project);
    let object = &project.project;
    if let Some((expected, reason)) = &verdict.state {
        compared.note(
            "projects.state",
            object,
            told(*expected, reason),
            told(project.state, &project.state_reason),
        );
    } else if let Some(services) = &verdict.services {
        compared.note("projects.services", object, listed(services), listed(&project.services));
    } else if let Some(end) = &verdict.end {
        compared.note("projects.operation", object, format!("{} has ended", end.id), "it is open");
    }
    let fits = match project.desired {
        Desired::Running => state.phase() != StackPhase::Stopped && state.phase() != StackPhase::Removed,
        Desired::Stopped => {
            !matches!(state.phase(), StackPhase::Healthy | StackPhase::Unhealthy | StackPhase::Removed)
        }
        Desired::Removed => true,
    };
    if !fits {
        let phase = state.phase().as_str_name().trim_start_matches("STACK_PHASE_");
        compared.note("projects.phase", object, project.desired.as_sql(), format!("the agent says {phase}"));
    }
}

fn told(state: ProjectState, reason: &str) -> String {
    if reason.is_empty() { state.as_sql().to_owned() } else { format!("{}: {reason}", state.as_sql()) }
}

fn listed(services: &[ServiceStatus]) -> String {
    let each: Vec<_> = services
        .iter()
        .map(|service| match service.message.as_str() {
            "" => format!("{} is {}", service.name, service.state),
            message => format!("{} is {}: {message}", service.name, service.state),
        })
        .collect();
    each.join("; ")
}
