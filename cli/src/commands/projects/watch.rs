//! `projects watch`: the states and events of projects as they come, until a state, a time or Ctrl-C.

use supalove_proto::v1::{
    Project, ProjectState, WatchEvent, WatchProjectResponse, WatchResponse, WatchSnapshot,
    watch_event::Event, watch_project_response::Message, watch_response::Message as ManyMessage,
    watch_snapshot::Object,
};

use super::{Watch, show};
use crate::{commands::Context, error::Error, output::clean, progress::sleep, table, watch};

/// Reads a state with or without its prefix, in any case, with `-` or `_`.
pub fn parse_state(text: &str) -> Result<ProjectState, String> {
    let name = text.to_ascii_uppercase().replace('-', "_");
    let name = name.strip_prefix("PROJECT_STATE_").unwrap_or(&name);
    ProjectState::from_str_name(&format!("PROJECT_STATE_{name}"))
        .filter(|state| *state != ProjectState::Unspecified)
        .ok_or_else(|| "expected a state such as ACTIVE_HEALTHY or INACTIVE".into())
}

pub async fn run(context: &Context, arguments: &Watch) -> Result<(), Error> {
    let project_refs = arguments.projects.resolve(context).await?;
    let mut states = vec![ProjectState::Unspecified; project_refs.len()];
    tokio::select! {
        ended = follow(context, &project_refs, arguments, &mut states) => ended?,
        signal = tokio::signal::ctrl_c() => return Ok(signal?),
        () = sleep(arguments.limit) => {}
    }
    let Some(wanted) = arguments.until else {
        return Ok(());
    };
    let late = project_refs.iter().zip(states).find(|(_, state)| *state != wanted);
    late.map_or(Ok(()), |(project_ref, state)| {
        Err(Error::NotYet { project_ref: project_ref.clone(), state: table::project_state(state).into() })
    })
}

async fn follow(
    context: &Context,
    project_refs: &[String],
    arguments: &Watch,
    states: &mut [ProjectState],
) -> Result<(), Error> {
    match project_refs {
        [only] => follow_one(context, only, arguments, states).await,
        several => follow_many(context, several, arguments, states).await,
    }
}

async fn follow_one(
    context: &Context,
    project_ref: &str,
    arguments: &Watch,
    states: &mut [ProjectState],
) -> Result<(), Error> {
    let mut watch = watch::Watch::new(&context.client, project_ref, arguments.after);
    while let Some(answer) = watch.next().await? {
        context.output.item("WatchProjectResponse", &answer, text)?;
        let Some(Message::Snapshot(project)) = &answer.message else {
            continue;
        };
        states[0] = project.state();
        if all_reached(arguments, states, project)? {
            break;
        }
    }
    Ok(())
}

async fn follow_many(
    context: &Context,
    project_refs: &[String],
    arguments: &Watch,
    states: &mut [ProjectState],
) -> Result<(), Error> {
    let mut names = project_refs.to_vec();
    let mut watch = watch::WatchMany::new(&context.client, project_refs, arguments.after);
    while let Some(answer) = watch.next().await? {
        // An answer is only given for a project that was asked for.
        let index = usize::try_from(answer.subscription).unwrap_or_default();
        let shown = match &answer.message {
            Some(ManyMessage::Snapshot(WatchSnapshot { object: Some(Object::Project(project)) })) => {
                project.name.clone_into(&mut names[index]);
                states[index] = project.state();
                Some(project)
            }
            _ => None,
        };
        context.output.item("WatchResponse", &answer, |answer| text_of_many(&names[index], answer))?;
        if let Some(project) = shown
            && all_reached(arguments, states, project)?
        {
            break;
        }
    }
    Ok(())
}

/// Whether every project is in the state that is waited for. An error if this one can never be.
fn all_reached(arguments: &Watch, states: &[ProjectState], project: &Project) -> Result<bool, Error> {
    let Some(wanted) = arguments.until else {
        return Ok(false);
    };
    if project.state() != wanted {
        check_possible(project)?;
    }
    Ok(states.iter().all(|state| *state == wanted))
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

/// Which project a line is about comes first.
fn text_of_many(name: &str, answer: &WatchResponse) -> Option<String> {
    let text = match answer.message.as_ref()? {
        ManyMessage::Snapshot(WatchSnapshot { object: Some(Object::Project(project)) }) => {
            show::state(project)
        }
        ManyMessage::Event(WatchEvent { event: Some(Event::Project(event)) }) => show::event(event),
        ManyMessage::End(end) => end.message.clone(),
        _ => return None,
    };
    Some(clean(&format!("{name}: {text}")))
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
