//! Fuzz targets of the files that usage is read from: the spool's own, and the kernel's.

use std::path::Path;

use supalove_fuzz::{Samples, Verdict, bytes, text};

use super::{cgroup, clock, spool};

#[test]
fn spool_files() {
    let sample = spool::tests::file();
    bytes("spool of usage", &Samples::new([sample.clone()]), |input| {
        let (records, whole) = spool::scan(input);
        assert!(whole <= input.len() as u64);
        let end = usize::try_from(whole).unwrap();
        assert_eq!(spool::scan(&input[..end]), (records.clone(), whole), "what is cut off was no record");
        if records.is_empty() { Verdict::Refused } else { Verdict::Accepted }
    });
}

#[test]
fn counters_of_the_kernel() {
    let samples = Samples::new([
        "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n2:blkio:/docker/abc\n",
        "0::/system.slice/docker-abc.scope\n",
        "usage_usec 71\ninactive_file 5\n",
        "8:0 Read 4096\n8:0 Write 7\n8:0 rbytes=5 wbytes=7\n",
        "  eth0: 100 1 0 0 0 0 0 0 200 1 0 0 0 0 0 0\n",
        "350735.47 234388.90\n",
    ]);
    text("counters of the kernel", &samples.words(["..", "18446744073709551615", "::", "/"]), |input| {
        let found = cgroup::paths(Path::new("/cg"), input);
        if let Some(paths) = &found {
            for path in [&paths.cpu, &paths.memory, &paths.block] {
                assert!(path.starts_with("/cg") && !path.to_string_lossy().contains("/../"), "{path:?}");
            }
        }
        let _ = (cgroup::value(input, "usage_usec"), cgroup::network(input), clock::uptime_ms(input));
        let _ = (cgroup::block_of_version_1(input), cgroup::unified_block(input));
        if found.is_some() { Verdict::Accepted } else { Verdict::Refused }
    });
}
