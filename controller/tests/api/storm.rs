//! A storm of random concurrent acts on a few projects, against PostgreSQL and doubles of agents; then everything must fit:
//! each operation has ended, each state is what its node holds, and all counters are the sums of their rows.
//!
//! A seed decides the acts and the doubles' choices, not the order in which the acts meet. `make storm SEEDS=1000` runs
//! many; a failure names its seed, and `SUPALOVE_STORM_FIRST` begins with it.

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use futures::future::join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use supalove_proto::{
    node::v1::StackPhase,
    v1::{
        CancelOperationRequest, CreateProjectRequest, DeleteProjectRequest, GetProjectRequest,
        ListOperationsRequest, ListProjectsRequest, OperationState, Project, ProjectState,
        RestartProjectRequest, StartProjectRequest, StopProjectRequest, UndeleteProjectRequest,
    },
};
use supalove_system_tests::{Api, BusyDouble, Controller, Manners, Rows, turn_alone, wait_for};
use tonic::{Code, Status};

/// Seeds of an ordinary run.
const SEEDS: u64 = 20;
/// Callers at a time, and acts of each.
const CALLERS: u64 = 6;
const ACTS: u64 = 8;
/// Projects that they fight over.
const PROJECTS: u64 = 3;
/// Until all must be quiet after the last act.
const QUIET: Duration = Duration::from_mins(1);

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn random_concurrent_acts_leave_everything_true() {
    turn_alone();
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    rows.set_projects_limit(1000).await;
    let bad = [
        Manners::default(),
        Manners { work: Duration::from_millis(300), deaf_every: 7, nonsense: false },
        Manners { nonsense: true, ..Manners::default() },
    ];
    let mut doubles = Vec::new();
    for (number, manners) in (0..).zip(bad) {
        let name = format!("double-{number}");
        doubles.push(BusyDouble::join(&controller, &api.join_token().await, &name, number, manners).await);
    }
    api.wait_ready_nodes(doubles.len()).await;

    let first = number("SUPALOVE_STORM_FIRST", 0);
    let count = number("SUPALOVE_STORM_SEEDS", SEEDS);
    let began = Instant::now();
    for seed in first..first + count {
        storm(&api, &doubles, seed).await;
        let broken = settled(&api, &rows, &doubles).await;
        assert!(broken.is_empty(), "seed {seed}: {broken:#?}");
        clear(&api, seed).await;
        doubles.iter().for_each(BusyDouble::forget_removed);
    }
    println!("{count} storms in {:?}, 0 broken invariants", began.elapsed());
}

/// All callers at once; the cables of the doubles are cut now and then.
async fn storm(api: &Api, doubles: &[BusyDouble], seed: u64) {
    let callers = (0..CALLERS).map(|caller| {
        let api = api.clone();
        let mut dice = SmallRng::seed_from_u64(seed * CALLERS + caller);
        async move {
            for _ in 0..ACTS {
                let name = format!("s{seed}-{}", dice.random_range(0..PROJECTS));
                act(&api, &mut dice, &name).await;
                if caller == 0 && dice.random_range(0..6) == 0 {
                    doubles[dice.random_range(0..doubles.len())].cut();
                }
                tokio::time::sleep(Duration::from_millis(dice.random_range(0..40))).await;
            }
        }
    });
    join_all(callers).await;
}

/// One random act on the project of this name. It may be refused, but only in words that fit.
async fn act(api: &Api, dice: &mut SmallRng, name: &str) {
    let chosen = dice.random_range(0..10);
    let known = named(api, name).await;
    let Some(project) = known.filter(|_| chosen > 0) else {
        let request = CreateProjectRequest {
            organization: "acme".into(),
            name: name.into(),
            ..CreateProjectRequest::default()
        };
        fits(api.projects().create_project(request).await.map(drop));
        return;
    };
    let project_ref = project.r#ref;
    let outcome = match chosen {
        1 | 2 => {
            let request = StopProjectRequest { project_ref, ..StopProjectRequest::default() };
            api.projects().stop_project(request).await.map(drop)
        }
        3 | 4 => {
            let request = StartProjectRequest { project_ref, ..StartProjectRequest::default() };
            api.projects().start_project(request).await.map(drop)
        }
        5 => {
            let request = RestartProjectRequest { project_ref, ..RestartProjectRequest::default() };
            api.projects().restart_project(request).await.map(drop)
        }
        6 => {
            // At once, or with time to think.
            let seconds = if dice.random_range(0..2) == 0 { 0 } else { 3600 };
            let undo_window = Some(prost_types::Duration { seconds, nanos: 0 });
            let request =
                DeleteProjectRequest { project_ref, undo_window, ..DeleteProjectRequest::default() };
            api.projects().delete_project(request).await.map(drop)
        }
        7 => {
            let request = UndeleteProjectRequest { project_ref, ..UndeleteProjectRequest::default() };
            api.projects().undelete_project(request).await.map(drop)
        }
        8 => cancel_newest(api, project_ref).await,
        _ => api.projects().get_project(GetProjectRequest { project_ref }).await.map(drop),
    };
    fits(outcome);
}

