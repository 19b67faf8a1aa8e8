//! Reads a project, decides and writes; retries if the project changed meanwhile.

use supalove_core::{
    Core,
    error::{Error, Result},
    hints::Hint,
    ids::ProjectRef,
};

use crate::{
    store::snapshot::{self, Snapshot},
    verdict::{self, Source, Verdict},
};

/// Attempts before ABORTED when concurrent writers keep changing the project.
const TRIES: usize = 20;

/// Decides on a project and writes the verdict. `actor` is the job that decides.
pub async fn decide(
    core: &Core,
    actor: &str,
    project: &ProjectRef,
    judge: impl Fn(&Snapshot) -> Verdict,
) -> Result<()> {
    decide_from(core, actor, None, project, judge).await.map(|_| ())
}

/// The same for a report of a node's session: writes nothing if the node has a newer session. Returns the revision of the
/// project's row afterwards; `None` without a project.
pub async fn decide_from(
    core: &Core,
    actor: &str,
    source: Option<Source>,
    project: &ProjectRef,
    judge: impl Fn(&Snapshot) -> Verdict,
) -> Result<Option<i64>> {
    for _ in 0..TRIES {
        let mut connection = core.db.acquire().await?;
        let Some(found) = snapshot::read(&mut connection, project).await? else {
            return Ok(None);
        };
        drop(connection);
        let verdict = judge(&found);
        let frees = verdict.free_compute || verdict.remove;
        // What the organization's stream tells.
        let state = verdict.state.as_ref().map(|(state, _)| *state);
        let tells =
            verdict.remove || verdict.end.is_some() || state.is_some_and(|state| state != found.state);
        let returns = verdict.returns();
        if let Some(revision) = verdict::write(core, actor, &found, verdict, source).await? {
            core.hints.wake(Hint::Project(project.clone()));
            if frees {
                core.hints.wake(Hint::Capacity);
            }
            if let (true, Some(placement)) = (returns, found.placement) {
                core.hints.wake(Hint::Node(placement.node));
            }
            if tells {
                core.hints.wake(Hint::Organization(found.organization));
            }
            return Ok(Some(revision));
        }
        if let Some(source) = source
            && !source.is_newest(&core.db).await?
        {
            return Err(Error::Refused("a newer session of the node has begun"));
        }
    }
    Err(Error::Aborted("the project keeps changing"))
}
