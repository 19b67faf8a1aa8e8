//! The controller dies while it counts what projects use: each record counts once, whole sums are written, a node is told its limits,
//! and people are told of a size once. The node is a double, which like an agent sends again what nobody has acknowledged.

use std::{collections::BTreeMap, time::Duration};

use supalove_failpoints::{DIRECTORY, FIRED, POINTS};
use supalove_proto::{
    node::v1::{ContainerUsage, ProjectUsage, StreamUsageResponse, UsageRecord, VolumeBytes},
    v1::{AssignPlanRequest, GetProjectUsageRequest, SizeLevel},
};
use supalove_system_tests::{Api, CORE, Controller, Double, MailSink, Options, Rows, SLACK, wait_for};

use super::people::arm;

/// The points of this test: they are not in the life of a project.
pub const PREFIX: &str = "controller.usage.";

const SPOOL: &str = "0123456789abcdef0123456789abcdef";
const MIB: u64 = 1024 * 1024;
const SECOND: u64 = 1_000_000;
const OWNER: &str = "operator@example.com";
/// A lease of 10 s and a turn of the job.
const AGAIN: Duration = Duration::from_secs(20);

struct World {
    sink: MailSink,
    points: tempfile::TempDir,
    controller: Controller,
    rows: Rows,
    api: Api,
    double: Double,
    project: String,
    /// Number of the newest record, and what its container has used.
    seq: u64,
    cpu_us: u64,
}

impl World {
    async fn new() -> Self {
        let sink = MailSink::start().await;
        let points = tempfile::tempdir().unwrap();
        let environment = vec![(DIRECTORY.to_owned(), points.path().display().to_string())];
        let arguments = [sink.arguments(), vec!["--usage-roll-up=1".to_owned()]].concat();
        let options = Options { arguments, environment, ..Options::default() };
        let controller = Controller::start_with(options).await;
        let api = controller.operator().await;
        let token = api.join_token().await;
        let double = Double::join_metered(&controller.node_address, &token, "metered").await;
        api.wait_ready_nodes(1).await;
        let project = api.create_healthy("metered", CORE).await.r#ref;
        let rows = controller.database.rows().await;
        let mut world = Self { sink, points, controller, rows, api, double, project, seq: 0, cpu_us: 0 };
        // The first record of a node counts nothing.
        let first = world.batch(0, 100);
        world.send(&first).await;
        world
    }

    /// The next batch: its container has used so much more, and the database holds so much.
    fn batch(&mut self, cpu_us: u64, database_mib: u64) -> StreamUsageResponse {
        self.seq += 1;
        self.cpu_us += cpu_us;
        let container = ContainerUsage { run: 7, cpu_us: self.cpu_us, ..ContainerUsage::default() };
        let volume = VolumeBytes { name: "db_data".into(), bytes: database_mib * MIB };
        let project = ProjectUsage {
            project_ref: self.project.clone(),
            containers: vec![container],
            volumes: vec![volume],
        };
        let record = UsageRecord { seq: self.seq, age_ms: 0, projects: vec![project] };
        StreamUsageResponse { spool: SPOOL.into(), dropped: 0, records: vec![record] }
    }

    fn push(&self, batch: &StreamUsageResponse) {
        self.double.state().usage.as_mut().unwrap().push_back(batch.clone());
    }

    /// Sends a batch, and waits for its acknowledgement.
    async fn send(&self, batch: &StreamUsageResponse) {
        let heard = self.double.state().usage_heard.len();
        self.push(batch);
        self.until_heard(heard, self.seq).await;
    }

    /// Waits until the controller says that it has stored so much: in answer to a batch, or at the begin of a stream.
    async fn until_heard(&self, after: usize, seq: u64) {
        wait_for(&format!("record {seq} to be stored"), AGAIN * SLACK, async || {
            let state = self.double.state();
            let mut heard = state.usage_heard.iter().skip(after);
            heard.any(|told| told.spool == SPOOL && told.acknowledged == seq).then_some(())
        })
        .await;
    }

    async fn until_fired(&self, point: &str) {
        wait_for(&format!("the controller to die at {point}"), AGAIN * SLACK, async || {
            self.points.path().join(FIRED).exists().then_some(())
        })
        .await;
    }

    async fn restart(&mut self) {
        // It may be on its way out: its ports are free when it is gone.
        self.controller.process.interrupt();
        self.controller.restart().await;
        let mut api = self.controller.api();
        api.use_token(&self.api.token);
        self.api = api;
    }

    /// Dies at a point while it stores a batch or works on what that says; goes on, and gets the batch again.
    async fn dies_of(&mut self, point: &str, batch: &StreamUsageResponse) {
        arm(self.points.path(), point);
        self.push(batch);
        self.until_fired(point).await;
        self.double.state().usage.as_mut().unwrap().clear();
        self.restart().await;
        self.send(batch).await;
    }

