//! A host that has no image and reaches no registry gets its images from the controller: its project comes up, also when the
//! connection breaks, the agent or the controller is killed in the middle, or the image store has damaged what it keeps.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use supalove_proto::v1::{GetOperationRequest, ListImagesRequest, OperationState, ProjectEventType};
use supalove_system_tests::{
    Agent, AgentOptions, Api, CORE, Controller, DockerHost, EMAIL, Options, SLACK, SmallImage, TcpProxy,
    copy_core, core_image, docker, wait_for,
};

use crate::command_line::CommandLine;

const SERVICES: [&str; 3] = ["postgres", "functions", "gateway"];
const LIMIT: Duration = Duration::from_mins(3);

fn images() -> Vec<String> {
    SERVICES.into_iter().map(core_image).collect()
}

fn push(controller: &Controller, names: &[String]) -> String {
    let names = names.iter().map(String::as_str);
    let arguments: Vec<&str> = ["images", "push"].into_iter().chain(names).collect();
    CommandLine::of(controller, EMAIL).says(&arguments)
}

/// A host without images, its way to the controller, and a controller that keeps them.
struct Scene {
    agent: Agent,
    api: Api,
    controller: Controller,
    cable: TcpProxy,
    host: DockerHost,
}

impl Scene {
    async fn set() -> Self {
        let host = DockerHost::without_images();
        assert_eq!(host.docker(&["images", "--quiet"]), "", "the host has no image");
        let options = Options { node_host: Some(host.near.clone()), ..Options::default() };
        let controller = Controller::start_with(options).await;
        let api = controller.operator().await;
        let began = Instant::now();
        let said = push(&controller, &images());
        println!("push of three images: {:.1} s\n{said}", began.elapsed().as_secs_f64());
        let cable = TcpProxy::from(&host.near, &controller.node_address).await;
        let agent =
            Agent::start_at(&cable.address, &controller.fleet, &api.join_token().await, agent_options(&host));
        api.wait_ready_nodes(1).await;
        Self { agent, api, controller, cable, host }
    }

    /// Where content lies until the engine has it.
    fn contents(&self) -> PathBuf {
        self.agent.state.path().join("images")
    }

    /// Bytes of content on the host.
    fn arrived(&self) -> u64 {
        let entries = fs::read_dir(self.contents()).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
    }

    async fn wait_arrived(&self, bytes: u64) {
        wait_for("a part of the images to arrive", LIMIT * SLACK, async || {
            (self.arrived() >= bytes).then_some(())
        })
        .await;
    }

    async fn ends_well(&self, operation_id: &str) {
        let operation = self.api.wait(operation_id).await;
        assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
        for image in images() {
            let id = |host: Option<&str>| docker(host, &["image", "inspect", "--format", "{{.Id}}", &image]);
            assert_eq!(id(Some(&self.host.engine)), id(None), "{image} is the same image here and there");
        }
        assert_eq!(self.arrived(), 0, "the content is gone when the engine has it");
    }
}

fn agent_options(host: &DockerHost) -> AgentOptions {
    let arguments = ["--publish-address", "0.0.0.0", "--advertise-address", &host.far];
    AgentOptions {
        under: host.under(),
        arguments: arguments.into_iter().map(str::to_owned).collect(),
        docker_host: Some(host.engine.clone()),
        ..AgentOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_images_and_registries_gets_them_from_the_controller() {
    let scene = Scene::set().await;
    let again = push(&scene.controller, &images());
    assert!(again.contains("0 B to send"), "what is there is not sent again: {again}");
    let began = Instant::now();
    let created = scene.api.create("first", CORE).await;
    scene.ends_well(&created.operation.unwrap().id).await;
    let took = began.elapsed();
    let listed = scene.api.images().list_images(ListImagesRequest::default()).await.unwrap().into_inner();
    let mib = listed.kept_bytes >> 20;
    println!("{mib} MiB of images fetched and loaded, and a project healthy, in {:.1} s", took.as_secs_f64());
    let project = created.project.unwrap().r#ref;
    let events = scene.api.events(&project).await;
    let pulls = events.iter().filter(|event| event.r#type() == ProjectEventType::ServicePulling);
    let services: BTreeSet<&str> = pulls.clone().map(|event| event.service.as_str()).collect();
    assert_eq!(services.len(), SERVICES.len(), "each image has its bar");
    assert!(pulls.clone().any(|event| (1..100).contains(&event.percent)), "which moves");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_goes_on_where_it_ended_when_connection_agent_or_controller_break() {
    let mut scene = Scene::set().await;
    let created = scene.api.create("broken", CORE).await;
    scene.wait_arrived(20 << 20).await;
    scene.cable.reset();
    let before = scene.arrived();
    scene.wait_arrived(before + (20 << 20)).await;
    scene.agent.process.kill();
    let before = scene.arrived();
    scene.agent.restart();
    assert!(before > 30 << 20 && scene.arrived() >= before, "what had arrived is there");
    scene.wait_arrived(before + (20 << 20)).await;
    scene.controller.kill_and_restart().await;
    scene.ends_well(&created.operation.unwrap().id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_content_is_named_and_the_next_push_mends_it() {
    let scene = Scene::set().await;
    // The largest object of the store gets another byte in its middle.
    let folder = scene.controller.dir.path().join("images/content");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let largest = files.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).unwrap();

    let created = scene.api.create("damaged", CORE).await;
    let operation_id = created.operation.unwrap().id;
    let words = "arrived damaged 3 times";
    wait_for("the damage to be named", LIMIT * SLACK, async || {
        let request = GetOperationRequest { operation_id: operation_id.clone() };
        let found = scene.api.operations().get_operation(request).await.unwrap().into_inner();
        found.operation.unwrap().status_message.contains(words).then_some(())
    })
    .await;
    let listed = scene.api.images().list_images(ListImagesRequest::default()).await.unwrap().into_inner();
    assert!(listed.images.iter().any(|image| image.damaged), "{:#?}", listed.images);
    push(&scene.controller, &images());
    scene.ends_well(&operation_id).await;
    let listed = scene.api.images().list_images(ListImagesRequest::default()).await.unwrap().into_inner();
    assert!(!listed.images.iter().any(|image| image.damaged));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_for_other_machines_and_an_image_that_is_nowhere_say_what_to_do() {
    let releases = tempfile::tempdir().unwrap();
    let other = format!("supalove/other-{}:1", uuid::Uuid::new_v4().simple());
    copy_core(releases.path(), "other", |yaml| yaml.replacen(&core_image("functions"), &other, 1));
    let arguments = vec!["--releases-dir".to_owned(), releases.path().display().to_string()];
    let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.operator().await;
    let _agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    let error = async |name: &str| {
        let created = api.create(name, "other").await;
        let operation = api.wait(&created.operation.unwrap().id).await;
        assert_eq!(operation.state(), OperationState::Failed, "{operation:#?}");
        operation.error.unwrap()
    };
    let nowhere = error("nowhere").await;
    assert_eq!(nowhere.reason, "IMAGE_NOT_FOUND");
    let remedy = format!("supalove images push {other}");
    for words in ["never pulled", "the controller does not keep it", &remedy] {
        assert!(nowhere.message.contains(words), "{}", nowhere.message);
    }
    SmallImage::new(&other, "s390x").push(&api).await.unwrap();
    let foreign = error("foreign").await;
    assert_eq!(foreign.reason, "IMAGE_WRONG_PLATFORM");
    assert!(foreign.message.contains("linux/s390x"), "{}", foreign.message);
}
