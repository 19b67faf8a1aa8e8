//! Which slots are blocked: another process listens on their ports, or their network overlaps a foreign route or network.
//! No I/O; `host` reads /proc.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use supalove_proto::node::v1::BlockedSlot;
use supalove_spec::slots::PORTS_PER_SLOT;

use crate::config::HostSettings;

/// An address range that another network or route uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub network: Ipv4Net,
    /// Who, for people: "route 10.213.0.0/24 dev eth1".
    pub holder: String,
}

/// What others use on the host.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// Ports, each with who uses it.
    pub ports: BTreeMap<u16, String>,
    pub networks: Vec<Held>,
    /// Why the host has no room for any new project.
    pub no_room: Option<String>,
}

/// The blocked slots, each with its first reason.
pub fn blocked(host: &HostSettings, taken: &Taken) -> Vec<BlockedSlot> {
    (0..host.slots.slots())
        .filter_map(|slot| reason(host, taken, slot).map(|reason| BlockedSlot { slot, reason }))
        .collect()
}

fn reason(host: &HostSettings, taken: &Taken, slot: u32) -> Option<String> {
    let (Some(first), Some(network)) = (host.slots.first_port(slot), host.slots.network(slot)) else {
        return Some("outside the host's ports or network range".into());
    };
    if taken.no_room.is_some() {
        return taken.no_room.clone();
    }
    let last = first.saturating_add(PORTS_PER_SLOT - 1);
    if let Some((port, holder)) = taken.ports.range(first..=last).next() {
        return Some(format!("port {port} is {holder}"));
    }
    let held = taken.networks.iter().find(|held| overlap(held.network, network))?;
    Some(format!("{network} overlaps {}", held.holder))
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn host() -> HostSettings {
        HostSettings {
            state_dir: "/s".into(),
            volumes_dir: "/volumes".into(),
            full_disk_percent: 90,
            volume_quota: crate::config::VolumeQuota::Measure,
            publish_address: [127, 0, 0, 1].into(),
            advertise_address: None,
            slots: supalove_spec::SlotLayout::new(5500, "10.213.0.0/16".parse().unwrap(), 16).unwrap(),
        }
    }

    #[test]
    fn ports_and_networks_of_others_block_slots_and_say_who() {
        let taken = Taken {
            ports: BTreeMap::from([
                (5499, "in use".into()),
                (5511, "in use".into()),
                (5628, "in use".into()),
            ]),
            networks: vec![
                Held {
                    network: "10.213.0.64/26".parse().unwrap(),
                    holder: "route 10.213.0.64/26 dev eth1".into(),
                },
                Held { network: "192.168.0.0/16".parse().unwrap(), holder: "elsewhere".into() },
            ],
            no_room: None,
        };
        let blocked: Vec<_> = blocked(&host(), &taken).into_iter().map(|b| (b.slot, b.reason)).collect();
        assert_eq!(
            blocked,
            [
                (1, "port 5511 is in use".to_owned()),
                (2, "10.213.0.64/27 overlaps route 10.213.0.64/26 dev eth1".to_owned()),
                (3, "10.213.0.96/27 overlaps route 10.213.0.64/26 dev eth1".to_owned()),
            ]
        );
    }

    #[test]
    fn a_wide_route_blocks_all_and_nothing_blocks_none() {
        let wide =
            Held { network: "10.0.0.0/8".parse().unwrap(), holder: "route 10.0.0.0/8 dev tun0".into() };
        let taken = Taken { networks: vec![wide], ..Taken::default() };
        assert_eq!(blocked(&host(), &taken).len(), 16);
        let full = Taken { no_room: Some("the disk is full".into()), ..Taken::default() };
        assert_eq!(blocked(&host(), &full).len(), 16);
        assert!(blocked(&host(), &Taken::default()).is_empty());
    }
}