    async fn used(&self, step: &str) -> u64 {
        self.rows.used(&self.project, step).await.0.unsigned_abs()
    }

    async fn assign(&self, plan: &str) {
        let request = AssignPlanRequest {
            organization: "acme".into(),
            plan: plan.into(),
            reason: "the test".into(),
            etag: String::new(),
        };
        self.api.plans().assign_plan(request).await.unwrap();
    }

    fn told(&self) -> Option<BTreeMap<String, u64>> {
        self.double.state().database_limits.clone()
    }

    async fn until_told(&self, limits: &[(&str, u64)]) {
        let limits: BTreeMap<String, u64> =
            limits.iter().map(|(project, mib)| ((*project).to_owned(), *mib)).collect();
        wait_for(&format!("the node to know {limits:?}"), AGAIN * SLACK, async || {
            (self.told().as_ref() == Some(&limits)).then_some(())
        })
        .await;
    }

    async fn until_level(&self, level: SizeLevel) {
        wait_for(&format!("the database to be {level:?}"), AGAIN * SLACK, async || {
            let request = GetProjectUsageRequest { project_ref: self.project.clone() };
            let usage = self.api.usage().get_project_usage(request).await.ok()?.into_inner().usage?;
            (usage.sizes[0].level() == level).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn usage_counts_once_and_sizes_are_told_once_although_the_controller_dies() {
    let mut world = World::new().await;
    let mut died = Vec::new();
    // A batch is stored as a whole or not at all, and counts once.
    for (point, is_stored) in [("controller.usage.written", false), ("controller.usage.committed", true)] {
        let batch = world.batch(SECOND, 100);
        let heard = world.double.state().usage_heard.len();
        world.dies_of(point, &batch).await;
        let begins_after = world.double.state().usage_heard[heard].acknowledged;
        assert_eq!(begins_after, if is_stored { world.seq } else { world.seq - 1 }, "{point}");
        assert_eq!(world.used("MINUTE").await, world.cpu_us, "{point}");
        died.push(point);
    }
    // Sums are those of all minutes, whenever they are made.
    for point in ["controller.usage.summed", "controller.usage.sum_committed"] {
        let batch = world.batch(SECOND, 100);
        world.dies_of(point, &batch).await;
        wait_for("all sums", AGAIN * SLACK, async || (world.rows.usage_pending().await == 0).then_some(()))
            .await;
        for step in ["MINUTE", "HOUR", "DAY"] {
            assert_eq!(world.used(step).await, world.cpu_us, "{point} {step}");
        }
        died.push(point);
    }
    // A node gets its limits, and may get them again.
    world.until_told(&[]).await;
    for (point, plan, is_told) in
        [("controller.usage.limits_found", "free", false), ("controller.usage.limits_told", "pro", true)]
    {
        let before = world.told();
        // The controller has noted what the node knows.
        tokio::time::sleep(Duration::from_secs(1)).await;
        arm(world.points.path(), point);
        world.assign(plan).await;
        world.until_fired(point).await;
        assert_eq!(world.told() != before, is_told, "{point}");
        world.double.state().database_limits = None;
        world.restart().await;
        let project = world.project.clone();
        let limits = if plan == "free" { vec![(&*project, 500)] } else { Vec::new() };
        world.until_told(&limits).await;
        died.push(point);
    }
    // A level comes with one event and one mail.
    world.assign("free").await;
    let project = world.project.clone();
    world.until_told(&[(&*project, 500)]).await;
    for (point, database_mib, level, mails) in [
        ("controller.usage.size_written", 400, SizeLevel::Near, 1),
        ("controller.usage.size_committed", 500, SizeLevel::Over, 2),
    ] {
        let batch = world.batch(SECOND, database_mib);
        world.dies_of(point, &batch).await;
        world.until_level(level).await;
        world.sink.wait_for_count(OWNER, mails).await;
        // As long as another turn of the job.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(world.sink.mails_to(OWNER).len(), mails, "{point}");
        let events = world.rows.size_events(&project).await;
        assert_eq!(events, ["project.size_near", "project.size_over"][..mails], "{point}");
        died.push(point);
    }
    assert_eq!(world.used("MINUTE").await, world.cpu_us);
    let all = POINTS.iter().map(|point| point.name).filter(|name| name.starts_with(PREFIX));
    assert_eq!(died, all.collect::<Vec<_>>(), "died at each of them");
    assert_eq!(world.rows.broken_of_all().await, Vec::<String>::new());
    println!("{} points, died once at each", died.len());
}
