//! Facts about the host: its capacity, its boot id, its name.

use std::fs;

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

/// What the host has. Only the controller offers more than that (overcommit).
pub fn capacity(given: CapacityOverride, docker_root: &str) -> Capacity {
    Capacity {
        cpu_millis: given.cpu_millis.unwrap_or_else(cpu_millis),
        memory_mib: given.memory_mib.unwrap_or_else(memory_mib),
        disk_mib: given.disk_mib.unwrap_or_else(|| disk_mib(docker_root)),
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
