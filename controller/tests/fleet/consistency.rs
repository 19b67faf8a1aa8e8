//! What is changed on a host behind the agent's back is found by the check of consistency, and named.

use std::{collections::BTreeMap, fs};

use supalove_proto::v1::{OperationState, StopProjectRequest};
use supalove_system_tests::{CORE, Fleet, Options, docker};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_behind_the_agents_back_is_found() {
    let fleet = Fleet::start(Options::default()).await;
    let api = &fleet.api;
    let up = api.create_healthy("up", CORE).await.r#ref;
    let down = api.create_healthy("down", CORE).await.r#ref;
    let request = StopProjectRequest { project_ref: down.clone(), ..StopProjectRequest::default() };
    let stopping = api.projects().stop_project(request).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(api.wait(&stopping.id).await.state(), OperationState::Succeeded);
    api.assert_consistent(1).await;

    let label = |name: &str, value: &str| format!("supalove.{name}={value}");
    let mine = label("fleet", &fleet.controller.fleet);
    let gone = "abcdefghijklmnopqrst";
    let add_network = |project: &str| {
        let name = format!("stray_{project}");
        let labels = [mine.clone(), label("project", project)];
        docker(None, &["network", "create", "--label", &labels[0], "--label", &labels[1], &name]);
        name
    };
    let strays = [&up, &down, gone].map(add_network);
    let state = fleet.agent.state.path();
    let folder = state.join("projects").join(gone);
    fs::create_dir_all(&folder).unwrap();
    let volume = state.join(format!("volumes/supalove_{down}_db_data"));
    let hidden = state.join("hidden");
    fs::rename(&volume, &hidden).unwrap();
    docker(None, &["volume", "rm", &format!("supalove_{down}_db_data")]);
    let record = state.join(format!("records/{down}.sealed"));
    fs::copy(&record, state.join(format!("records/{gone}.sealed"))).unwrap();
    let kept = fs::read(&record).unwrap();
    fs::remove_file(&record).unwrap();

    let answer = api.check_consistency().await;
    let node = api.nodes().await.remove(0).id;
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in &answer.differences {
        found.entry(one.object.clone()).or_default().push(one.check.clone());
    }
    let expected = [
        (format!("{node} {up}"), vec!["node.networks"]),
        (format!("{node} {down}"), vec!["node.files", "node.networks", "node.volumes"]),
        (format!("{node} {gone}"), vec!["node.files", "node.files", "node.networks"]),
        (gone.to_owned(), vec!["projects.unexplained"]),
    ];
    let expected = expected.map(|(object, checks)| (object, checks.into_iter().map(str::to_owned).collect()));
    assert_eq!(found, BTreeMap::from(expected), "{:#?}", answer.differences);

    // As it was.
    for stray in strays {
        docker(None, &["network", "rm", &stray]);
    }
    fs::remove_dir(&folder).unwrap();
    fs::rename(&hidden, &volume).unwrap();
    fs::write(&record, kept).unwrap();
    fs::remove_file(state.join(format!("records/{gone}.sealed"))).unwrap();
    api.assert_consistent(1).await;
}
