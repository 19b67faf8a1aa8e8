//! The kernel's counters of one run of a container: its control group (version 1 or 2), and the network devices that its first
//! process sees. In: a container's id and process. Out: counters. Nothing here is async.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use aws_lc_rs::digest::{Context, SHA256};

const ROOT: &str = "/sys/fs/cgroup";

/// Where the counters of one run are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Identity of the run.
    pub run: u64,
    process: u32,
    /// Of the directory: the kernel gives each control group another one.
    inode: u64,
    paths: Paths,
}

/// Directories of the control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paths {
    pub cpu: PathBuf,
    pub memory: PathBuf,
    pub block: PathBuf,
    pub unified: bool,
}

/// What a run has used so far, and its memory now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    pub cpu_us: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub memory_bytes: u64,
}

impl Place {
    /// Finds the control group of a container's first process.
    pub fn find(boot: &str, container: &str, process: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/cgroup"))?;
        let paths = paths(Path::new(ROOT), &text)
            .ok_or_else(|| io::Error::other("the process has no control group with counters"))?;
        let inode = fs::metadata(&paths.cpu)?.ino();
        let mut identity = Context::new(&SHA256);
        for part in [boot.as_bytes(), &[0], container.as_bytes(), &[0], &inode.to_le_bytes()] {
            identity.update(part);
        }
        let digest = identity.finish();
        let (first, _) = digest.as_ref().split_first_chunk().unwrap_or((&[0; 8], &[]));
        Ok(Self { run: u64::from_le_bytes(*first), process, inode, paths })
    }

    /// Reads the counters; an error if the run has ended.
    pub fn read(&self) -> io::Result<Counters> {
        let Paths { cpu, memory, block, unified } = &self.paths;
        if fs::metadata(cpu)?.ino() != self.inode {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        let text = |folder: &Path, file: &str| fs::read_to_string(folder.join(file));
        let missing = |what: &'static str| move || io::Error::other(what);
        let network = network(&fs::read_to_string(format!("/proc/{}/net/dev", self.process))?);
        let counters = if *unified {
            let cpu_us = value(&text(cpu, "cpu.stat")?, "usage_usec").ok_or_else(missing("cpu.stat"))?;
            let used = number(&text(memory, "memory.current")?).ok_or_else(missing("memory.current"))?;
            let cache = value(&text(memory, "memory.stat")?, "inactive_file").unwrap_or(0);
            // Without the controller `io` there is no such file.
            let (read_bytes, written_bytes) = unified_block(&text(block, "io.stat").unwrap_or_default());
            Counters {
                cpu_us,
                read_bytes,
                written_bytes,
                memory_bytes: used.saturating_sub(cache),
                ..Counters::default()
            }
        } else {
            let nanos = number(&text(cpu, "cpuacct.usage")?).ok_or_else(missing("cpuacct.usage"))?;
            let used = number(&text(memory, "memory.usage_in_bytes")?)
                .ok_or_else(missing("memory.usage_in_bytes"))?;
            let cache = value(&text(memory, "memory.stat")?, "total_inactive_file").unwrap_or(0);
            let (read_bytes, written_bytes) =
                block_of_version_1(&text(block, "blkio.throttle.io_service_bytes").unwrap_or_default());
            Counters {
                cpu_us: nanos / 1000,
                read_bytes,
                written_bytes,
                memory_bytes: used.saturating_sub(cache),
                ..Counters::default()
            }
        };
        Ok(Counters { received_bytes: network.0, sent_bytes: network.1, ..counters })
    }
}

/// The directories that `/proc/<process>/cgroup` names.
pub(super) fn paths(root: &Path, text: &str) -> Option<Paths> {
    let of = |controller: &str| {
        text.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next()?;
            let path = parts.next()?;
            controllers.split(',').any(|known| known == controller).then(|| below(path)).flatten()
        })
    };
    // Where both versions are mounted, the first one has the controllers.
    if let (Some(cpu), Some(memory)) = (of("cpuacct"), of("memory")) {
        let block = of("blkio").unwrap_or_else(|| cpu.clone());
        return Some(Paths {
            cpu: root.join("cpuacct").join(cpu),
            memory: root.join("memory").join(memory),
            block: root.join("blkio").join(block),
            unified: false,
        });
    }
    let own = text.lines().find_map(|line| line.strip_prefix("0::")).and_then(below)?;
    let folder = root.join(own);
    Some(Paths { cpu: folder.clone(), memory: folder.clone(), block: folder, unified: true })
}

