//! What the Docker Engine tells: its version, live-restore, disk, and which slots the host's ports and networks leave.

use std::path::{Path, PathBuf};

use supalove_proto::node::v1::BlockedSlot;

use super::{Check, Settings};
use crate::args::Run;
use crate::config::{HostSettings, Times};
use crate::docker::{Engine, EngineError, EngineInfo};
use crate::host::{LEAST_DISK_MIB, fullness};
use crate::identity::Identity;
use crate::network::{Taken, blocked, taken};

/// Oldest engine that the agent's tests know.
const OLDEST: (u32, u32) = (20, 10);
/// Free MiB below which a host has room for a few small projects only.
const LITTLE_DISK_MIB: u64 = 10 * 1024;
/// Blocked slots that a message names.
const NAMED: usize = 3;

const INSTALL: &str = "install the Docker Engine 20.10 or newer (apt-get install docker.io, or dnf install moby-engine), or let the \
     join command do it: --install-docker";
const UPGRADE: &str = "upgrade it to 20.10 or newer through the package manager that installed it";
const START: &str = "start it (systemctl start docker, or without systemd: service docker start), and look at its log \
     (journalctl -u docker, or /var/log/docker.log)";

pub(super) async fn examine(
    options: &Run,
    identity: Option<&Identity>,
    settings: Settings<'_>,
    times: &Times,
) -> Vec<Check> {
    // Before joining, no object of the engine is ours.
    let fleet = identity.map_or("", |identity| &identity.fleet_id);
    let connected = async {
        let engine = Engine::connect(&options.docker_host, fleet, *times).await?;
        let info = engine.info().await?;
        Ok::<_, EngineError>((engine, info))
    };
    let (engine, info) = match connected.await {
        Ok(connected) => connected,
        Err(error) => return vec![silent(&options.docker_host, &error)],
    };
    let mut checks = vec![version(&info), live_restore(&info)];
    // Before joining there is no folder yet: its disk will be that of the folders above.
    let volumes = options.volumes_dir.clone().unwrap_or_else(|| options.state.state_dir.join("volumes"));
    checks.push(disk(&[PathBuf::from(&info.root_dir), volumes.clone()]));
    if let Some(settings) = settings {
        let there = volumes.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let there = HostSettings { volumes_dir: there.to_owned(), ..settings.clone() };
        checks.push(match taken(&engine, &there).await {
            // Room on the disk has a check of its own.
            Ok(taken) => slots(settings, &Taken { no_room: None, ..taken }),
            Err(error) => Check::failure("SLOTS", error.to_string(), START),
        });
    }
    checks
}

fn silent(docker_host: &str, error: &EngineError) -> Check {
    let socket = docker_host.strip_prefix("unix://").unwrap_or(docker_host);
    let absent = socket.starts_with('/') && !Path::new(socket).exists();
    let message = if absent {
        format!("no Docker Engine: there is no socket {socket}")
    } else {
        format!("no usable Docker Engine at {docker_host}: {error}")
    };
    Check::failure(
        "ENGINE",
        message,
        if absent { format!("{INSTALL}; if it is installed, {START}") } else { START.into() },
    )
}

