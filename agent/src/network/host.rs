//! Ports and networks in use on the host, read from /proc and the engine, without those of this fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use super::slots::{Held, Taken};
use crate::config::HostSettings;
use crate::docker::{Engine, EngineError, HostNetwork, labels};
use crate::host::disk_shortage;

/// State of a listening socket in /proc/net/tcp.
const LISTEN: &str = "0A";

/// Everything that others use.
pub async fn taken(engine: &Engine, settings: &HostSettings) -> Result<Taken, EngineError> {
    let containers = engine.containers().await?;
    let own_ports: BTreeSet<u16> =
        containers.iter().flat_map(|container| container.host_ports.clone()).collect();
    let networks = engine.host_networks().await?;
    let own_bridges: BTreeSet<String> = containers
        .iter()
        .map(|container| labels::bridge_name(&container.project_ref))
        .chain(engine.networks().await?.into_iter().map(|network| network.bridge))
        .collect();
    let tcp = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let tcp6 = fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    let route = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let ports: BTreeMap<u16, String> = listening(&tcp)
        .chain(listening(&tcp6))
        .filter(|port| !own_ports.contains(port))
        .map(|port| (port, "in use".to_owned()))
        .collect();
    let mut held: Vec<Held> = engine_networks(&networks).collect();
    held.extend(routes(&route, &own_bridges));
    let disks = [PathBuf::from(engine.info().await?.root_dir), settings.volumes_dir.clone()];
    let full = settings.full_disk_percent;
    let shortage = move || disks.iter().find_map(|disk| disk_shortage(disk, full));
    let no_room = tokio::task::spawn_blocking(shortage).await.unwrap_or_default();
    Ok(Taken { ports, networks: held, no_room })
}

fn engine_networks(networks: &[HostNetwork]) -> impl Iterator<Item = Held> {
    networks.iter().filter(|network| !network.ours).flat_map(|network| {
        network.subnets.iter().map(|subnet| Held {
            network: *subnet,
            holder: format!("Docker network {} ({subnet})", network.name),
        })
    })
}

/// Local ports of listening sockets in the text of /proc/net/tcp or tcp6.
fn listening(table: &str) -> impl Iterator<Item = u16> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next()?;
        let state = fields.nth(1)?;
        let (_, port) = local.rsplit_once(':')?;
        (state == LISTEN).then(|| u16::from_str_radix(port, 16).ok())?
    })
}

/// Routes in the text of /proc/net/route, but default routes and those of our own bridges.
fn routes(table: &str, own_bridges: &BTreeSet<String>) -> Vec<Held> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let device = *fields.first()?;
            let network = Ipv4Net::with_netmask(address(fields.get(1)?)?, address(fields.get(7)?)?).ok()?;
            (network.prefix_len() > 0 && !own_bridges.contains(device))
                .then(|| Held { network, holder: format!("route {network} dev {device}") })
        })
        .collect()
}

/// The kernel prints addresses as the host's own bytes in hexadecimal.
fn address(hex: &str) -> Option<Ipv4Addr> {
    u32::from_str_radix(hex, 16).ok().map(|word| Ipv4Addr::from(word.to_ne_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_ports_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
             \x20  0: 0100007F:157C 00000000:0000 0A 00000000:00000000\n\
             \x20  1: 0100007F:157D 0100007F:9999 01 00000000:00000000\n";
        assert_eq!(listening(table).collect::<Vec<_>>(), [5500]);
        let table6 = "  sl  local_address\n   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0\n";
        assert_eq!(listening(table6).collect::<Vec<_>>(), [8080]);
    }

    #[test]
    fn routes_are_read_without_defaults_and_own_bridges() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
             eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth1\t0000D50A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
             slabcdefghijklm\t2000D50A\t00000000\t0001\t0\t0\t0\tE0FFFFFF\t0\t0\t0\n";
        let own = BTreeSet::from(["slabcdefghijklm".to_owned()]);
        let found = routes(table, &own);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].holder, "route 10.213.0.0/24 dev eth1");
    }
}

/// Fuzz target of the kernel's tables, and of what becomes of them: the slots that Hello calls blocked.
#[cfg(test)]
mod fuzz {
    use supalove_fuzz::{Samples, Verdict, text};

    use super::super::slots::{self, tests::host};
    use super::*;

    #[test]
    fn tables_of_the_host() {
        let samples = Samples::new([
            "  sl  local_address rem_address   st tx_queue\n   0: 0100007F:157C 00000000:0000 0A 00000000:00000000\n",
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\neth1\t2000D50A\t00000000\t0001\t0\t0\t0\tE0FFFFFF\n",
        ]);
        let words = ["FFFFFFFF", "00000000", ":", "\t", "\n", " 0A ", "\u{1b}[2J"];
        let host = host();
        text("tables of the host", &samples.words(words), |input| {
            let ports: BTreeMap<u16, String> =
                listening(input).map(|port| (port, "in use".to_owned())).collect();
            let networks = routes(input, &BTreeSet::new());
            assert!(
                networks.iter().all(|held| held.network.prefix_len() > 0),
                "a default route blocks nothing"
            );
            let found = !ports.is_empty() || !networks.is_empty();
            let blocked = slots::blocked(&host, &Taken { ports, networks, no_room: None });
            assert!(blocked.is_sorted_by(|one, other| one.slot < other.slot), "each slot at most once");
            assert!(blocked.iter().all(|one| one.slot < host.slots.slots() && !one.reason.is_empty()));
            if found { Verdict::Accepted } else { Verdict::Refused }
        });
    }
}
