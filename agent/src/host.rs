//! Facts about the host: what may be reserved, which boot this is, what it is called.

use std::fs;

use supalove_proto::node::v1::Capacity;

/// Capacity given by hand; what is absent is measured.
#[derive(Debug, Clone, Copy, Default)]
pub struct CapacityOverride {
    /// Thousandths of a core.
    pub cpu_millis: Option<u32>,
    /// MiB of memory.
    pub memory_mib: Option<u32>,
    /// MiB of disk.
    pub disk_mib: Option<u64>,
}

/// What the host has. Promising more than that is the controller's affair.
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

/// Size of the file system that holds the volumes.
fn disk_mib(path: &str) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |stat| stat.f_blocks.saturating_mul(stat.f_frsize) / (1024 * 1024))
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
    fn this_host_has_something_and_given_values_win() {
        let measured = capacity(CapacityOverride::default(), "/");
        assert!(measured.cpu_millis >= 1000 && measured.memory_mib > 0 && measured.disk_mib > 0);
        let given = CapacityOverride { cpu_millis: Some(1), memory_mib: Some(2), disk_mib: Some(3) };
        assert_eq!(capacity(given, "/"), Capacity { cpu_millis: 1, memory_mib: 2, disk_mib: 3 });
        assert!(!boot_id().is_empty() && !hostname().is_empty());
    }
}
