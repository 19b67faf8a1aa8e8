//! Stores reports of agents: observed states through a verdict, progress as events, and conditions of the node.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use supalove_failpoints::failpoint;
use supalove_proto::{
    node::v1::{NodeConditions, ObservedStack, Progress, ProgressStep, StackPhase},
    v1::ErrorReason,
};

use crate::{
    decide::{decide, decide_from},
    reconciler::{
        Reconciler,
        judge::{judge, printable},
        restored,
    },
    store::{
        events::{self, NewEvent},
        operations,
        snapshot::{self, Snapshot},
    },
    types::{EventType, ProjectState},
    verdict::{Source, Verdict},
};
use supalove_core::{
    Write,
    error::{Error, Result},
    hints::Hint,
    ids::{NodeId, ProjectRef},
    restores::{self, Claim},
};
use supalove_fleet::clusters::{self, Condition};

impl Reconciler {
    /// Judges a report and writes the verdict. Reports on projects that are not placed on the node are ignored. Returns the
    /// revision of the project's row then; `None` without a project.
    pub(crate) async fn observed(&self, source: Source, report: &ObservedStack) -> Result<Option<i64>> {
        let Ok(project) = report.project_ref.parse::<ProjectRef>() else {
            return Ok(None);
        };
        self.reports.wait(source.node).await;
        failpoint!("controller.report.received", project.as_str());
        let stored = i64::try_from(report.generation).unwrap_or(i64::MAX - 1);
        let ahead_of = Mutex::new(None);
        let changes = AtomicBool::new(false);
        let judged = |found: &Snapshot| {
            changes.store(false, Ordering::Relaxed);
            if found.placement.is_none_or(|p| p.node != source.node) {
                return Verdict::default();
            }
            // A number that is too large to be true is nonsense, like other reports on generations that are not ours.
            let leap = stored.saturating_sub(found.generation);
            let is_ahead = (1..=restores::LEAP).contains(&leap) && found.state != ProjectState::Removed;
            *ahead_of.lock().unwrap_or_else(PoisonError::into_inner) = is_ahead.then_some(found.generation);
            let verdict = judge(found, report);
            changes.store(verdict != Verdict::default() || is_ahead, Ordering::Relaxed);
            verdict
        };
        let actor = source.node.to_string();
        let revision = decide_from(&self.core, &actor, Some(source), &project, judged).await?;
        if !changes.into_inner() {
            self.reports.was_unchanged(source.node);
        }
        let ahead_of = ahead_of.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(ours) = ahead_of {
            // The database can lose a generation while a session goes on: by a restore in its place, or by a failover to a
            // server that lacks the last writes.
            let ahead = Ahead { ours, stored, removed: report.phase() == StackPhase::Removed };
            let why = format!("it reports generation {stored}");
            self.agent_is_ahead(source.node, &project, ahead, &why).await?;
        }
        Ok(revision)
    }

    /// Stores a step as an event, and as the open operation's status.
    pub(crate) async fn progress(&self, source: Source, step: &Progress) -> Result<()> {
        let Ok(project) = step.project_ref.parse::<ProjectRef>() else {
            return Ok(());
        };
        if self.progress.spend(source.node).is_err() {
            self.core.refusals.note("progress of a node: too many steps", source.node);
            return Ok(());
        }
        let mut write = self.core.system_write(source.node.to_string());
        let Some(found) = snapshot::read(write.connection().await?, &project).await? else {
            return Ok(());
        };
        let current = i64::try_from(step.generation) == Ok(found.generation);
        let elsewhere = found.placement.is_none_or(|p| p.node != source.node);
        if !current || elsewhere || found.state == ProjectState::Removed {
            return Ok(());
        }
        write_step(&mut write, &found, step).await?;
        if !source.is_newest(write.connection().await?).await? {
            return Err(Error::Refused("a newer session of the node has begun"));
        }
        failpoint!("controller.progress.written", project.as_str());
        write.commit([Hint::Project(project.clone())]).await?;
        failpoint!("controller.progress.committed", project.as_str());
        Ok(())
    }

    /// Stores what is wrong with the node. Pending projects may fit there again, or no longer.
    pub(crate) async fn conditions(&self, source: Source, told: &NodeConditions) -> Result<()> {
        let Source { node, epoch } = source;
        let conditions = clusters::conditions(told);
        let mut write = self.core.system_write(node.to_string());
        let saved = clusters::store::save_conditions(&mut write, node, epoch, &conditions).await?;
        match saved {
            None => Err(Error::Refused("a newer session of the node has begun")),
            Some(false) => Ok(()),
            Some(true) => {
                for Condition { reason, message, .. } in &conditions {
                    tracing::warn!(%node, reason, message, "node reports a condition");
                }
                write.commit([Hint::Capacity, Hint::Node(node)]).await
            }
        }
    }

