//! Reports are levels: what was told last holds until it is stored. A report that cannot be stored is kept and tried again;
//! the newest of a project replaces the older one. And what is stored is compared with what the agent repeats: if a digest or
//! the project's row differs from what was judged, the agent has to tell its states again.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use prost::Message as _;
use supalove_proto::node::v1::{ObservedStack, StateDigests};
use tokio::time::Instant;

use supalove_core::{
    database::Db,
    error::Result,
    ids::{NodeId, ProjectRef},
};

/// First pause before a report that could not be stored is tried again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Maximum number of reports that are kept: a node could name millions of projects.
const KEPT: usize = 4096;
/// Maximum size of all reports that are kept.
const KEPT_BYTES: usize = 16 << 20;
/// Longest digest; agents send 32 bytes.
const DIGEST_BYTES: usize = 64;

/// A report that is not stored yet.
#[derive(Debug)]
struct Kept {
    report: ObservedStack,
    failures: u32,
    next: Instant,
}

/// What was judged last of a project.
#[derive(Debug, PartialEq, Eq)]
struct Judged {
    digest: Vec<u8>,
    /// Revision of the project's row after it.
    revision: i64,
}

/// The reports of one stream.
#[derive(Debug, Default)]
pub(super) struct Levels {
    kept: BTreeMap<ProjectRef, Kept>,
    /// Encoded size of what is kept.
    kept_bytes: usize,
    judged: HashMap<ProjectRef, Judged>,
}

impl Levels {
    /// Takes a report; the newest of a project counts. False if there are too many, or one has nonsense for a digest.
    pub(super) fn put(&mut self, report: ObservedStack) -> bool {
        let Ok(project) = report.project_ref.parse::<ProjectRef>() else {
            return true;
        };
        if report.digest.len() > DIGEST_BYTES {
            return false;
        }
        self.take(&project);
        self.judged.remove(&project);
        self.kept_bytes += report.encoded_len();
        self.kept.insert(project, Kept { report, failures: 0, next: Instant::now() });
        self.kept.len() <= KEPT && self.kept_bytes <= KEPT_BYTES
    }

    fn take(&mut self, project: &ProjectRef) -> Option<ObservedStack> {
        let kept = self.kept.remove(project)?;
        self.kept_bytes -= kept.report.encoded_len();
        Some(kept.report)
    }

    /// A report that is to be stored now.
    pub(super) fn due(&self) -> Option<(ProjectRef, ObservedStack)> {
        let now = Instant::now();
        let due = self.kept.iter().filter(|(_, kept)| kept.next <= now).min_by_key(|(_, kept)| kept.next);
        due.map(|(project, kept)| (project.clone(), kept.report.clone()))
    }

    /// Returns when the next report is to be tried again. Never, if there is none.
    pub(super) async fn wait(&self) {
        match self.kept.values().map(|kept| kept.next).min() {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    /// The report was judged, and its verdict stored. `revision` is that of the row then; `None` if there is no such project.
    pub(super) fn stored(&mut self, project: &ProjectRef, revision: Option<i64>) {
        let Some(report) = self.take(project) else { return };
        if let Some(revision) = revision {
            self.judged.insert(project.clone(), Judged { digest: report.digest, revision });
        }
    }

    /// The report could not be stored. Returns true at the first failure.
    pub(super) fn not_stored(&mut self, project: &ProjectRef) -> bool {
        let Some(kept) = self.kept.get_mut(project) else { return false };
        let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(kept.failures)).min(LONGEST_PAUSE);
        kept.failures = kept.failures.saturating_add(1);
        kept.next = Instant::now() + pause.mul_f64(rand::random_range(0.75..1.25));
        kept.failures == 1
    }

    /// True if the agent repeats another state than the one that was judged, of a project that is on the node.
    pub(super) fn differ_from(&self, digests: &StateDigests, rows: &[Row]) -> bool {
        let told = |project: &ProjectRef| {
            digests.digests.iter().find(|digest| digest.project_ref == project.as_str())
        };
        rows.iter().any(|row| {
            let judged = self.judged.get(&row.project);
            !self.kept.contains_key(&row.project)
                && told(&row.project)
                    .is_some_and(|told| judged.is_none_or(|judged| judged.digest != told.digest))
        })
    }

    /// True if somebody else has changed a project since its report was judged: the judge of silent nodes, for example.
    pub(super) fn are_behind(&self, rows: &[Row]) -> bool {
        rows.iter()
            .any(|row| self.judged.get(&row.project).is_some_and(|judged| judged.revision != row.revision))
    }
}

/// A project of the node.
#[derive(Debug)]
pub(super) struct Row {
    pub project: ProjectRef,
    pub revision: i64,
}

/// The projects of a node.
pub(super) async fn rows(db: &Db, node: NodeId) -> Result<Vec<Row>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT p.ref AS \"project: ProjectRef\", p.revision FROM placements l JOIN projects p ON p.ref = l.project_ref
         WHERE l.node_id = $1",
        node.0,
    );
    Ok(rows.fetch_all(db).await?)
}

