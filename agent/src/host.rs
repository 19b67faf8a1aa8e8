//! Facts about the host: its capacity, its boot id, its name.

use std::fs;
use std::path::Path;
use std::time::Instant;

use supalove_proto::node::v1::Capacity;

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

/// How long tenants write before a measurement sees it.
const UNSEEN_SECONDS: u64 = 15;
/// The headroom is at most one part in so many of the disk: on memory disks nothing else would be left.
const HEADROOM_PART: u64 = 10;

/// What the host has; on disk without the headroom that no project may reserve. Only the controller offers more than that
/// (overcommit).
pub fn capacity(given: CapacityOverride, volumes_dir: &str) -> Capacity {
    Capacity {
        cpu_millis: given.cpu_millis.unwrap_or_else(cpu_millis),
        memory_mib: given.memory_mib.unwrap_or_else(memory_mib),
        disk_mib: given.disk_mib.unwrap_or_else(|| {
            let all = disk_mib(volumes_dir);
            all - headroom_mib(all, write_rate_mib(Path::new(volumes_dir)))
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

/// MiB a second that a program writes there, measured with a small file.
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
    fn a_full_disk_is_told() {
        assert_eq!(shortage("/d", LEAST_DISK_MIB), None);
        assert_eq!(shortage("/d", 3).unwrap(), "the disk of /d is full: less than 512 MiB left");
    }

    #[test]
    fn this_host_has_something_and_given_values_win() {
        let measured = capacity(CapacityOverride::default(), "/");
        assert!(measured.cpu_millis >= 1000 && measured.memory_mib > 0 && measured.disk_mib > 0);
        let given = CapacityOverride { cpu_millis: Some(1), memory_mib: Some(2), disk_mib: Some(3) };
        assert_eq!(capacity(given, "/"), Capacity { cpu_millis: 1, memory_mib: 2, disk_mib: 3 });
        assert!(!boot_id().is_empty() && !hostname().is_empty());
    }
}