    /// Fails the open operation with the agent's message, because the agent refuses this generation. Without an operation the
    /// project shows it.
    pub(crate) async fn refused(
        &self,
        node: NodeId,
        project: &ProjectRef,
        generation: i64,
        why: &str,
    ) -> Result<()> {
        let why = printable(why);
        decide(&self.core, &node.to_string(), project, |found| {
            if found.generation != generation || found.placement.is_none_or(|p| p.node != node) {
                return Verdict::default();
            }
            if let Some(operation) = &found.operation {
                let failure = operations::Failure::new(ErrorReason::RefusedByAgent, why.clone());
                return Verdict::failed(operation.id, operation.kind, failure);
            }
            let state = match found.state {
                ProjectState::ActiveHealthy | ProjectState::Unknown => ProjectState::ActiveUnhealthy,
                state => state,
            };
            Verdict { state: Some((state, format!("the agent refuses it: {why}"))), ..Verdict::default() }
        })
        .await
    }
}

/// An agent that has a newer generation of a project than the control database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ahead {
    /// Generation that was sent.
    pub ours: i64,
    /// The agent's.
    pub stored: i64,
    /// The agent has removed the project.
    pub removed: bool,
}

impl Reconciler {
    /// The control database was restored from a backup: continues with the agent's generation. A project that the agent has
    /// removed is not made again, because its data is gone.
    pub(crate) async fn agent_is_ahead(
        &self,
        node: NodeId,
        project: &ProjectRef,
        ahead: Ahead,
        why: &str,
    ) -> Result<()> {
        let Ahead { ours, stored, removed } = ahead;
        let mut write = self.core.system_write(node.to_string());
        if stored.saturating_sub(ours) > restores::LEAP {
            let why = format!(
                "node {node} claims to have generation {stored}, here it is {ours}; is the host taken over? ({why})"
            );
            return self.refused(node, project, ours, &why).await;
        }
        let taken_up = restored::take_up(&mut write, node, project, ahead).await?;
        if !taken_up && !removed {
            // The project has changed meanwhile, and its newer generation is sent.
            return Ok(());
        }
        let detail = format!("node {node} has generation {stored} of project {project}, the database {ours}");
        restores::note_claim(&mut write, Claim { node, subject: project.as_str(), newest: stored }, &detail)
            .await?;
        write.commit([Hint::Node(node), Hint::Project(project.clone())]).await?;
        if removed && !taken_up {
            let why = format!(
                "the host removed it after the backup that the control database was restored from, with its data; delete it ({why})"
            );
            self.refused(node, project, ours, &why).await?;
        }
        Ok(())
    }
}

async fn write_step(write: &mut impl Write, project: &Snapshot, step: &Progress) -> Result<()> {
    // The observed state reports "ready", together with the generation.
    let (kind, what) = match step.step() {
        ProgressStep::Pulling => (EventType::ServicePulling, "pulling its image"),
        ProgressStep::Preparing => (EventType::ProjectPreparing, "preparing network, volumes and files"),
        ProgressStep::Created => (EventType::ServiceCreated, "created"),
        ProgressStep::Started => (EventType::ServiceStarted, "started"),
        ProgressStep::Stopping => (EventType::ServiceStopping, "stopping"),
        ProgressStep::Removed => (EventType::ServiceRemoved, "removed"),
        ProgressStep::Ready | ProgressStep::Unspecified => return Ok(()),
    };
    let service = printable(&step.service);
    let said = printable(&step.message);
    let message = match (service.as_str(), said.as_str()) {
        ("", "") => what.to_owned(),
        (service, "") => format!("{service}: {what}"),
        ("", said) if kind == EventType::ProjectPreparing => format!("preparing {said}"),
        (_, said) => said.to_owned(),
    };
    let event = NewEvent {
        percent: i32::try_from(step.percent).unwrap_or(100).min(100),
        ..NewEvent::for_service(kind, &service, message.clone())
    };
    let operation = project.operation.as_ref().map(|o| o.id);
    // An agent may send progress as often as it likes; the operation's status shows the newest.
    if !events::is_repeated(write, &project.project, &event).await? {
        events::append(write, &project.project, &event, operation).await?;
    }
    if let Some(id) = operation {
        operations::set_status(write, id, &message).await?;
    }
    Ok(())
}
