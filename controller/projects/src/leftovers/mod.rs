//! Leftovers: what nodes have of projects that no placement puts there. In: inventories. Out: rows, and what may be done about each.
//!
//! Nothing is stopped or deleted by itself. A leftover is adopted (its project is placed where it is) or deleted, by whoever
//! manages the node. The rules are here, as pure functions; [`acts`] carries them out.

pub mod acts;
pub mod store;

use chrono::{DateTime, Utc};
use supalove_core::ids::{NodeId, ProjectRef};

use crate::types::{Desired, ProjectState};

/// What a node has of a project that no placement puts there.
#[derive(Debug, Clone)]
pub struct Leftover {
    pub node: NodeId,
    pub project: ProjectRef,
    /// Generation that the agent has stored; 0: it has no record, and found only remains.
    pub generation: i64,
    /// Slot of the agent's record.
    pub slot: Option<i32>,
    pub containers: Vec<String>,
    pub networks: Vec<String>,
    pub volumes: Vec<String>,
    pub found_at: DateTime<Utc>,
    pub delete_requested_at: Option<DateTime<Utc>>,
    pub delete_error: String,
    /// The project, if a cluster of the same owner has one with this ref. Others are none of the node's business.
    pub known: Option<Known>,
}

/// What the control database knows of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub state: ProjectState,
    pub desired: Desired,
    pub generation: i64,
    /// It is a project of the node's own cluster.
    pub in_cluster: bool,
    /// Node on which it stands: its id and name.
    pub stands_on: Option<(NodeId, String)>,
    /// That node is not revoked, and its agent has stored the project: its data is there.
    pub has_data: bool,
}

impl Leftover {
    /// Why the leftover cannot be adopted, and what helps; `None` if it can.
    pub fn not_adoptable(&self) -> Option<String> {
        if self.delete_requested_at.is_some() {
            return Some("its deletion was requested, and cannot be taken back".to_owned());
        }
        let Some(known) = &self.known else {
            return Some(
                "the platform has no project with this ref for this node: if the control database was restored from a backup, restore a \
                 newer one; otherwise delete the leftover"
                    .to_owned(),
            );
        };
        if known.state == ProjectState::Removed {
            return Some(
                "the project was deleted, with its keys and its quota: delete the leftover".to_owned(),
            );
        }
        match &known.stands_on {
            Some((node, _)) if *node == self.node => return Some(STANDS_HERE.to_owned()),
            Some((_, name)) if known.has_data => {
                return Some(format!(
                    "the project stands on node {name}, so what is here is not in use: delete the leftover"
                ));
            }
            Some((_, name)) => {
                return Some(format!(
                    "the project stands on node {name}, which is revoked or has not begun with it, so this may be its only data: copy \
                     what you need from the host, delete the project, then the leftover"
                ));
            }
            None if !known.in_cluster => {
                return Some(
                    "the project belongs to another cluster: copy what you need from the host, delete the project, then the leftover"
                        .to_owned(),
                );
            }
            None => {}
        }
        if self.generation == 0 || self.slot.is_none() {
            return Some(
                "the node's agent has no record of the project, only remains, so nobody can say whether they are whole: copy what you \
                 need from the host, delete the project, then the leftover"
                    .to_owned(),
            );
        }
        if self.generation != known.generation {
            return Some(format!(
                "the node has generation {} of the project, the control database {}: if the database was restored from a backup, \
                 restore a newer one; otherwise copy what you need from the host, delete the project, then the leftover",
                self.generation, known.generation
            ));
        }
        (known.desired == Desired::Removed).then(|| "the project is being deleted".to_owned())
    }

    /// Why the leftover cannot be deleted, and what helps; `None` if it can.
    pub fn not_deletable(&self) -> Option<String> {
        let known = self.known.as_ref().filter(|known| known.state != ProjectState::Removed)?;
        match &known.stands_on {
            Some((node, _)) if *node == self.node => Some(STANDS_HERE.to_owned()),
            Some(_) if known.has_data => None,
            Some((_, name)) => Some(format!(
                "the project was not deleted, and node {name}, on which it stands, is revoked or has not begun with it, so this may be \
                 its only data: copy what you need from the host, and delete the project first"
            )),
            None => Some(
                "the project was not deleted and stands nowhere, so this may be its only data: adopt the leftover, or delete the \
                 project first"
                    .to_owned(),
            ),
        }
    }
}

