//! What the host itself tells: rights, processor, kernel, control groups, packet filter.

use std::fs;
use std::path::Path;

use super::Check;
use crate::config::Times;
use crate::network;

/// Controllers that limits of containers need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// The line of /proc/self/status with the effective capabilities, and the bit of CAP_NET_ADMIN (capability.h).
const CAPABILITIES: &str = "CapEff:";
const NET_ADMIN: u32 = 12;

/// The agent writes packet rules and folders of other users.
pub(super) fn rights() -> Check {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if may_administer(&status) {
        Check::ok("RIGHTS", "this is an administrator of the host's network")
    } else {
        Check::failure("RIGHTS", "the agent lacks the rights of root", "run it as root")
    }
}

fn may_administer(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix(CAPABILITIES));
    let capabilities = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or_default();
    capabilities >> NET_ADMIN & 1 == 1
}

/// Shown, so that a report is complete. A program for another processor would not run at all.
pub(super) fn platform() -> Check {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Check::ok("PLATFORM", format!("{}, Linux {}", std::env::consts::ARCH, kernel.trim()))
}

/// Without them a tenant could take the whole host.
pub(super) fn cgroups() -> Check {
    let root = Path::new("/sys/fs/cgroup");
    let second = fs::read_to_string(root.join("cgroup.controllers"));
    let first = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    judge_cgroups(second.ok().as_deref(), &first)
}

fn judge_cgroups(second: Option<&str>, first: &str) -> Check {
    let (version, present): (u8, Vec<&str>) = match second {
        Some(controllers) => (2, controllers.split_ascii_whitespace().collect()),
        None => (1, enabled(first)),
    };
    let missing: Vec<&str> = CONTROLLERS.into_iter().filter(|one| !present.contains(one)).collect();
    if missing.is_empty() {
        return Check::ok("CGROUPS", format!("version {version}"));
    }
    Check::failure(
        "CGROUPS",
        format!(
            "the kernel has no control groups for {} (version {version}): containers would have no limits",
            missing.join(", ")
        ),
        "boot the kernel with cgroup_enable=memory and cgroup_memory=1, and mount /sys/fs/cgroup",
    )
}

/// Names in /proc/cgroups whose last field is 1.
fn enabled(table: &str) -> Vec<&str> {
    table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            (fields.get(3) == Some(&"1")).then(|| fields[0])
        })
        .collect()
}

/// Without it tenants would reach each other and the host.
pub(super) async fn packet_filter(times: &Times) -> Check {
    match network::usable(times.rules_call).await {
        Ok(version) => Check::ok("NFTABLES", version),
        Err(network::NftError::Missing) => Check::failure(
            "NFTABLES",
            "the program nft is missing: projects could not be kept apart",
            "install the package nftables (apt-get install nftables, or dnf install nftables), or let the join command do it: \
             --install-docker",
        ),
        Err(error) => Check::failure(
            "NFTABLES",
            error.to_string(),
            "run this as root, and on a kernel with nf_tables (modprobe nf_tables)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn both_versions_of_control_groups_are_read() {
        let second = judge_cgroups(Some("cpuset cpu io memory hugetlb pids\n"), "");
        assert_eq!((second.level, second.message.as_str()), (Level::Ok, "version 2"));
        let table =
            "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t2\t1\nmemory\t2\t2\t0\npids\t3\t2\t1\n";
        let first = judge_cgroups(None, table);
        assert_eq!(first.level, Level::Failure);
        assert!(
            first.message.contains("for memory (version 1)") && first.remedy.contains("cgroup_enable=memory")
        );
        assert_eq!(judge_cgroups(None, &table.replace("2\t2\t0", "2\t2\t1")).level, Level::Ok);
        assert_eq!(judge_cgroups(Some(""), "").level, Level::Failure);
    }

    #[test]
    fn rights_are_read() {
        assert!(may_administer("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(!may_administer("CapEff:\t0000000000000000\n"));
        assert!(!may_administer(""));
    }
}

/// Fuzz target of what the kernel says of rights and control groups.
#[cfg(test)]
mod fuzz {
    use supalove_fuzz::{Samples, Verdict, text};

    use super::super::Level;
    use super::*;

    #[test]
    fn what_the_doctor_reads() {
        let samples = Samples::new([
            "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t1\t1\t1\npids\t1\t1\t1\n",
            "cpuset cpu io memory pids\n",
            "Name:\tagent\nCapEff:\t000001ffffffffff\n",
        ]);
        text(
            "what the doctor reads",
            &samples.words(["CapEff:", "ffffffffffffffff", "#", "\t1\t1\t1"]),
            |input| {
                let checks = [judge_cgroups(Some(input), ""), judge_cgroups(None, input)];
                let fine = checks.iter().any(|check| check.level == Level::Ok);
                if fine || may_administer(input) { Verdict::Accepted } else { Verdict::Refused }
            },
        );
    }
}
