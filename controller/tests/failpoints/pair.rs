//! A controller and an agent, a project under test, and a healthy neighbour that nothing may affect.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use supalove_failpoints::{ARMED, DIRECTORY, FIRED, PASSED, Side};
use supalove_proto::v1::Operation;
use supalove_system_tests::{
    Agent, AgentOptions, Controller, Fleet, Options, Rows, docker, steps_releases, try_docker, wait_for,
};
use tempfile::TempDir;

use super::{
    acts::{Act, Release, Request, STEPS},
    checks::{self, Expected},
    rows::{Row, Scene},
};

/// Timeout until a process passes a point; the slowest case waits for a job's lease to expire.
const DEATH: Duration = Duration::from_mins(3);
/// Timeout from a restart until every check passes.
const CONVERGED: Duration = Duration::from_mins(3);
/// `SIGABRT`: how a process dies at a failpoint. Nothing is unwound or flushed, as with SIGKILL.
const ABORTED: i32 = 6;

/// Looks at containers that come and go.
const TRIES: usize = 20;

/// A container: name, id, when it was started.
pub type Containers = BTreeSet<(String, String, String)>;

pub struct Pair {
    /// Both processes.
    pub fleet: Fleet,
    /// The control database.
    pub rows: Rows,
    /// The neighbour's ref.
    pub neighbour: String,
    neighbour_containers: Containers,
    neighbour_events: i64,
    /// The project's ref; its name before it is created.
    pub project: String,
    release: &'static Release,
    /// Acts on the project so far.
    acts: usize,
    /// Projects so far.
    projects: usize,
    points: TempDir,
    _releases: TempDir,
}

impl Pair {
    /// Starts both and the neighbour.
    pub async fn start() -> Self {
        let points = TempDir::new().unwrap();
        let releases = steps_releases();
        let options = Options {
            arguments: vec!["--releases-dir".into(), releases.path().display().to_string()],
            environment: environment(points.path(), Side::Controller),
            ..Options::default()
        };
        let controller = Controller::start_with(options).await;
        let api = controller.operator().await;
        let options =
            AgentOptions { environment: environment(points.path(), Side::Agent), ..AgentOptions::default() };
        let agent = Agent::start_with(&controller, &api.join_token().await, options);
        api.wait_ready_nodes(1).await;
        let neighbour = api.create_healthy("neighbour", "steps").await.r#ref;
        let rows = controller.database.rows().await;
        let fleet = Fleet { api, agent, controller };
        let mut pair = Self {
            fleet,
            rows,
            neighbour_containers: containers(&neighbour),
            neighbour_events: 0,
            neighbour,
            project: String::new(),
            release: &STEPS,
            acts: 0,
            projects: 1,
            points,
            _releases: releases,
        };
        pair.neighbour_events = pair.rows.newest_event(&pair.neighbour).await;
        assert_eq!(pair.neighbour_containers.len(), 2);
        pair
    }

    /// Performs an act; with a row, one process dies in the middle. Returns the time from the death until every check
    /// passes; panics if they do not pass.
    pub async fn run(&mut self, act: Act, row: Option<&Row>) -> Duration {
        let scene = row.map_or(Scene::Usual, |row| row.scene);
        if act == Act::Create {
            self.projects += 1;
            self.acts = 0;
            self.project = format!("project-{}", self.projects);
        }
        let before = if act == Act::Create { Containers::new() } else { containers(&self.project) };
        let request = Request::new(act, &self.project, scene);
        if act == Act::Create {
            self.release = request.release();
        }
        let (began, survivors) = match row {
            None => {
                let operation = request.insist(&self.fleet.api).await;
                self.asked(&operation);
                (Instant::now(), Containers::new())
            }
            Some(row) => self.die(row, &request).await,
        };
        self.acts += 1;
        self.converge(act, scene).await;
        let took = began.elapsed();
        self.check_survivors(act, &before, &survivors);
        if act == Act::Create {
            checks::leave_mark(&self.project, self.release);
        }
        took
    }

