//! Decisions on the transfer of a project to another organization: what is in the way, and what a preview says. Pure.

use supalove_core::error::Error;
use supalove_plans::Compared;
use supalove_proto::v1::ErrorReason;

use crate::{
    acts::Act,
    store::{
        snapshot::Snapshot,
        transfers::{Namesake, Scene},
    },
};

/// Everything that is in the way of a transfer, the error of a transfer first. `by_plan`: what the target's plan refuses.
pub fn obstacles(project: &Snapshot, scene: &Scene, by_plan: Vec<Error>, target: &str) -> Vec<Error> {
    let mut all = Vec::new();
    // Every state that has an operation in progress is among those that do not allow it.
    all.extend(Act::Transfer.check(project.state, project.operation.as_ref().map(|open| open.kind)).err());
    if !scene.cluster_allowed {
        all.push(Error::FailedPrecondition {
            reason: ErrorReason::ClusterNotAllowed,
            message: format!(
                "the project is on the private cluster {}, which {target} may not use; create a project in {target} and move \
                 the data",
                scene.cluster
            ),
        });
    }
    all.extend(scene.namesake.as_ref().map(|namesake| name_taken(&scene.name, namesake)));
    all.extend(by_plan);
    all
}

fn name_taken(name: &str, namesake: &Namesake) -> Error {
    if !namesake.deleted {
        return Error::AlreadyExists { kind: "project", name: name.to_owned() };
    }
    let until = namesake.purge_at.map(|at| at.format("%Y-%m-%d %H:%M UTC").to_string());
    Error::NameHeld {
        name: name.to_owned(),
        project: namesake.project.to_string(),
        until: until.unwrap_or_default(),
    }
}

/// What a transfer changes beside limits and members, one sentence each.
pub fn changes(source: &str, target: &str, limits: &Compared) -> Vec<String> {
    vec![
        format!("The project counts as one of {target}, and no longer as one of {source}."),
        format!(
            "People use it by their roles in {target}. Members of {source} who are no members of {target} lose access at once; \
             their open watches end within 15 s."
        ),
        format!(
            "Whoever may read secrets in {target} may read its keys and passwords. Nothing is rotated: people of {source} who \
             know them still do."
        ),
        format!("Its events and operations so far are shown to members of {target}."),
        format!(
            "Its audit rows so far stay in the log of {source}, for {}; new ones are in the log of {target}, for {}.",
            days(limits.source_log_days),
            days(limits.target_log_days)
        ),
    ]
}

/// What a transfer does not change, one sentence each.
pub fn stays() -> Vec<String> {
    [
        "Its ref, name, size, addresses, ports, node and stack release.",
        "Its data, settings, secrets, keys and passwords.",
        "Its containers: nothing restarts.",
        "Personal access tokens and their scopes; what one may do with the project follows the role of its user.",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn days(days: i64) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}

#[cfg(test)]
mod tests {
    use supalove_core::ids::ProjectRef;

    use super::*;
    use crate::{
        reconciler::judge::tests::project,
        types::{Desired, OperationKind, ProjectState},
    };

    fn scene() -> Scene {
        Scene {
            name: "shop".to_owned(),
            cluster: "default".to_owned(),
            cluster_allowed: true,
            namesake: None,
        }
    }

    fn reasons(all: &[Error]) -> Vec<ErrorReason> {
        all.iter().map(Error::reason).collect()
    }

    #[test]
    fn nothing_is_in_the_way_of_a_settled_project() {
        for state in [ProjectState::ActiveHealthy, ProjectState::Inactive, ProjectState::Unknown] {
            let found = project(state, Desired::Running, None);
            assert!(obstacles(&found, &scene(), Vec::new(), "beta").is_empty(), "{state:?}");
        }
    }

    #[test]
    fn everything_in_the_way_is_listed_and_says_what_to_do() {
        let found = project(ProjectState::Restarting, Desired::Running, Some(OperationKind::Restart));
        let namesake = Namesake { project: ProjectRef::generate(), deleted: true, purge_at: None };
        let scene = Scene { cluster_allowed: false, namesake: Some(namesake), ..scene() };
        let full = Error::Quota { subject: "organization:projects".into(), message: "full".into() };
        let all = obstacles(&found, &scene, vec![full], "beta");
        let expected = [
            ErrorReason::WrongState,
            ErrorReason::ClusterNotAllowed,
            ErrorReason::NameHeldByDeletedProject,
            ErrorReason::QuotaExceeded,
        ];
        assert_eq!(reasons(&all), expected);
        assert!(all[0].to_string().contains("wait for its operation to end"), "{}", all[0]);
        assert!(all[1].to_string().contains("which beta may not use"), "{}", all[1]);
    }

    #[test]
    fn a_deleted_project_stays_where_it_is() {
        let found = project(ProjectState::GoingDown, Desired::Stopped, None);
        let all = obstacles(&found, &scene(), Vec::new(), "beta");
        assert!(all[0].to_string().contains("undelete it"), "{}", all[0]);
    }

    #[test]
    fn a_preview_names_both_logs() {
        let limits = Compared { limits: Vec::new(), source_log_days: 1, target_log_days: 90 };
        let said = changes("acme", "beta", &limits).join("\n");
        assert!(
            said.contains("the log of acme, for 1 day;") && said.contains("the log of beta, for 90 days")
        );
    }
}
