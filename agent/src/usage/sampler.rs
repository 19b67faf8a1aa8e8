//! Samples every container of the fleet, and now and then appends what was found to the spool.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use supalove_proto::node::v1::{ContainerUsage, ProjectUsage, VolumeBytes};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use super::cgroup::{Counters, Place};
use super::clock::Clock;
use crate::docker::Container;
use crate::node::Node;
use crate::stack;

/// What the samples since the last record say of one run.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    /// The newest.
    counters: Counters,
    memory_sum: u128,
    samples: u32,
    memory_max: u64,
}

/// The samples since the last record.
#[derive(Debug, Default)]
pub(super) struct Samples(BTreeMap<String, BTreeMap<u64, Window>>);

impl Samples {
    pub fn add(&mut self, project_ref: &str, run: u64, counters: Counters) {
        let window = self.0.entry(project_ref.to_owned()).or_default().entry(run).or_default();
        window.counters = counters;
        window.memory_sum += u128::from(counters.memory_bytes);
        window.memory_max = window.memory_max.max(counters.memory_bytes);
        window.samples += 1;
    }

    /// The record that they make, with what volumes hold.
    pub fn take(&mut self, mut volumes: Volumes) -> Vec<ProjectUsage> {
        let mut projects = std::mem::take(&mut self.0);
        for project_ref in volumes.keys() {
            projects.entry(project_ref.clone()).or_default();
        }
        let record = projects.into_iter().map(|(project_ref, runs)| ProjectUsage {
            volumes: volumes.remove(&project_ref).unwrap_or_default(),
            containers: runs.into_iter().map(|(run, window)| usage(run, &window)).collect(),
            project_ref,
        });
        record.collect()
    }
}

fn usage(run: u64, window: &Window) -> ContainerUsage {
    let Window { counters, memory_sum, samples, memory_max } = window;
    let mean = memory_sum.checked_div(u128::from(*samples)).unwrap_or(0);
    ContainerUsage {
        run,
        cpu_us: counters.cpu_us,
        network_received_bytes: counters.received_bytes,
        network_sent_bytes: counters.sent_bytes,
        block_read_bytes: counters.read_bytes,
        block_written_bytes: counters.written_bytes,
        memory_bytes: u64::try_from(mean).unwrap_or(u64::MAX),
        memory_max_bytes: *memory_max,
    }
}

/// Samples until `stop` is cancelled; then once more.
pub async fn run(node: Arc<Node>, stop: CancellationToken) {
    let times = node.times;
    let mut sampler =
        Sampler { node, listed: Vec::new(), places: HashMap::new(), samples: Samples::default() };
    let mut ticks = tokio::time::interval(times.usage_sample);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first record says from when on this host is watched.
    let mut record_due = Instant::now();
    let mut volumes_due = record_due;
    let mut measurement = Measurement::default();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                sampler.sample().await;
                return sampler.append(BTreeMap::new()).await;
            }
            _ = ticks.tick() => {}
        }
        sampler.sample().await;
        if Instant::now() < record_due {
            continue;
        }
        record_due = Instant::now() + times.usage_record;
        if Instant::now() >= volumes_due && !measurement.is_under_way() {
            volumes_due = Instant::now() + times.usage_volumes;
            measurement.begin(sampler.measure().await);
        }
        // A tenant with very many files delays only the sizes of volumes, which a later record has.
        let volumes = measurement.ended(times.usage_sample / 2).await.unwrap_or_default();
        sampler.append(volumes).await;
    }
}

/// What volumes hold, by project.
type Volumes = BTreeMap<String, Vec<VolumeBytes>>;

/// A measurement of volumes that goes on beside the samples.
#[derive(Default)]
struct Measurement(Option<JoinHandle<Volumes>>);

impl Measurement {
    fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    fn begin(&mut self, measuring: JoinHandle<Volumes>) {
        self.0 = Some(measuring);
    }

    /// What was measured, once; none if that takes longer.
    async fn ended(&mut self, longest: Duration) -> Option<Volumes> {
        let measured = timeout(longest, self.0.as_mut()?).await.ok()?;
        self.0 = None;
        // An error means that the agent is stopping.
        measured.ok()
    }
}

struct Sampler {
    node: Arc<Node>,
    /// Containers that ran when the engine was asked last.
    listed: Vec<Container>,
    /// Where the counters of each container are, by its id.
    places: HashMap<String, Place>,
    samples: Samples,
}

impl Sampler {
    async fn sample(&mut self) {
        // The kernel goes on counting while the engine is away.
        match self.node.engine().containers().await {
            Ok(containers) => {
                self.listed = containers.into_iter().filter(|container| container.running).collect();
                let listed: std::collections::HashSet<&str> =
                    self.listed.iter().map(|container| container.id.as_str()).collect();
                self.places.retain(|id, _| listed.contains(id.as_str()));
            }
            Err(error) => {
                tracing::debug!(%error, "cannot list containers to sample them; the known ones are sampled");
            }
        }
        self.read().await;
        if self.find_places().await {
            self.read_new().await;
        }
    }