/// A path of the kernel's, without its slash. One that leads out of what this process sees has no files here.
fn below(path: &str) -> Option<PathBuf> {
    let path = path.strip_prefix('/')?;
    // The root's counters are the host's.
    (!path.is_empty() && path.split('/').all(|part| part != "..")).then(|| PathBuf::from(path))
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The number behind a word at the beginning of a line.
pub(super) fn value(text: &str, word: &str) -> Option<u64> {
    text.lines().find_map(|line| number(line.strip_prefix(word)?.strip_prefix(' ')?))
}

/// Bytes read and written, of lines like `8:0 Read 4096`.
pub(super) fn block_of_version_1(text: &str) -> (u64, u64) {
    let sum = |word: &str| {
        let lines = text.lines().filter_map(|line| {
            let mut parts = line.split_ascii_whitespace().skip(1);
            (parts.next()? == word).then(|| parts.next()?.parse::<u64>().ok()).flatten()
        });
        lines.fold(0, u64::saturating_add)
    };
    (sum("Read"), sum("Write"))
}

/// Bytes read and written, of lines like `8:0 rbytes=4096 wbytes=0 rios=1 …`.
pub(super) fn unified_block(text: &str) -> (u64, u64) {
    let sum = |word: &str| {
        let parts = text.lines().flat_map(|line| line.split_ascii_whitespace().skip(1));
        parts.filter_map(|part| part.strip_prefix(word)?.parse::<u64>().ok()).fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

/// Bytes received and sent by all devices but loopback, of `/proc/<process>/net/dev`.
pub(super) fn network(text: &str) -> (u64, u64) {
    let devices = text.lines().filter_map(|line| {
        let (name, counters) = line.split_once(':')?;
        let counters: Vec<&str> = counters.split_ascii_whitespace().collect();
        let received = counters.first()?.parse::<u64>().ok()?;
        let sent = counters.get(8)?.parse::<u64>().ok()?;
        (name.trim() != "lo").then_some((received, sent))
    });
    devices.fold((0, 0), |(received, sent), (more_received, more_sent): (u64, u64)| {
        (received.saturating_add(more_received), sent.saturating_add(more_sent))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub const VERSION_1: &str = "12:freezer:/docker/abc\n4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n2:blkio:/docker/abc\n0::/system.slice/docker.service\n";

    #[test]
    fn both_versions_are_told_apart() {
        let root = Path::new("/cg");
        let found = paths(root, VERSION_1).unwrap();
        assert_eq!((found.cpu.as_path(), found.unified), (Path::new("/cg/cpuacct/docker/abc"), false));
        assert_eq!(found.block, Path::new("/cg/blkio/docker/abc"));
        let found = paths(root, "0::/system.slice/docker-abc.scope\n").unwrap();
        assert_eq!(
            (found.memory.as_path(), found.unified),
            (Path::new("/cg/system.slice/docker-abc.scope"), true)
        );
        for wrong in ["", "0::/\n", "0::/../..\n", "4:cpuacct:/\n3:memory:/\n"] {
            assert_eq!(paths(root, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn counters_are_read_as_the_kernel_writes_them() {
        assert_eq!(value("user_usec 1\nusage_usec 71\n", "usage_usec"), Some(71));
        assert_eq!(value("inactive_file_x 4\n", "inactive_file"), None);
        let text = "8:0 Read 4096\n8:0 Write 100\n8:16 Read 4\n8:0 Total 9\nTotal 9\n";
        assert_eq!(block_of_version_1(text), (4100, 100));
        assert_eq!(unified_block("8:0 rbytes=5 wbytes=7 rios=1\n9:1 rbytes=1 wbytes=0\n"), (6, 7));
        let devices = "Inter-|   Receive\n face |bytes packets\n    lo: 9 0 0 0 0 0 0 0 9 0 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 200 1 0 0 0 0 0 0\n";
        assert_eq!(network(devices), (100, 200));
    }

    #[test]
    fn this_process_has_counters_or_says_why_not() {
        match Place::find("boot", "container", std::process::id()) {
            Ok(place) => {
                assert_eq!(Place::find("boot", "container", std::process::id()).unwrap().run, place.run);
                assert_ne!(Place::find("boot", "other", std::process::id()).unwrap().run, place.run);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
