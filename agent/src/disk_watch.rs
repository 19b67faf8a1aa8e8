//! Watches how full the host's disks are: the engine's and that of the volumes. Out: a condition of the node, before no new project
//! comes (see `network::taken`).

use std::path::{Path, PathBuf};

use tokio::time::sleep;

use crate::conditions::{Conditions, DISK_FILLING};
use crate::config::Times;
use crate::host::fullness;

/// So many percent before the disk counts as full, it is told.
const WARNED_BEFORE: u8 = 10;

/// Looks at the disks that these paths lie on. Never returns.
pub async fn fill_levels(disks: Vec<PathBuf>, full_percent: u8, conditions: Conditions, times: Times) {
    loop {
        let looked_at = disks.clone();
        let look = move || {
            looked_at.iter().find_map(|disk| {
                // A path that is not there yet says nothing about the disk.
                let used = fullness(disk).ok()?.used_percent;
                filling(disk, used, full_percent)
            })
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(Some(told)) => conditions.raise_note(DISK_FILLING, told),
            Ok(None) => conditions.clear(DISK_FILLING),
            Err(error) => tracing::warn!(%error, "cannot look how full the disks are"),
        }
        sleep(times.disk_check).await;
    }
}

/// What is told about a disk; none while there is room. Without the percentage itself, which changes all the time.
fn filling(disk: &Path, used_percent: u64, full_percent: u8) -> Option<String> {
    let warned = full_percent - WARNED_BEFORE;
    let (level, so) = match used_percent {
        used if used > full_percent.into() => (full_percent, "so no new project comes here"),
        used if used > warned.into() => (warned, "so soon no new project comes here"),
        _ => return None,
    };
    Some(format!(
        "more than {level} % of the disk of {} are used, {so}: delete what nobody needs (`docker image prune`, old projects), or \
         give the host a larger disk",
        disk.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_told_before_it_is_full() {
        let told = |used| filling(Path::new("/d"), used, 90);
        assert_eq!(told(80), None);
        assert!(told(81).unwrap().starts_with("more than 80 % of the disk of /d are used, so soon no new"));
        assert_eq!(told(81), told(90), "not a message for each percent");
        assert!(told(91).unwrap().starts_with("more than 90 % of the disk of /d are used, so no new"));
        assert_eq!(filling(Path::new("/d"), 41, 50).map(|told| told.len() > 50), Some(true));
    }
}
