//! `projects watch`: a project's state and events as they come, until a state, a time or Ctrl-C.

use supalove_proto::v1::{Project, ProjectState, WatchProjectResponse, watch_project_response::Message};

use super::{Watch, show};
use crate::{commands::Context, error::Error, progress::sleep, table, watch};

/// Reads a state with or without its prefix, in any case, with `-` or `_`.
pub fn parse_state(text: &str) -> Result<ProjectState, String> {
    let name = text.to_ascii_uppercase().replace('-', "_");
    let name = name.strip_prefix("PROJECT_STATE_").unwrap_or(&name);
    ProjectState::from_str_name(&format!("PROJECT_STATE_{name}"))
        .filter(|state| *state != ProjectState::Unspecified)
        .ok_or_else(|| "expected a state such as ACTIVE_HEALTHY or INACTIVE".into())
}

pub async fn run(context: &Context, arguments: &Watch) -> Result<(), Error> {
    let project_ref = arguments.which.resolve(context).await?;
    let mut state = ProjectState::Unspecified;
    tokio::select! {
        ended = follow(context, &project_ref, arguments, &mut state) => return ended,
        signal = tokio::signal::ctrl_c() => return Ok(signal?),
        () = sleep(arguments.limit) => {}
    }
    if arguments.until.is_none() {
        return Ok(());
    }
    Err(Error::NotYet { project_ref, state: table::project_state(state).into() })
}

async fn follow(
    context: &Context,
    project_ref: &str,
    arguments: &Watch,
    state: &mut ProjectState,
) -> Result<(), Error> {
    let mut watch = watch::Watch::new(&context.client, project_ref, arguments.after);
    loop {
        let answer = watch.next().await?;
        context.output.item("WatchProjectResponse", &answer, text)?;
        let Some(Message::Snapshot(project)) = &answer.message else {
            continue;
        };
        *state = project.state();
        match arguments.until {
            Some(wanted) if wanted == *state => return Ok(()),
            Some(_) => check_possible(project)?,
            None => {}
        }
    }
}

/// Returns an error if the project can no longer reach another state.
fn check_possible(project: &Project) -> Result<(), Error> {
    match project.state() {
        ProjectState::Removed
        | ProjectState::InitFailed
        | ProjectState::PauseFailed
        | ProjectState::RestoreFailed => Err(Error::NeverWill {
            project_ref: project.r#ref.clone(),
            state: table::project_state(project.state()).into(),
            reason: project.state_reason.clone(),
        }),
        _ => Ok(()),
    }
}

fn text(answer: &WatchProjectResponse) -> Option<String> {
    match answer.message.as_ref()? {
        Message::Snapshot(project) => Some(show::state(project)),
        Message::Event(event) => Some(show::event(event)),
        Message::KeepAlive(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_may_be_written_in_several_ways() {
        for text in ["ACTIVE_HEALTHY", "active-healthy", "PROJECT_STATE_ACTIVE_HEALTHY"] {
            assert_eq!(parse_state(text), Ok(ProjectState::ActiveHealthy));
        }
        assert!(parse_state("unspecified").is_err());
        assert!(parse_state("happy").is_err());
    }
}