    /// Asks for the act, lets the process die and starts it again. Answers when that was, and which containers there
    /// were.
    async fn die(&mut self, row: &Row, request: &Request) -> (Instant, Containers) {
        let away = matches!(row.scene, Scene::AgentAway | Scene::TimeUp);
        if away {
            self.fleet.agent.process.kill();
        }
        let state = self.fleet.agent.state.path();
        match row.scene {
            Scene::OldVolumes => checks::make_volumes_old(&self.project, self.release, state),
            Scene::LostCache => checks::lose_first_volume(&self.project, self.release),
            _ => {}
        }
        if row.scene == Scene::NoRoom {
            self.rows.fill_memory().await;
        } else {
            self.arm(row);
        }
        let api = self.fleet.api.clone();
        if matches!(
            row.scene,
            Scene::Usual | Scene::ShortWindow | Scene::Database | Scene::OldVolumes | Scene::LostCache
        ) {
            let (operation, began) = tokio::join!(request.insist(&api), self.revive(row));
            self.asked(&operation);
            return began;
        }
        let operation = request.insist(&api).await;
        self.asked(&operation);
        match row.scene {
            Scene::NoRoom => {
                self.arm(row);
                self.rows.set_memory(100_000).await;
            }
            Scene::TimeUp => assert_eq!(self.rows.end_times().await, 1),
            Scene::DatabaseDies => self.kill_database().await,
            _ => self.fleet.agent.restart(),
        }
        let began = self.revive(row).await;
        if row.scene == Scene::TimeUp {
            self.wait_for_operation("FAILED").await;
            self.fleet.agent.restart();
        }
        began
    }

    fn asked(&mut self, operation: &Operation) {
        self.project.clone_from(&operation.project_ref);
    }

    fn arm(&self, row: &Row) {
        let dir = directory(self.points.path(), side(row));
        let _ = fs::remove_file(dir.join(FIRED));
        // Renamed, so that it is never read half-written.
        let unfinished = dir.join("arming");
        fs::write(&unfinished, format!("{} {} {}", row.point, row.pass, self.neighbour)).unwrap();
        fs::rename(unfinished, dir.join(ARMED)).unwrap();
    }

    /// Waits for the death and starts the process again.
    async fn revive(&mut self, row: &Row) -> (Instant, Containers) {
        let fired = directory(self.points.path(), side(row)).join(FIRED);
        let Fleet { agent, controller, .. } = &mut self.fleet;
        let (dying, other) = match side(row) {
            Side::Controller => (&mut controller.process, &mut agent.process),
            Side::Agent => (&mut agent.process, &mut controller.process),
        };
        let status = wait_for(&format!("a death at {}", row.point), DEATH, async || dying.ended()).await;
        assert_eq!(status.signal(), Some(ABORTED), "{}", dying.log());
        assert!(fired.exists(), "it died elsewhere: {}", dying.log());
        if row.scene != Scene::TimeUp {
            other.assert_alive();
        }
        let survivors = self.running_or_not();
        let began = Instant::now();
        match side(row) {
            Side::Controller => self.fleet.controller.restart().await,
            Side::Agent => self.fleet.agent.restart(),
        }
        (began, survivors)
    }

    /// Containers of the fleet but the neighbour's: a project that is being created has no known ref yet.
    fn running_or_not(&self) -> Containers {
        let all = labelled_containers(&format!("supalove.fleet={}", self.fleet.controller.fleet));
        all.difference(&self.neighbour_containers).cloned().collect()
    }

    /// In the middle of its first start.
    async fn kill_database(&self) {
        let database = format!("supalove_{}_postgres", self.project);
        wait_for("the middle of the first start", DEATH, async || {
            let said = try_docker(None, &["logs", &database]);
            said.is_ok_and(|said| said.contains("first start: init-scripts/")).then_some(())
        })
        .await;
        docker(None, &["kill", &database]);
    }

    async fn wait_for_operation(&self, state: &str) {
        wait_for(&format!("an operation to be {state}"), CONVERGED, async || {
            (self.rows.standing(&self.project).await.operation == state).then_some(())
        })
        .await;
    }