async fn cancel_newest(api: &Api, project_ref: String) -> Result<(), Status> {
    let request = ListOperationsRequest { project_ref, page_size: 1, ..ListOperationsRequest::default() };
    let listed = api.operations().list_operations(request).await?.into_inner();
    let Some(newest) = listed.operations.into_iter().next() else { return Ok(()) };
    api.operations().cancel_operation(CancelOperationRequest { operation_id: newest.id }).await.map(drop)
}

/// An act that comes too late or too early is refused; nothing else may go wrong.
fn fits(outcome: Result<(), Status>) {
    if let Err(status) = outcome {
        let late = [Code::FailedPrecondition, Code::NotFound, Code::AlreadyExists, Code::Aborted];
        assert!(late.contains(&status.code()), "{status:?}");
    }
}

async fn all(api: &Api) -> Vec<Project> {
    let request =
        ListProjectsRequest { show_deleted: true, page_size: 100, ..ListProjectsRequest::default() };
    api.projects().list_projects(request).await.unwrap().into_inner().projects
}

async fn named(api: &Api, name: &str) -> Option<Project> {
    all(api).await.into_iter().find(|project| project.name == name)
}

/// Waits until no operation is open and each project is as its node holds it; returns what never fitted.
async fn settled(api: &Api, rows: &Rows, doubles: &[BusyDouble]) -> Vec<String> {
    let until = Instant::now() + QUIET;
    loop {
        let mut wrong = differences(api, doubles).await;
        wrong.extend(rows.broken_of_all().await);
        if wrong.is_empty() || Instant::now() > until {
            return wrong;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Compares what the controller says of each project with what the nodes hold.
async fn differences(api: &Api, doubles: &[BusyDouble]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut held = BTreeMap::new();
    for double in doubles {
        for (project, stack) in double.held() {
            if held.insert(project.clone(), stack.phase).is_some() {
                wrong.push(format!("{project} is on two nodes"));
            }
        }
    }
    let projects = all(api).await;
    for project in &projects {
        let project_ref = &project.r#ref;
        let there = held.remove(project_ref);
        let fits = match project.state() {
            ProjectState::ActiveHealthy => there == Some(StackPhase::Healthy),
            // A create that was cancelled before it was placed is nowhere.
            ProjectState::Inactive => matches!(there, Some(StackPhase::Stopped) | None),
            // Deleted: stopped, until its window ends.
            ProjectState::GoingDown => matches!(there, Some(StackPhase::Stopped) | None),
            // A cancelled create or start: the desired state is "stopped".
            ProjectState::InitFailed | ProjectState::ActiveUnhealthy => {
                matches!(there, Some(StackPhase::Stopped) | None)
            }
            _ => false,
        };
        let state = project.state().as_str_name();
        if !fits {
            wrong.push(format!("{project_ref} ({}) is {state}, its node says {there:?}", project.name));
        }
        let request =
            ListOperationsRequest { project_ref: project_ref.clone(), ..ListOperationsRequest::default() };
        let operations = api.operations().list_operations(request).await.unwrap().into_inner().operations;
        let is_open =
            |state: OperationState| matches!(state, OperationState::Pending | OperationState::Running);
        let open = operations.iter().filter(|one| is_open(one.state())).count();
        if open > 0 {
            wrong.push(format!("{project_ref} ({}) is {state} with {open} open operations", project.name));
        }
    }
    wrong.extend(held.keys().map(|project| format!("{project} is on a node and nowhere else")));
    wrong
}

/// Deletes what the seed has made, so that the next begins on empty nodes.
async fn clear(api: &Api, seed: u64) {
    wait_for("the projects of the storm to be gone", QUIET, async || {
        let left: Vec<_> = all(api).await;
        for project in left.iter().filter(|project| project.state() != ProjectState::GoingDown) {
            let _ = delete_at_once(api, &project.r#ref).await;
        }
        for project in left.iter().filter(|project| project.state() == ProjectState::GoingDown) {
            if project.purge_time.is_some() {
                let request = UndeleteProjectRequest {
                    project_ref: project.r#ref.clone(),
                    ..UndeleteProjectRequest::default()
                };
                let _ = api.projects().undelete_project(request).await;
            }
        }
        left.is_empty().then_some(())
    })
    .await;
    assert!(all(api).await.is_empty(), "seed {seed}");
}

async fn delete_at_once(api: &Api, project_ref: &str) -> Result<(), Status> {
    let request = DeleteProjectRequest {
        project_ref: project_ref.into(),
        undo_window: Some(prost_types::Duration::default()),
        ..DeleteProjectRequest::default()
    };
    api.projects().delete_project(request).await.map(drop)
}
