//! A host's state folder is put back from an older copy, alone and together with the control database: what runs goes on,
//! and both sides agree again.

use std::{fs, path::Path, process::Command, time::Duration};

use supalove_proto::v1::{OperationState, ProjectState, RestartProjectRequest};
use supalove_system_tests::{Fleet, Options, SLACK, docker, steps_releases, wait_for};

/// Until controller and agent agree again.
const AGREED: Duration = Duration::from_secs(30);

/// Id and start of each container of a project.
fn starts(project_ref: &str) -> Vec<String> {
    let filter = format!("label=supalove.project={project_ref}");
    let ids = docker(None, &["ps", "--all", "--quiet", "--filter", &filter]);
    let ids: Vec<&str> = ids.lines().collect();
    if ids.is_empty() {
        return Vec::new();
    }
    let format = ["inspect", "--format", "{{.Id}} {{.State.StartedAt}}"];
    let mut all: Vec<String> =
        docker(None, &[&format[..], &ids].concat()).lines().map(str::to_owned).collect();
    all.sort();
    all
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// All of a state folder but the projects' data, which no restore of the folder touches, and the log of the test.
fn entries(state: &Path) -> Vec<std::path::PathBuf> {
    let all = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| !["volumes", "agent.log"].iter().any(|kept| path.ends_with(kept))).collect()
}

fn copy(from: &Path, to: &Path) {
    for entry in entries(from) {
        run(Command::new("cp").arg("--archive").arg(entry).arg(to));
    }
}

/// As the guide says: the folder is moved away, and the copy takes its place. Running containers keep what they have mounted.
fn put_back(copied: &Path, state: &Path, away: &Path) {
    for entry in entries(state) {
        fs::rename(&entry, away.join(entry.file_name().unwrap())).unwrap();
    }
    copy(copied, state);
}

async fn restart(fleet: &Fleet, project_ref: &str) {
    let request = RestartProjectRequest { project_ref: project_ref.into(), ..Default::default() };
    let operation =
        fleet.api.projects().restart_project(request).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(fleet.api.wait(&operation.id).await.state(), OperationState::Succeeded);
}

async fn delete(fleet: &Fleet, project_ref: &str) {
    let operation = fleet.api.delete(project_ref, 0).await;
    assert_eq!(fleet.api.wait(&operation.id).await.state(), OperationState::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_from_before_is_put_right_and_takes_no_container_along() {
    let releases = steps_releases();
    let arguments = vec!["--releases-dir".to_owned(), releases.path().display().to_string()];
    let mut fleet = Fleet::start(Options { arguments, ..Options::default() }).await;
    let kept = fleet.api.create_healthy("kept", "steps").await.r#ref;
    let gone = fleet.api.create_healthy("gone", "steps").await.r#ref;
    let state = fleet.agent.state.path().to_owned();
    let copied = tempfile::tempdir_in(state.parent().unwrap()).unwrap();
    let backup = copied.path().join("control.dump");
    let folder = copied.path().join("agent");
    fs::create_dir(&folder).unwrap();
    copy(&state, &folder);
    fleet.controller.database.dump(&backup);

    restart(&fleet, &kept).await;
    let later = fleet.api.create_healthy("later", "steps").await.r#ref;
    delete(&fleet, &gone).await;
    let before = [starts(&kept), starts(&later)];
    assert_eq!(before.each_ref().map(Vec::len), [2, 2]);

    // The folder alone. The controller knows more than it.
    fleet.agent.process.kill();
    let away = copied.path().join("first");
    fs::create_dir(&away).unwrap();
    put_back(&folder, &state, &away);
    fleet.agent.restart();
    fleet.api.wait_ready_nodes(1).await;
    for project in [&kept, &later] {
        fleet.api.wait_state(project, ProjectState::ActiveHealthy, AGREED * SLACK).await;
    }
    wait_for("what was deleted to be gone again", AGREED * SLACK, async || {
        starts(&gone).is_empty().then_some(())
    })
    .await;
    assert_eq!([starts(&kept), starts(&later)], before, "no container was started again");
    // Both sides have the same generations: an act works.
    restart(&fleet, &kept).await;
    restart(&fleet, &later).await;
    let before = [starts(&kept), starts(&later)];

    // The folder and the control database. Neither knows of the project that was created after the copies.
    fleet.agent.process.kill();
    fleet.controller.process.kill();
    let away = copied.path().join("second");
    fs::create_dir(&away).unwrap();
    put_back(&folder, &state, &away);
    fleet.controller.database.restore(&backup);
    fleet.controller.restart().await;
    fleet.agent.restart();
    fleet.api.wait_ready_nodes(1).await;
    fleet.api.wait_state(&kept, ProjectState::ActiveHealthy, AGREED * SLACK).await;
    let node = wait_for("the unknown project to be named", AGREED * SLACK, async || {
        let node = fleet.api.nodes().await.remove(0);
        format!("{node:?}").contains(&later).then_some(node)
    })
    .await;
    println!("{node:?}");
    // What was restarted after the copies starts once more: both sides believe in the restart before.
    assert_eq!(starts(&later), before[1], "no other container was started again");
    restart(&fleet, &kept).await;
    // It was deleted after the copies, so both sides believe in it; a new volume of a cache is no loss.
    fleet.api.wait_state(&gone, ProjectState::ActiveHealthy, AGREED * SLACK).await;
    delete(&fleet, &gone).await;
    assert!(starts(&gone).is_empty());
}
