//! The controller dies while an image is pushed or garbage is collected, the agent while it fetches one: a push and a fetch go on
//! where they ended, no image is lost, and no row names bytes that are not there.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

use supalove_failpoints::{ARMED, DIRECTORY, FIRED, POINTS};
use supalove_proto::v1::{CollectImageGarbageRequest, DeleteImageRequest, OperationState};
use supalove_system_tests::{
    Agent, AgentOptions, Api, Controller, EMAIL, Options, PASSWORD, SLACK, SmallImage, copy_core, core_image,
    docker, find_missing, program, random_bytes, try_docker, upload, wait_for,
};

/// The points of this test: no act on a project passes them.
pub const PREFIXES: [&str; 2] = ["controller.images.", "agent.images."];

const DIES: Duration = Duration::from_mins(2);

fn arm(points: &Path, point: &str, pass: u32) {
    let _ = fs::remove_file(points.join(FIRED));
    fs::write(points.join("draft"), format!("{point} {pass} -")).unwrap();
    fs::rename(points.join("draft"), points.join(ARMED)).unwrap();
}

async fn death(points: &Path, point: &str) {
    wait_for(&format!("a death at {point}"), DIES * SLACK, async || {
        points.join(FIRED).exists().then_some(())
    })
    .await;
}

fn options(points: &Path) -> Options {
    let environment = vec![(DIRECTORY.to_owned(), points.display().to_string())];
    Options { environment, ..Options::default() }
}

async fn restarted(controller: &mut Controller, operator: &Api) -> Api {
    controller.process.interrupt();
    controller.restart().await;
    let mut api = controller.api();
    api.use_token(&operator.token);
    api
}

#[tokio::test]
async fn a_push_and_a_collection_survive_the_death_of_the_controller() {
    let points = tempfile::tempdir().unwrap();
    let mut controller = Controller::start_with(options(points.path())).await;
    let mut operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let here: Vec<_> =
        POINTS.iter().map(|point| point.name).filter(|name| name.starts_with(PREFIXES[0])).collect();
    for point in here {
        let image = SmallImage::with_layer("test/push:1", "amd64", random_bytes(20 << 20));
        if point == "controller.images.rows_removed" {
            image.push(&operator).await.unwrap();
            let request = DeleteImageRequest { name: image.name.clone(), ..Default::default() };
            operator.images().delete_image(request).await.unwrap();
            rows.age_images().await;
            arm(points.path(), point, 1);
            let request = CollectImageGarbageRequest { dry_run: false };
            assert!(operator.images().collect_image_garbage(request).await.is_err(), "it dies");
            death(points.path(), point).await;
            operator = restarted(&mut controller, &operator).await;
            assert_eq!(find_missing(&operator, &[&image.layer]).await[0].offset, 0);
        } else {
            // In the middle of the second of three parts.
            arm(points.path(), point, 2);
            assert!(upload(&operator, &image.layer, 0, image.layer.len()).await.is_err(), "it dies");
            death(points.path(), point).await;
            operator = restarted(&mut controller, &operator).await;
            let offset = find_missing(&operator, &[&image.layer]).await[0].offset;
            let noted = if point.ends_with("part_noted") { 16 } else { 8 };
            assert!(offset >= noted << 20 && offset < 20 << 20, "{point}: goes on at {offset}");
            println!("{point}: died once, the upload goes on at {} MiB", offset >> 20);
        }
        image.push(&operator).await.unwrap();
        let present: BTreeSet<String> = fs::read_dir(controller.dir.path().join("images/content"))
            .unwrap()
            .map(|entry| format!("content/{}", entry.unwrap().file_name().to_str().unwrap()))
            .collect();
        for object in rows.image_objects().await {
            assert!(present.contains(&object), "{point}: {object} is not there, and a row names it");
        }
    }
}

/// An image of core's functions that no engine has any more, in a file.
struct Gone {
    name: String,
    file: tempfile::NamedTempFile,
}

impl Gone {
    fn new() -> Self {
        let name = format!("supalove/test-{}:1", uuid::Uuid::new_v4().simple());
        let container = docker(None, &["create", &core_image("functions")]);
        docker(None, &["commit", "--change", &format!("LABEL test={name}"), &container, &name]);
        docker(None, &["rm", &container]);
        let file = tempfile::NamedTempFile::new().unwrap();
        docker(None, &["save", "--output", &file.path().display().to_string(), &name]);
        docker(None, &["rmi", &name]);
        Self { name, file }
    }

    fn push(&self, controller: &Controller) {
        let home = tempfile::tempdir().unwrap();
        let file = self.file.path().display().to_string();
        for arguments in [&["login", "--email", EMAIL][..], &["images", "push", "--file", &file]] {
            let mut command = Command::new(program("supalove"));
            command
                .args(arguments)
                .env("SUPALOVE_API", format!("http://127.0.0.1:{}", controller.public_port))
                .env("XDG_CONFIG_HOME", home.path())
                .env("SUPALOVE_PASSWORD", PASSWORD);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

impl Drop for Gone {
    fn drop(&mut self) {
        // It is there if the test came so far.
        let _ = try_docker(None, &["rmi", "--force", &self.name]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_survives_the_death_of_the_agent_at_each_step() {
    let gone = Gone::new();
    let releases = tempfile::tempdir().unwrap();
    copy_core(releases.path(), "fetched", |yaml| yaml.replacen(&core_image("functions"), &gone.name, 1));
    let arguments = vec!["--releases-dir".to_owned(), releases.path().display().to_string()];
    let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let operator = controller.operator().await;
    gone.push(&controller);
    let points = tempfile::tempdir().unwrap();
    let environment = vec![(DIRECTORY.to_owned(), points.path().display().to_string())];
    let options = AgentOptions { environment, ..AgentOptions::default() };
    let mut agent = Agent::start_with(&controller, &operator.join_token().await, options);
    operator.wait_ready_nodes(1).await;
    let here = POINTS.iter().map(|point| point.name).filter(|name| name.starts_with(PREFIXES[1]));
    let mut created = None;
    for point in here {
        // A few MiB after the beginning; later runs find the image loaded, or its content complete.
        arm(points.path(), point, if point.ends_with("chunk") { 100 } else { 1 });
        if created.is_none() {
            created = Some(operator.create("fetched", "fetched").await);
        }
        death(points.path(), point).await;
        println!("{point}: the agent died once");
        agent.process.interrupt();
        agent.restart();
    }
    let operation = operator.wait(&created.unwrap().operation.unwrap().id).await;
    assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
    assert_eq!(
        docker(None, &["image", "inspect", "--format", "{{index .Config.Labels \"test\"}}", &gone.name]),
        gone.name
    );
}
