//! A database's data is never replaced by emptiness: whoever removed it, whatever was removed.

use std::path::{Path, PathBuf};

use crate::support::docker::{container, docker, try_docker};
use crate::support::spec::{postgres, stack};
use crate::support::{Fleet, Session};
use supalove_proto::node::v1::{ApplyStackRequest, RunState, StackError, StackPhase};

const KEPT: &str = "dearaaaaaaaaaaaaaaaa";
const MOVED: &str = "dearbbbbbbbbbbbbbbbb";
/// For a database to come up.
const UP: u64 = 90;
/// For something that is there to be seen, and for a step that failed to be tried again.
const SOON: u64 = 60;

fn sql(project: &str, statement: &str) -> String {
    let psql =
        ["psql", "-h", "/var/run/postgresql", "-U", "supabase_admin", "-d", "postgres", "-Atc", statement];
    docker(&[&["exec", &container(project, "postgres")][..], &psql].concat())
}

fn volume(project: &str, name: &str) -> String {
    format!("supalove_{project}_{name}")
}

/// The folder of a volume.
fn folder(fleet: &Fleet, project: &str, name: &str) -> PathBuf {
    fleet.state.path().join("volumes").join(volume(project, name))
}

async fn apply(session: &mut Session, request: ApplyStackRequest) {
    session.client.apply_stack(session.call(request)).await.unwrap();
}

struct Life<'a> {
    fleet: &'a Fleet,
    project: &'static str,
    generation: u64,
}

impl Life<'_> {
    fn next(&mut self, run_state: RunState) -> ApplyStackRequest {
        self.generation += 1;
        let mut request = stack(self.fleet, self.project, 0, self.generation, vec![postgres()]);
        request.run_state = run_state.into();
        request
    }

    async fn start(&mut self, session: &mut Session, new_volumes: &[&str]) {
        let mut request = self.next(RunState::Running);
        request.new_volumes = new_volumes.iter().map(|name| (*name).to_owned()).collect();
        apply(session, request).await;
    }

    async fn healthy(&self, session: &mut Session) {
        session.wait_for(self.project, self.generation, StackPhase::Healthy, UP).await;
    }

    async fn stop(&mut self, session: &mut Session) {
        let request = self.next(RunState::Stopped);
        apply(session, request).await;
        session.wait_for(self.project, self.generation, StackPhase::Stopped, SOON).await;
    }

    async fn lost(&self, session: &mut Session) -> StackError {
        let what = format!("{} to be without its volume", self.project);
        let is_lost = |stack: &supalove_proto::node::v1::ObservedStack| {
            let error = stack.error.as_ref();
            stack.generation == self.generation && error.is_some_and(|error| error.reason == "VOLUME_LOST")
        };
        let seen = session.wait_until(SOON, &what, is_lost).await;
        assert_ne!(seen.phase(), StackPhase::Healthy);
        seen.error.unwrap()
    }
}

fn set_aside(path: &Path) -> PathBuf {
    let aside = path.with_extension("elsewhere");
    std::fs::rename(path, &aside).unwrap();
    aside
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_volume_is_never_replaced_without_an_explicit_act() {
    let mut fleet = Fleet::start(9).await;
    fleet.run_agent();
    let mut session = fleet.session().await;
    let session = &mut session;
    let mut life = Life { fleet: &fleet, project: KEPT, generation: 0 };
    life.start(session, &[]).await;
    life.healthy(session).await;
    sql(KEPT, "create table dear as select 42 as x");
    let data = folder(&fleet, KEPT, "db_data");

    // The engine's entries go, as by a prune: they hold no data.
    life.stop(session).await;
    for name in ["db_data", "db_config"] {
        docker(&["volume", "rm", &volume(KEPT, name)]);
    }
    life.start(session, &[]).await;
    life.healthy(session).await;
    assert_eq!(sql(KEPT, "select x from dear"), "42");

    // The data itself goes.
    life.stop(session).await;
    let aside = set_aside(&data);
    life.start(session, &[]).await;
    let error = life.lost(session).await;
    assert!(error.permanent && error.message.contains(&volume(KEPT, "db_data")), "{error:?}");
    assert!(
        error.message.contains(data.to_str().unwrap()) && error.message.contains("new_volumes"),
        "{error:?}"
    );
    assert!(!data.exists() && !try_docker(&["inspect", &container(KEPT, "postgres")]).status.success());

    // Another one in its place is no better; nor is the folder without its files.
    std::fs::create_dir_all(data.join("fs/data")).unwrap();
    std::fs::write(data.join("fs/id"), "another").unwrap();
    life.start(session, &[]).await;
    assert!(life.lost(session).await.message.contains("is another volume"));
    std::fs::copy(aside.join("fs/id"), data.join("fs/id")).unwrap();
    life.start(session, &[]).await;
    assert!(life.lost(session).await.message.contains("is empty"));

    // It is restored, and nobody has to say so.
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&aside, &data).unwrap();
    life.healthy(session).await;
    assert_eq!(sql(KEPT, "select x from dear"), "42");

    // It is lost for good. An act for another volume does not help, nor does one replace what is there.
    life.stop(session).await;
    let aside = set_aside(&data);
    life.start(session, &["db_config"]).await;
    life.lost(session).await;
    life.start(session, &["db_data", "db_config"]).await;
    life.healthy(session).await;
    assert_eq!(sql(KEPT, "select to_regclass('dear') is null"), "t");
    std::fs::remove_dir_all(&aside).unwrap();

    // The act held once: a second loss is a new one. The database runs, and ends with its files.
    let aside = set_aside(&data);
    docker(&["kill", &container(KEPT, "postgres")]);
    life.lost(session).await;
    std::fs::rename(&aside, &data).unwrap();
    life.healthy(session).await;
}

/// Makes a volume as agents before this one did: with its data in the engine's folder, and unknown.
fn make_old(fleet: &Fleet, project: &str, name: &str) {
    let full = volume(project, name);
    let format = r"{{range $name, $value := .Labels}}{{$name}}={{$value}} {{end}}";
    let labels = docker(&["volume", "inspect", "--format", format, &full]);
    docker(&["volume", "rm", &full]);
    let mut create = vec!["volume", "create"];
    for label in labels.split_whitespace() {
        create.extend(["--label", label]);
    }
    create.push(&full);
    docker(&create);
    let place = docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", &full]);
    let folder = folder(fleet, project, name);
    let content = folder.join("fs/data/.");
    // Perhaps from one file system to another.
    let copied = std::process::Command::new("cp").arg("-a").arg(content).arg(&place).status().unwrap();
    assert!(copied.success());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_volume_moves_over_with_its_data() {
    let mut fleet = Fleet::start(10).await;
    fleet.run_agent();
    let mut session = fleet.session().await;
    let mut life = Life { fleet: &fleet, project: MOVED, generation: 0 };
    life.start(&mut session, &[]).await;
    life.healthy(&mut session).await;
    sql(MOVED, "create table dear as select 42 as x");
    life.stop(&mut session).await;
    for name in ["db_data", "db_config"] {
        make_old(&fleet, MOVED, name);
    }
    std::fs::remove_file(fleet.state.path().join(format!("records/{MOVED}.volumes"))).unwrap();

    life.start(&mut session, &[]).await;
    life.healthy(&mut session).await;
    assert_eq!(sql(MOVED, "select x from dear"), "42");
    for name in ["db_data", "db_config"] {
        let device = docker(&["volume", "inspect", "--format", "{{.Options.device}}", &volume(MOVED, name)]);
        assert_eq!(Path::new(&device), folder(&fleet, MOVED, name).join("fs/data"));
    }
}
