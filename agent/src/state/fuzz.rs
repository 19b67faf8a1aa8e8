//! Fuzz targets of the files on disk: a changed sealed file never opens, and what opens need not be a record.

use prost::Message as _;
use supalove_fuzz::{Samples, Verdict, bytes};
use supalove_proto::node::v1::{ApplyStackRequest, Placement, RunState, StackSpec};

use super::{
    KnownVolume, Record, Removal, Sealer, Tombstones, Volumes, content_hash, fence_apply, fence_remove,
};

const REF: &str = "abcdefghijklmnopqrst";

fn record() -> Record {
    let mut record = Record::applied(ApplyStackRequest {
        project_ref: REF.into(),
        generation: 5,
        run_state: RunState::Running.into(),
        restart_token: "t".into(),
        new_volumes: Vec::new(),
        spec: Some(StackSpec { release: "core".into(), ..StackSpec::default() }),
        placement: Some(Placement { slot: 3, ..Placement::default() }),
    });
    record.removal = Some(Removal { generation: 6, delete_volumes: true });
    record
}

#[test]
fn sealed_files() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = Sealer::open(&dir.path().join("key")).unwrap();
    let files = [record().encode_to_vec(), Vec::new()].map(|content| sealer.seal(REF, &content).unwrap());
    bytes("sealed file", &Samples::new(&files), |input| {
        let opened = sealer.unseal(REF, input);
        assert_eq!(opened.is_ok(), files.iter().any(|known| known == input), "only what was sealed opens");
        assert!(sealer.unseal("another", input).is_err());
        Verdict::from_result(&opened)
    });
}

#[test]
fn records() {
    let samples =
        Samples::new([record().encode_to_vec(), tombstones().encode_to_vec(), known().encode_to_vec()]);
    bytes("record", &samples, |input| {
        let _ = Tombstones::decode(input);
        if let Ok(known) = Volumes::decode(input) {
            assert_eq!(Volumes::decode(known.encode_to_vec().as_slice()), Ok(known));
        }
        let read = Record::decode(input);
        if let Ok(record) = &read {
            assert_eq!(Record::decode(record.encode_to_vec().as_slice()).as_ref(), Ok(record));
            check_fences(record);
        }
        Verdict::from_result(&read)
    });
}

fn known() -> Volumes {
    let volume = KnownVolume { name: "v".into(), id: "1".into(), was_ready: true, ..KnownVolume::default() };
    Volumes { project_ref: REF.into(), volumes: vec![volume] }
}

fn tombstones() -> Tombstones {
    let hash = "00".repeat(32);
    Tombstones { by_hash: [(hash.clone(), 7)].into(), buried_at: [(hash, 1)].into() }
}

/// Whatever a record holds: nothing older than it is accepted.
fn check_fences(record: &Record) {
    let _ = (record.slot(), record.is_running(), record.spec(), record.placement());
    let generation = record.generation();
    if let Some(older) = generation.checked_sub(1) {
        let request = ApplyStackRequest { generation: older, ..ApplyStackRequest::default() };
        let _ = content_hash(&request);
        assert!(fence_apply(Some(record), None, &request).is_err());
        assert!(fence_remove(Some(record), None, older).is_err());
    }
    assert!(fence_remove(Some(record), None, generation).is_ok());
}