#[cfg(test)]
mod tests {
    use supalove_fuzz::{Samples, Verdict, bytes};
    use supalove_proto::node::v1::{StateDigest, VolumeUsage};

    use super::*;

    fn report(project: &ProjectRef, digest: u8) -> ObservedStack {
        ObservedStack { project_ref: project.to_string(), digest: vec![digest], ..ObservedStack::default() }
    }

    fn digests(project: &ProjectRef, digest: u8) -> StateDigests {
        let project_ref = project.to_string();
        StateDigests { digests: vec![StateDigest { project_ref, generation: 1, digest: vec![digest] }] }
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_kept_until_it_is_stored_and_the_newest_counts() {
        let project = ProjectRef::generate();
        let mut levels = Levels::default();
        levels.put(report(&project, 1));
        assert!(levels.due().is_some() && levels.not_stored(&project));
        assert!(levels.due().is_none(), "it has to wait");
        levels.wait().await;
        assert!(levels.due().is_some() && !levels.not_stored(&project), "the second failure is not news");
        for _ in 0..40 {
            levels.wait().await;
            levels.not_stored(&project);
        }
        let before = Instant::now();
        levels.wait().await;
        assert!(before.elapsed() < LONGEST_PAUSE * 2, "it is tried for ever");
        levels.put(report(&project, 2));
        assert_eq!(levels.due().unwrap().1.digest, [2]);
        levels.stored(&project, Some(7));
        assert!(levels.due().is_none());
        let row = |revision| [Row { project: project.clone(), revision }];
        assert!(!levels.differ_from(&digests(&project, 2), &row(7)) && !levels.are_behind(&row(7)));
        assert!(levels.differ_from(&digests(&project, 3), &row(7)), "the agent has another state");
        assert!(levels.are_behind(&row(8)), "somebody has changed the row");
        assert!(!levels.differ_from(&digests(&project, 3), &[]), "it is not on this node");
    }

    /// Only a digest of a project that is on the node, and that was told anew, makes the agent tell its states again.
    #[test]
    fn digests_of_agents() {
        let [judged, waiting, absent] = [(); 3].map(|()| ProjectRef::generate());
        let mut levels = Levels::default();
        levels.put(report(&judged, 7));
        levels.stored(&judged, Some(1));
        levels.put(report(&waiting, 7));
        let row = |project: &ProjectRef| Row { project: project.clone(), revision: 1 };
        let rows = [row(&judged), row(&waiting)];
        let all = |digest| StateDigests {
            digests: [&judged, &waiting, &absent]
                .into_iter()
                .flat_map(|one| digests(one, digest).digests)
                .collect(),
        };
        let samples = Samples::new([all(7).encode_to_vec(), all(8).encode_to_vec()]).words([
            &b"\x0a\x00"[..],
            b"\x1a\x01\x07",
            b"\x1a\x00",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ]);
        bytes("StateDigests", &samples, |input| {
            let Ok(told) = StateDigests::decode(input) else { return Verdict::Refused };
            let differ = levels.differ_from(&told, &rows);
            let first = told.digests.iter().find(|one| one.project_ref == judged.as_str());
            assert_eq!(differ, first.is_some_and(|first| first.digest != [7]), "{told:?}");
            assert!(!levels.differ_from(&told, &[row(&waiting)]), "its report is not stored yet");
            assert!(!levels.differ_from(&told, &[]), "nothing is on the node");
            Verdict::from_result(&if told.digests.is_empty() { Err(()) } else { Ok(()) })
        });
    }

    #[test]
    fn a_node_cannot_fill_the_memory() {
        let mut levels = Levels::default();
        for _ in 0..KEPT {
            assert!(levels.put(report(&ProjectRef::generate(), 0)));
        }
        assert!(!levels.put(report(&ProjectRef::generate(), 0)));

        let mut levels = Levels::default();
        let with = |digest: usize, name: usize| ObservedStack {
            project_ref: ProjectRef::generate().to_string(),
            digest: vec![0; digest],
            volumes: vec![VolumeUsage { name: "x".repeat(name), ..VolumeUsage::default() }],
            ..ObservedStack::default()
        };
        assert!(!levels.put(with(1 << 20, 0)), "a digest stays as long as the stream");
        assert!(levels.put(with(32, KEPT_BYTES / 2)));
        assert!(!levels.put(with(32, KEPT_BYTES / 2)));
        let project = ProjectRef::generate();
        let mut levels = Levels::default();
        for _ in 0..3 {
            assert!(
                levels.put(ObservedStack { project_ref: project.to_string(), ..with(32, KEPT_BYTES / 2) })
            );
        }
        levels.stored(&project, Some(1));
        assert_eq!(levels.kept_bytes, 0);
    }
}