fn version(info: &EngineInfo) -> Check {
    let found = format!("Docker Engine {}", info.version);
    match parse_version(&info.version) {
        Some(version) if version >= OLDEST => Check::ok("ENGINE", found),
        Some(_) => Check::failure("ENGINE", format!("{found} is too old"), UPGRADE),
        None => Check::warning(
            "ENGINE",
            format!("an engine of the unknown version \"{}\"", info.version),
            "check that it is the Docker Engine 20.10 or newer",
        ),
    }
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts =
        text.split('.').map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn live_restore(info: &EngineInfo) -> Check {
    if info.live_restore {
        return Check::ok("LIVE_RESTORE", "containers outlive a restart of the engine");
    }
    Check::failure(
        "LIVE_RESTORE",
        "the Docker Engine runs without live-restore: its restart would stop every project",
        "add \"live-restore\": true to /etc/docker/daemon.json, then: systemctl reload docker (without systemd: kill -HUP its process)",
    )
}

/// In: the folders of images and volumes. Folders that are not there yet will be on the file system of what is above them.
fn disk(folders: &[PathBuf]) -> Check {
    let free = folders.iter().filter_map(|folder| {
        let there = folder.ancestors().find(|path| path.exists())?;
        Some((fullness(there).ok()?.free_mib, folder))
    });
    match free.min() {
        None => Check::warning(
            "DISK",
            "the free space cannot be measured",
            "run this on the engine's own host, as root",
        ),
        Some((free, folder)) => judge_disk(free, folder),
    }
}

fn judge_disk(free: u64, folder: &Path) -> Check {
    let message = format!("{free} MiB are free on the disk of {}", folder.display());
    let remedy = "free space on it, or choose another disk: \"data-root\" in /etc/docker/daemon.json for images, --volumes-dir for data";
    if free < LEAST_DISK_MIB {
        Check::failure(
            "DISK",
            format!("the disk is full: {message}, a project needs {LEAST_DISK_MIB}"),
            remedy,
        )
    } else if free < LITTLE_DISK_MIB {
        Check::warning("DISK", format!("{message}: that is room for a few small projects"), remedy)
    } else {
        Check::ok("DISK", message)
    }
}

fn slots(settings: &HostSettings, taken: &Taken) -> Check {
    let all = settings.slots.slots();
    let blocked = blocked(settings, taken);
    let free = usize::try_from(all).unwrap_or(usize::MAX).saturating_sub(blocked.len());
    if blocked.is_empty() {
        let (ports, range) = (settings.slots.port_base(), settings.slots.network_range());
        return Check::ok("SLOTS", format!("{all} slots, with ports from {ports} and networks in {range}"));
    }
    let message = format!("{} of {all} slots are blocked: {}", blocked.len(), reasons(&blocked));
    let remedy = "end what holds the ports, or choose other ones with --port-base; choose another range than that of a route with \
        --network-range";
    if free == 0 {
        Check::failure("SLOTS", format!("{message}: no project fits"), remedy)
    } else {
        Check::warning("SLOTS", message, remedy)
    }
}

fn reasons(blocked: &[BlockedSlot]) -> String {
    let named: Vec<&str> = blocked.iter().take(NAMED).map(|one| one.reason.as_str()).collect();
    let more = if blocked.len() > NAMED { ", …" } else { "" };
    named.join(", ") + more
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use supalove_spec::image::Platform;

    use super::super::Level;
    use super::*;
    use crate::network::Held;

    fn info(version: &str, live_restore: bool) -> EngineInfo {
        EngineInfo {
            version: version.into(),
            platform: Platform::of_host("linux", "x86_64"),
            root_dir: "/".into(),
            live_restore,
            cgroups: "2".into(),
        }
    }

    #[test]
    fn engines_are_judged_by_their_version() {
        for (text, level) in [
            ("20.10.24+dfsg1", Level::Ok),
            ("28.0.1", Level::Ok),
            ("20.9", Level::Failure),
            ("18.09.1", Level::Failure),
            ("dev", Level::Warning),
        ] {
            assert_eq!(version(&info(text, true)).level, level, "{text}");
        }
        assert_eq!(live_restore(&info("28.0", true)).level, Level::Ok);
        let without = live_restore(&info("28.0", false));
        assert!(without.level == Level::Failure && without.remedy.contains("\"live-restore\": true"));
    }

    #[test]
    fn a_disk_is_full_or_nearly_so() {
        let level = |free| judge_disk(free, Path::new("/d")).level;
        assert_eq!([level(511), level(512), level(10 * 1024)], [Level::Failure, Level::Warning, Level::Ok]);
        assert_eq!(disk(&[PathBuf::from("/nowhere/at/all")]).check, "DISK");
    }

    #[test]
    fn what_blocks_slots_is_named() {
        let settings = HostSettings {
            state_dir: "/s".into(),
            volumes_dir: "/v".into(),
            full_disk_percent: 90,
            volume_quota: crate::config::VolumeQuota::Measure,
            publish_address: [127, 0, 0, 1].into(),
            advertise_address: None,
            slots: supalove_spec::SlotLayout::new(5500, "10.213.0.0/16".parse().unwrap(), 8).unwrap(),
        };
        assert_eq!(slots(&settings, &Taken::default()).level, Level::Ok);
        let port = Taken { ports: BTreeMap::from([(5501, "in use".to_owned())]), ..Taken::default() };
        let found = slots(&settings, &port);
        assert_eq!(
            (found.level, found.message.as_str()),
            (Level::Warning, "1 of 8 slots are blocked: port 5501 is in use")
        );
        assert!(found.remedy.contains("--port-base"));
        let route =
            Held { network: "10.0.0.0/8".parse().unwrap(), holder: "route 10.0.0.0/8 dev tun0".into() };
        let found = slots(&settings, &Taken { networks: vec![route], ..Taken::default() });
        assert_eq!(found.level, Level::Failure);
        assert!(
            found.message.contains("dev tun0, …: no project fits")
                && found.remedy.contains("--network-range")
        );
    }

    #[test]
    fn an_engine_that_is_not_installed_is_told_from_one_that_is_silent() {
        let error = EngineError::Timeout(std::time::Duration::from_secs(1));
        let absent = silent("unix:///nowhere/docker.sock", &error);
        assert!(absent.message.contains("no socket") && absent.remedy.contains("--install-docker"));
        let there = silent("unix:///", &error);
        assert!(there.message.contains("did not answer") && there.remedy.contains("systemctl start docker"));
    }
}
