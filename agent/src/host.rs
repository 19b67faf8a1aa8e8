//! Facts about the host: its capacity, its boot id, its name.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

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

/// Of all cores.
pub fn cpu_millis() -> u32 {
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
pub const LEAST_DISK_MIB: u64 = 512;

/// What one tenant writes, at this rate, before the agent sees it.
fn headroom_mib(disk_mib: u64, rate_mib: u64) -> u64 {
    rate_mib.saturating_mul(UNSEEN_SECONDS).min(disk_mib / HEADROOM_PART)
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
    if let Some(rate) = rate_of(&fs::read_to_string(stored).unwrap_or_default(), dir) {
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

/// What was written down of this folder.
fn rate_of(known: &str, dir: &Path) -> Option<u64> {
    let (rate, of) = known.split_once(' ')?;
    if Path::new(of.trim_end()) == dir { rate.parse().ok() } else { None }
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

/// How full a file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fullness {
    /// MiB that are left for programs that are not root's.
    pub free_mib: u64,
    /// Percent that are used, as `df` counts: of what such programs can use, rounded up.
    pub used_percent: u64,
}

/// Measures the file system that a path lies on.
pub fn fullness(path: &Path) -> io::Result<Fullness> {
    let stat = rustix::fs::statvfs(path)?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let free_mib = mib(stat.f_bavail, stat.f_frsize);
    Ok(Fullness { free_mib, used_percent: percent(used, used.saturating_add(stat.f_bavail)) })
}

fn percent(part: u64, of: u64) -> u64 {
    part.saturating_mul(100).div_ceil(of.max(1))
}

/// Why there is no room for a new project on the file system that a path lies on.
pub fn disk_shortage(path: &Path, full_percent: u8) -> Option<String> {
    match fullness(path) {
        Ok(found) => shortage(path, found, full_percent),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "cannot measure the free disk space: projects may be placed on a full disk");
            None
        }
    }
}

/// Without the numbers that were measured: the controller stores each change of the reason.
fn shortage(path: &Path, found: Fullness, full_percent: u8) -> Option<String> {
    let path = path.display();
    if found.free_mib < LEAST_DISK_MIB {
        return Some(format!("the disk of {path} is full: less than {LEAST_DISK_MIB} MiB left"));
    }
    (found.used_percent > full_percent.into())
        .then(|| format!("more than {full_percent} % of the disk of {path} are used"))
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
        assert_eq!(headroom_mib(1000, u64::MAX), 100, "also if the file with the rate is damaged");
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
        let told =
            |free_mib, used_percent| shortage(Path::new("/d"), Fullness { free_mib, used_percent }, 90);
        assert_eq!(told(LEAST_DISK_MIB, 90), None);
        assert_eq!(told(3, 1).unwrap(), "the disk of /d is full: less than 512 MiB left");
        assert_eq!(told(LEAST_DISK_MIB, 91).unwrap(), "more than 90 % of the disk of /d are used");
        assert_eq!((percent(1, 1000), percent(0, 0), percent(9, 10)), (1, 0, 90));
        let here = fullness(&std::env::temp_dir()).unwrap();
        assert!(here.used_percent <= 100 && fullness(Path::new("/nowhere")).is_err());
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

/// Fuzz target of what the kernel and the agent's own file say of the host.
#[cfg(test)]
mod fuzz {
    use supalove_fuzz::{Samples, Verdict, text};

    use super::*;

    #[test]
    fn facts_of_the_host() {
        let samples =
            Samples::new(["MemTotal:       2097152 kB\nMemFree: 1 kB\n", "400 /var/lib/volumes\n", "8 /x\n"]);
        let words = ["MemTotal:", "18446744073709551615", " /var/lib/volumes", "-1"];
        text("facts of the host", &samples.words(words), |input| {
            let memory = total_memory(input);
            let rate = rate_of(input, Path::new("/var/lib/volumes"));
            for disk in [0, 1, 10_000, u64::MAX] {
                let headroom = headroom_mib(disk, rate.unwrap_or_default());
                assert!(headroom <= disk / HEADROOM_PART, "most of the disk is left");
            }
            if memory.is_some() || rate.is_some() { Verdict::Accepted } else { Verdict::Refused }
        });
    }
}
