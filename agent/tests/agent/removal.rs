//! Removing, at awkward moments: nothing is left behind, and the answer can be asked for again.

use std::time::Duration;

use crate::support::docker::{labelled, rules};
use crate::support::spec::{gateway, postgres, stack};
use crate::support::{Fleet, Session};
use supalove_agent::config::Times;
use supalove_proto::node::v1::{RemoveStackRequest, StackPhase};

const ONE: &str = "goneaaaaaaaaaaaaaaaa";
const TWO: &str = "gonebbbbbbbbbbbbbbbb";

async fn remove(session: &mut Session, project: &str, generation: u64) {
    let removal = RemoveStackRequest { project_ref: project.into(), generation, delete_volumes: true };
    session.client.remove_stack(session.call(removal)).await.unwrap();
    session.wait_for(project, generation, StackPhase::Removed, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_removed_while_it_is_made_leaves_nothing() {
    let mut fleet = Fleet::start(6).await;
    fleet.run_agent();
    let mut session = fleet.session().await;
    for (generation, pause) in (1..).zip([0, 20, 50, 100, 150, 200, 300, 500, 900]) {
        let request = stack(&fleet, ONE, 0, generation, vec![gateway(), postgres()]);
        session.client.apply_stack(session.call(request)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        remove(&mut session, ONE, generation).await;
        let label = format!("supalove.project={ONE}");
        // What the engine would still finish, it finishes now.
        tokio::time::sleep(Duration::from_millis(500)).await;
        for kind in ["container", "network", "volume"] {
            assert_eq!(labelled(kind, &label), [""; 0], "{kind} after {pause} ms");
        }
        assert!(!rules().contains(&format!("p_{ONE}")));
        assert_eq!(fleet.files_with(ONE), [""; 0].map(std::path::PathBuf::from));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_project_is_forgotten_and_answered_for_again() {
    let mut fleet = Fleet::start(7).await;
    let times =
        Times { truth: Duration::from_millis(200), removed_kept: Duration::from_secs(2), ..Times::DEFAULT };
    let stop = fleet.run_agent_here(&times);
    let mut session = fleet.session().await;
    // Of a project that this node never saw, of one that it removed, and of one that it has forgotten.
    remove(&mut session, TWO, 3).await;
    remove(&mut session, TWO, 3).await;
    until_forgotten(&mut session).await;
    remove(&mut session, TWO, 3).await;
    until_forgotten(&mut session).await;
    let older = RemoveStackRequest { project_ref: TWO.into(), generation: 2, delete_volumes: true };
    assert!(session.client.remove_stack(session.call(older)).await.is_err(), "the tombstone stays");
    let again = stack(&fleet, TWO, 0, 4, vec![gateway()]);
    session.client.apply_stack(session.call(again)).await.unwrap();
    session.wait_for(TWO, 4, StackPhase::Healthy, 60).await;
    remove(&mut session, TWO, 5).await;
    stop.cancel();
}

/// Waits until the snapshot of a new watch is empty.
async fn until_forgotten(session: &mut Session) {
    for _ in 0..50 {
        if session.snapshot().await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("still there: {:#?}", session.snapshot().await);
}