    /// Finds the counters of containers that have none. True if there are new ones.
    async fn find_places(&mut self) -> bool {
        let missing: Vec<String> = self
            .listed
            .iter()
            .filter(|container| !self.places.contains_key(&container.id))
            .map(|container| container.id.clone())
            .collect();
        let mut found = false;
        for id in missing {
            // Else it has ended meanwhile, or the engine does not answer.
            let Ok(Some(process)) = self.node.engine().process(&id).await else { continue };
            match Place::find(&self.node.boot_id, &id, process) {
                Ok(place) => {
                    self.places.insert(id, place);
                    found = true;
                }
                Err(error) => {
                    tracing::debug!(%error, container = id, "cannot find the counters of a container");
                }
            }
        }
        found
    }

    /// Reads all known places; forgets those whose run has ended.
    async fn read(&mut self) {
        let places: Vec<(String, Place)> =
            self.places.iter().map(|(id, place)| (id.clone(), place.clone())).collect();
        self.read_these(places).await;
    }

    /// Reads those that no sample of this turn has.
    async fn read_new(&mut self) {
        let known: std::collections::HashSet<u64> =
            self.samples.0.values().flat_map(|runs| runs.keys().copied()).collect();
        let places = self.places.iter().filter(|(_, place)| !known.contains(&place.run));
        let places: Vec<(String, Place)> = places.map(|(id, place)| (id.clone(), place.clone())).collect();
        self.read_these(places).await;
    }

    async fn read_these(&mut self, places: Vec<(String, Place)>) {
        let reading = tokio::task::spawn_blocking(move || {
            places.into_iter().map(|(id, place)| (id, place.run, place.read())).collect::<Vec<_>>()
        });
        // An error means that the agent is stopping.
        let Ok(read) = reading.await else { return };
        for (id, run, counters) in read {
            let project = self.listed.iter().find(|container| container.id == id);
            match (counters, project) {
                (Ok(counters), Some(project)) => self.samples.add(&project.project_ref, run, counters),
                // Its run has ended; if it runs again, that run has other counters.
                _ => drop(self.places.remove(&id)),
            }
        }
    }

    /// Begins to measure what the volumes of all projects hold.
    async fn measure(&self) -> JoinHandle<Volumes> {
        let shared = self.node.supervisor.shared().clone();
        let projects: Vec<String> =
            self.node.supervisor.records().await.iter().map(|record| record.project_ref.clone()).collect();
        tokio::task::spawn_blocking(move || {
            let measured = projects.into_iter().map(|project| {
                let volumes = stack::volume_bytes(&shared, &project);
                (project, volumes)
            });
            measured.filter(|(_, volumes)| !volumes.is_empty()).collect()
        })
    }

    async fn append(&mut self, volumes: Volumes) {
        let projects = self.samples.take(volumes);
        let spool = self.node.usage.clone();
        let boot = self.node.boot_id.clone();
        let appending = tokio::task::spawn_blocking(move || spool.append(&Clock::now(&boot)?, projects));
        // The counters of the next record hold what this one held.
        if let Ok(Err(error)) = appending.await {
            tracing::warn!(%error, "cannot store a record of what projects use");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_newest_counters_and_the_mean_of_the_memory() {
        let mut samples = Samples::default();
        for (cpu_us, memory_bytes) in [(1, 100), (5, 300)] {
            samples.add("a", 7, Counters { cpu_us, memory_bytes, ..Counters::default() });
        }
        samples.add("a", 8, Counters::default());
        let volumes = |project: &str| {
            let held = vec![VolumeBytes { name: "db_data".into(), bytes: 5 }];
            BTreeMap::from([(project.to_owned(), held)])
        };
        let record = samples.take(volumes("paused"));
        assert_eq!(record.len(), 2, "also a project without containers");
        let first = &record[0].containers[0];
        assert_eq!((first.run, first.cpu_us, first.memory_bytes, first.memory_max_bytes), (7, 5, 200, 300));
        assert_eq!((record[0].containers.len(), record[1].volumes[0].bytes), (2, 5));
        assert!(samples.take(BTreeMap::new()).is_empty(), "each sample is in one record");
    }

    #[tokio::test]
    async fn a_measurement_that_takes_long_is_in_a_later_record_once() {
        let soon = Duration::from_millis(10);
        let mut measurement = Measurement::default();
        assert!(measurement.ended(soon).await.is_none() && !measurement.is_under_way());
        let (end, ended) = std::sync::mpsc::channel::<()>();
        measurement.begin(tokio::task::spawn_blocking(move || {
            let _ = ended.recv();
            Volumes::from([("a".to_owned(), Vec::new())])
        }));
        assert!(measurement.ended(soon).await.is_none() && measurement.is_under_way());
        drop(end);
        let found = measurement.ended(Duration::from_secs(10)).await.unwrap();
        assert!(found.contains_key("a") && !measurement.is_under_way());
        assert!(measurement.ended(soon).await.is_none());
    }
}