/// It is about to vanish from the list.
const STANDS_HERE: &str = "the project stands on this node, so this is no leftover any more";

#[cfg(test)]
mod tests {
    use super::*;

    fn leftover() -> Leftover {
        Leftover {
            node: NodeId::generate(),
            project: ProjectRef::generate(),
            generation: 3,
            slot: Some(0),
            containers: Vec::new(),
            networks: Vec::new(),
            volumes: Vec::new(),
            found_at: DateTime::UNIX_EPOCH,
            delete_requested_at: None,
            delete_error: String::new(),
            known: Some(Known {
                state: ProjectState::ComingUp,
                desired: Desired::Running,
                generation: 3,
                in_cluster: true,
                stands_on: None,
                has_data: false,
            }),
        }
    }

    fn known(change: impl FnOnce(&mut Leftover, &mut Known)) -> Leftover {
        let mut one = leftover();
        let mut known = one.known.clone().unwrap();
        change(&mut one, &mut known);
        Leftover { known: Some(known), ..one }
    }

    #[test]
    fn only_the_same_generation_of_a_project_that_stands_nowhere_is_adopted() {
        assert_eq!(leftover().not_adoptable(), None);
        assert_eq!(known(|_, known| known.desired = Desired::Stopped).not_adoptable(), None);
        let elsewhere = |_: &mut Leftover, known: &mut Known| {
            known.stands_on = Some((NodeId::generate(), "other".into()));
            known.has_data = true;
        };
        let revoked = |_: &mut Leftover, known: &mut Known| {
            known.stands_on = Some((NodeId::generate(), "gone".into()));
        };
        let refused: [(Leftover, &str); 11] = [
            (Leftover { known: None, ..leftover() }, "no project with this ref"),
            (known(revoked), "node gone, which is revoked"),
            (known(|_, known| known.in_cluster = false), "another cluster"),
            (known(|_, known| known.state = ProjectState::Removed), "was deleted"),
            (known(elsewhere), "stands on node other"),
            (known(|one, known| known.stands_on = Some((one.node, "here".into()))), "no leftover any more"),
            (known(|one, _| one.generation = 0), "has no record"),
            (known(|one, _| one.slot = None), "has no record"),
            (known(|_, known| known.generation = 4), "generation 3 of the project, the control database 4"),
            (known(|one, _| one.generation = 4), "restore a newer one"),
            (
                Leftover { delete_requested_at: Some(DateTime::UNIX_EPOCH), ..leftover() },
                "cannot be taken back",
            ),
        ];
        for (one, why) in refused {
            let told = one.not_adoptable().unwrap_or_default();
            assert!(told.contains(why), "{why}: {told}");
        }
    }

    #[test]
    fn what_may_be_the_only_data_of_a_living_project_is_not_deleted() {
        let told = leftover().not_deletable().unwrap();
        assert!(told.contains("adopt the leftover, or delete the project first"), "{told}");
        assert!(known(|one, _| one.generation = 0).not_deletable().is_some(), "nor are its remains");
        let here = known(|one, known| known.stands_on = Some((one.node, "here".into())));
        assert!(here.not_deletable().is_some());
        let stands_on = |has_data| {
            known(|_, known| {
                (known.stands_on, known.has_data) = (Some((NodeId::generate(), "other".into())), has_data);
            })
        };
        let told = stands_on(false).not_deletable().unwrap();
        assert!(told.contains("node other, on which it stands, is revoked"), "{told}");
        let elsewhere = stands_on(true);
        let removed = known(|_, known| known.state = ProjectState::Removed);
        for one in [elsewhere, removed, Leftover { known: None, ..leftover() }] {
            assert_eq!(one.not_deletable(), None);
        }
    }
}
