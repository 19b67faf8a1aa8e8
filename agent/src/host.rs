//! Facts about the host: its capacity, its boot id, its name.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use supalove_proto::node::v1::Capacity;

use crate::fsio;

/// Capacity set by options; what is absent is measured.
#[derive(Debug, Clone, Copy, Default)]
pub struct CapacityOverride {
    /// Thousandths of a core.
    pub cpu_millis: Option<u32>,
    /// MiB of memory.
    pub memory_mib: Option<u32>,
    /// MiB of disk.
    pub disk_mib: Option<u64>,
}

/// File in the state directory with the measured rate and the folder that it is of.
const RATE: &str = "disk-rate";
/// How long tenants write before a measurement sees it.
const UNSEEN_SECONDS: u64 = 15;
/// The headroom is at most one part in so many of the disk: on memory disks nothing else would be left.
const HEADROOM_PART: u64 = 10;

/// What the host has; on disk without the headroom that no project may reserve. Only the controller offers more than that
/// (overcommit).
pub fn capacity(given: CapacityOverride, volumes_dir: &str, rate_mib: u64) -> Capacity {
    Capacity {
        cpu_millis: given.cpu_millis.unwrap_or_else(cpu_millis),
        memory_mib: given.memory_mib.unwrap_or_else(memory_mib),
        disk_mib: given.disk_mib.unwrap_or_else(|| {
            let all = disk_mib(volumes_dir);
            all - headroom_mib(all, rate_mib)
        }),
    }
}

fn cpu_millis() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(u32::MAX).saturating_mul(1000)
}

fn memory_mib() -> u32 {
    fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_memory(&text)).unwrap_or_default()
}

fn total_memory(meminfo: &str) -> Option<u32> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    u32::try_from(kib / 1024).ok()
}

/// MiB that must be free on the engine's file system for a new project: its containers write some 100 MiB before they
/// are ready, and other projects go on writing.
const LEAST_DISK_MIB: u64 = 512;

/// What one tenant writes, at this rate, before the agent sees it.
fn headroom_mib(disk_mib: u64, rate_mib: u64) -> u64 {
    (rate_mib * UNSEEN_SECONDS).min(disk_mib / HEADROOM_PART)
}

/// MiB a second that a program writes in the folder of the volumes. Measured once and written down, so that what the node offers
/// does not change with each start; again for another folder. A disk that takes longer than the limit is so slow that it
/// needs no headroom, and is measured again at the next start.
pub async fn write_rate(state_dir: &Path, volumes_dir: &Path, limit: Duration) -> u64 {
    let (stored, dir) = (state_dir.join(RATE), volumes_dir.to_owned());
    let measured = tokio::task::spawn_blocking(move || known_rate(&stored, &dir, write_rate_mib));
    if let Ok(measured) = tokio::time::timeout(limit, measured).await {
        return measured.unwrap_or_default();
    }
    tracing::warn!(dir = %volumes_dir.display(), "cannot measure how fast the disk of the volumes is within {limit:?}");
    0
}

fn known_rate(stored: &Path, dir: &Path, measure: impl Fn(&Path) -> u64) -> u64 {
    let known = fs::read_to_string(stored).unwrap_or_default();
    let of_dir = known.split_once(' ').filter(|(_, of)| Path::new(of.trim_end()) == dir);
    if let Some(rate) = of_dir.and_then(|(rate, _)| rate.parse().ok()) {
        return rate;
    }
    let rate = measure(dir);
    if rate > 0
        && let Err(error) =
            fsio::write_atomic(stored, format!("{rate} {}\n", dir.display()).as_bytes(), 0o600)
    {
        tracing::warn!(%error, "cannot write down how fast the disk of the volumes is");
    }
    rate
}

/// The same, measured with a small file.
fn write_rate_mib(dir: &Path) -> u64 {
    const MIB: u64 = 16;
    let path = dir.join(".rate");
    let began = Instant::now();
    let written = fs::write(&path, vec![1; 1 << 24]).and_then(|()| fs::File::open(&path)?.sync_all());
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    if let Err(error) = written.and(fs::remove_file(&path)) {
        tracing::warn!(%error, dir = %dir.display(), "cannot measure how fast the disk of the volumes is");
        return 0;
    }
    MIB * 1000 / millis
}

/// Size of the file system that holds the volumes.
fn disk_mib(path: &str) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |stat| mib(stat.f_blocks, stat.f_frsize))
}

/// Why there is no room for a new project on the file system that holds the volumes.
pub fn disk_shortage(docker_root: &str) -> Option<String> {
    match rustix::fs::statvfs(docker_root) {
        Ok(stat) => shortage(docker_root, mib(stat.f_bavail, stat.f_frsize)),
        Err(error) => {
            tracing::warn!(%error, docker_root, "cannot measure the engine's free disk space: projects may be placed on a full disk");
            None
        }
    }
}

/// Without the number of free MiB: the controller stores each change of the reason.
fn shortage(docker_root: &str, free_mib: u64) -> Option<String> {
    (free_mib < LEAST_DISK_MIB)
        .then(|| format!("the disk of {docker_root} is full: less than {LEAST_DISK_MIB} MiB left"))
}

fn mib(blocks: u64, block_bytes: u64) -> u64 {
    blocks.saturating_mul(block_bytes) / (1024 * 1024)
}

/// Identity of this boot.
pub fn boot_id() -> String {
    read_line("/proc/sys/kernel/random/boot_id")
}

/// Name of the host.
pub fn hostname() -> String {
    read_line("/proc/sys/kernel/hostname")
}

fn read_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read() {
        assert_eq!(total_memory("MemFree: 1 kB\nMemTotal:       2097152 kB\n"), Some(2048));
        assert_eq!(total_memory(""), None);
    }

    #[test]
    fn the_headroom_is_what_is_written_unseen_but_leaves_most_of_the_disk() {
        assert_eq!(headroom_mib(1_000_000, 400), 6000);
        assert_eq!(headroom_mib(1000, 400), 100);
        assert!(write_rate_mib(&std::env::temp_dir()) > 0);
        assert_eq!(write_rate_mib(Path::new("/nowhere")), 0);
    }

    #[test]
    fn a_rate_is_measured_once_for_each_folder() {
        let dir = tempfile::tempdir().unwrap();
        let stored = dir.path().join(RATE);
        let known = |of: &str, now: u64| known_rate(&stored, Path::new(of), |_| now);
        assert_eq!(known("/a b", 0), 0);
        assert_eq!(known("/a b", 40), 40, "what failed is measured again");
        assert_eq!(known("/a b", 50), 40);
        assert_eq!(known("/c", 60), 60);
        fs::write(&stored, "broken").unwrap();
        assert_eq!(known("/c", 70), 70);
    }

    #[test]
    fn a_full_disk_is_told() {
        assert_eq!(shortage("/d", LEAST_DISK_MIB), None);
        assert_eq!(shortage("/d", 3).unwrap(), "the disk of /d is full: less than 512 MiB left");
    }

    #[test]
    fn this_host_has_something_and_given_values_win() {
        let measured = capacity(CapacityOverride::default(), "/", 0);
        assert!(measured.cpu_millis >= 1000 && measured.memory_mib > 0 && measured.disk_mib > 0);
        let given = CapacityOverride { cpu_millis: Some(1), memory_mib: Some(2), disk_mib: Some(3) };
        assert_eq!(capacity(given, "/", 0), Capacity { cpu_millis: 1, memory_mib: 2, disk_mib: 3 });
        assert!(!boot_id().is_empty() && !hostname().is_empty());
    }
}
