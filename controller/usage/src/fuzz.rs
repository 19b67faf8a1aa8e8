//! Fuzz target of what nodes report: whatever a batch says, what is counted is bounded by what a host can have used.

use prost::Message as _;
use supalove_fuzz::{Samples, Verdict, bytes};
use supalove_proto::node::v1::{StreamUsageResponse, VolumeBytes};

use crate::counters::{
    State, is_spool, named, take,
    tests::{batch, container, here, host, noon, record},
};

#[test]
fn usage_batches() {
    let (project, standing) = here();
    let mut sample = record(2, 1000, &[container(7, 1_000_000), container(8, 5)]);
    sample.projects[0].volumes = vec![VolumeBytes { name: "db_data".into(), bytes: 1 << 30 }];
    let sample = batch(&[sample, record(3, 0, &[container(7, 2_000_000)])]);
    let words = [&b"zzzzzzzzzzzzzzzzzzzz"[..], b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"storage"];
    bytes("StreamUsage", &Samples::new([sample.encode_to_vec()]).words(words), |input| {
        let Ok(told) = StreamUsageResponse::decode(input) else { return Verdict::Refused };
        if !is_spool(&told.spool) {
            return Verdict::Refused;
        }
        let mut state = State::default();
        take(&mut state, &batch(&[record(1, 0, &[])]), &standing, host(), noon());
        let now = noon() + chrono::TimeDelta::minutes(1);
        let names = named(&told);
        let taken = take(&mut state, &told, &standing, host(), now);
        assert!(state.at.is_some_and(|at| at >= noon() && at <= now), "{:?}", state.at);
        let mut sums = (0, 0, 0);
        for ((found, minute), (_, used)) in &taken.projects {
            assert!(*found == project && names.contains(found) && *minute >= noon() && *minute <= now);
            assert!(used.covered_ms >= 0 && used.memory_kib_seconds >= 0 && used.received_bytes >= 0);
            sums.0 += used.cpu_us;
            sums.1 += used.covered_ms;
            sums.2 += used.volumes.map_or(0, |volumes| volumes.database);
        }
        assert!(sums.0 <= 9 * 60_000_000, "4 cores and their overcommit for a minute: {}", sums.0);
        let covered: i64 = taken.node.values().map(|used| used.covered_ms).sum();
        assert!(covered <= 60_000, "no more time than has passed: {covered}");
        assert!(sums.1 <= 60_000 && sums.2 >= 0);
        assert_eq!(taken.refused == 0, taken.refusal.is_empty());
        // The same batch again counts nothing.
        let again = take(&mut state, &told, &standing, host(), now);
        assert!(again.projects.values().all(|(_, used)| used.cpu_us == 0));
        Verdict::Accepted
    });
}
