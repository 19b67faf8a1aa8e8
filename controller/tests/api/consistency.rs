//! The check of consistency finds each difference that is planted, and nothing on a platform that is as it should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Command, Output},
    time::Duration,
};

use supalove_controller::row_checks;
use supalove_proto::{
    node::v1::{HostDifference, StackPhase},
    v1::{CheckConsistencyResponse, OperationState, StopProjectRequest},
};
use supalove_system_tests::{Api, CORE, Controller, DAMAGES, Double, DoubleRecord, SLACK, program, wait_for};

/// The controller knows that a node is gone.
const GONE: Duration = Duration::from_secs(5);
/// The sealer has chained what is older than a second.
const CHAINED: Duration = Duration::from_secs(5);

async fn stop(api: &Api, project_ref: &str) {
    let request = StopProjectRequest { project_ref: project_ref.into(), ..StopProjectRequest::default() };
    let stopping = api.projects().stop_project(request).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(api.wait(&stopping.id).await.state(), OperationState::Succeeded);
}

fn check(controller: &Controller) -> Output {
    let url = controller.dir.path().join("database-url");
    Command::new(program("supalove-controller"))
        .args(["check", "--database-url-file"])
        .arg(url)
        .output()
        .unwrap()
}

/// Objects by check.
fn found(answer: &CheckConsistencyResponse) -> BTreeMap<String, String> {
    let each = answer.differences.iter().map(|one| {
        assert_ne!(one.expected, one.found, "{one:?}");
        (one.check.clone(), one.object.clone())
    });
    each.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_planted_difference_is_found_and_a_healthy_platform_has_none() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let double = Double::join(&controller.node_address, &api.join_token().await, "steady").await;
    api.wait_ready_nodes(1).await;
    let [up, forged, down, gone] = ["up", "forged", "down", "gone"];
    let mut refs = Vec::new();
    for name in [up, forged, down, gone] {
        refs.push(api.create_healthy(name, CORE).await.r#ref);
    }
    let [up, forged, down, gone] = refs.try_into().unwrap();
    stop(&api, &down).await;
    api.delete(&gone, 0).await;
    api.assert_consistent(1).await;
    let clean = check(&controller);
    assert!(clean.status.success(), "{clean:?}");
    let rows = controller.database.rows().await;
    // Its damage is a row taken from the middle.
    wait_for("a chain of audit rows", CHAINED * SLACK, async || {
        (rows.audit_chain_of(rows.organization_id("acme").await).await.1 > 2).then_some(())
    })
    .await;
    each_rule_is_broken_by_its_damage(&controller).await;

    // In memory, at the node, and between the two and the rows.
    rows.shift_session_rows(1).await;
    rows.forge_project(&forged, "PAUSE_FAILED").await;
    rows.reserve_too_much(7).await;
    let stranger = "abcdefghijklmnopqrst";
    {
        let mut state = double.state();
        let record = state.records.get_mut(&up).unwrap();
        record.slot += 20;
        record.phase = StackPhase::Stopped;
        // Not a newer one: that would be taken up.
        state.records.get_mut(&down).unwrap().generation -= 1;
        let strange = DoubleRecord { generation: 1, slot: 30, phase: StackPhase::Healthy };
        state.records.insert(stranger.into(), strange);
        state.differences.push(HostDifference {
            check: "networks".into(),
            project_ref: up.clone(),
            expected: "none".into(),
            found: "stray\n".into(),
        });
    }
    let answer = api.check_consistency().await;
    let node = double.holder.node_id.clone();
    let expected = [
        ("fleet.session_epochs", node.as_str()),
        ("fleet.session_row", &node),
        ("node.networks", &format!("{node} {up}")),
        ("projects.node_reservations", &node),
        ("projects.phase", &up),
        ("projects.slot", &up),
        ("projects.state", &forged),
        ("projects.stored_generation", &down),
        ("projects.unexplained", stranger),
    ];
    assert_eq!(found(&answer), expected.map(|(name, object)| (name.to_owned(), object.to_owned())).into());
    assert_eq!((answer.nodes, answer.not_compared.len()), (1, 0));
    let by_rows = check(&controller);
    let told = String::from_utf8(by_rows.stdout).unwrap();
    assert_eq!(by_rows.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("projects.node_reservations {node}: expected cpu ")), "{told}");

    // A node that is not there is no difference, and not passed over in silence.
    rows.shift_session_rows(-1).await;
    rows.reserve_too_much(-7).await;
    drop(double);
    let told = wait_for("the session to end", GONE * SLACK, async || {
        let answer = api.check_consistency().await;
        (answer.nodes == 0 && !answer.not_compared.is_empty()).then_some(answer.not_compared)
    })
    .await;
    assert!(told[0].contains("steady") && told[0].contains("not connected to this replica"), "{told:?}");
}

/// Each in a transaction of its own, which is taken back.
async fn each_rule_is_broken_by_its_damage(controller: &Controller) {
    let rows = controller.database.rows().await;
    let rules: BTreeSet<&str> = row_checks().iter().map(|check| check.name).collect();
    let damaged: BTreeSet<&str> = DAMAGES.iter().map(|(rule, _)| *rule).collect();
    assert_eq!(rules, damaged, "each rule has its damage");
    for (rule, damage) in DAMAGES {
        let broken = rows.broken_by(damage).await;
        assert!(broken.contains(rule), "{damage} breaks {rule}, but found was {broken:?}");
    }
    assert_eq!(rows.broken_of_all().await, [""; 0]);
}