    /// Waits until everything is as the act wants it.
    async fn converge(&mut self, act: Act, scene: Scene) {
        let expected = Expected {
            project: &self.project,
            release: self.release,
            act,
            operation: if scene == Scene::TimeUp { "FAILED" } else { "SUCCEEDED" },
            acts: i64::try_from(self.acts).unwrap(),
            projects: i64::try_from(self.projects).unwrap(),
        };
        let until = Instant::now() + CONVERGED;
        loop {
            let wrong = checks::wrong(self, &expected).await;
            if wrong.is_empty() {
                break;
            }
            assert!(
                Instant::now() < until,
                "{act:?} of {} did not end as asked: {wrong:#?}\n\n{}\n\n{}",
                self.project,
                tail(&self.fleet.controller.process.log()),
                tail(&self.fleet.agent.process.log()),
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.fleet.controller.process.assert_alive();
        self.fleet.agent.process.assert_alive();
        assert_eq!(containers(&self.neighbour), self.neighbour_containers, "the neighbour was touched");
        if scene == Scene::TimeUp {
            // Its node was silent until the deadline counted. It is up again before the next act begins.
            self.fleet.api.wait_ready_nodes(1).await;
            wait_for("the neighbour to be up", CONVERGED, async || {
                (self.rows.standing(&self.neighbour).await.state == "ACTIVE_HEALTHY").then_some(())
            })
            .await;
            let told = self.rows.event_types_after(&self.neighbour, self.neighbour_events).await;
            assert!(told.iter().all(|kind| kind == "state.changed"), "more than the silence: {told:?}");
            self.neighbour_events = self.rows.newest_event(&self.neighbour).await;
        }
        let events = self.rows.newest_event(&self.neighbour).await;
        assert_eq!(events, self.neighbour_events, "something was told about the neighbour");
    }

    /// Checks that containers from before the death were neither recreated nor restarted.
    fn check_survivors(&self, act: Act, before: &Containers, survivors: &Containers) {
        if !act.runs() {
            return;
        }
        let now = containers(&self.project);
        for made in survivors.difference(before) {
            let (name, id, started) = made;
            let kept = now.iter().find(|(_, other, _)| other == id);
            let (_, _, started_now) = kept.unwrap_or_else(|| panic!("{name} was made again: {now:?}"));
            let was_started = !started.starts_with("0001-");
            assert!(!was_started || started == started_now, "{name} was started again: {now:?}");
        }
    }

    /// Adds how often each point was passed.
    pub fn count_passes(&self, passed: &mut BTreeMap<String, usize>) {
        for side in [Side::Controller, Side::Agent] {
            let lines = fs::read_to_string(directory(self.points.path(), side).join(PASSED)).unwrap();
            for line in lines.lines() {
                let (point, _) = line.split_once(' ').unwrap();
                *passed.entry(point.to_owned()).or_default() += 1;
            }
        }
    }
}

fn side(row: &Row) -> Side {
    if row.point.starts_with("agent.") { Side::Agent } else { Side::Controller }
}

fn directory(points: &Path, side: Side) -> PathBuf {
    points.join(format!("{side:?}"))
}

fn environment(points: &Path, side: Side) -> Vec<(String, String)> {
    let dir = directory(points, side);
    fs::create_dir(&dir).unwrap();
    vec![(DIRECTORY.to_owned(), dir.display().to_string())]
}

/// Containers of a project.
pub fn containers(project: &str) -> Containers {
    labelled_containers(&format!("supalove.project={project}"))
}

fn labelled_containers(label: &str) -> Containers {
    let words = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap(), words.next().unwrap())
    };
    for _ in 0..TRIES {
        let list = ["ps", "--all", "--quiet", "--no-trunc", "--filter", &format!("label={label}")];
        let ids = docker(None, &list);
        let ids: Vec<&str> = ids.lines().collect();
        let look = ["inspect", "--format", "{{.Name}} {{.Id}} {{.State.StartedAt}}"];
        // One may go in between.
        match try_docker(None, &[&look[..], &ids].concat()) {
            Ok(listed) => return listed.lines().map(words).collect(),
            Err(_) if ids.is_empty() => return Containers::new(),
            Err(_) => {}
        }
    }
    panic!("the containers of {label} cannot be looked at")
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
