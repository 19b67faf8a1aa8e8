//! Divides a node's ports and network range into slots. Slot k has the k-th block of [`PORTS_PER_SLOT`] ports from
//! the port base, and the k-th network of prefix [`SLOT_PREFIX`] of the network range. One slot holds one project.

use ipnet::Ipv4Net;

/// Ports in a slot's block.
pub const PORTS_PER_SLOT: u16 = 8;
/// Prefix length of a slot's network.
pub const SLOT_PREFIX: u8 = 27;
/// Addresses in a slot's network.
pub const ADDRESSES_PER_SLOT: u32 = 1 << (32 - SLOT_PREFIX);
/// Lowest port base: lower ports are privileged.
pub const LOWEST_PORT_BASE: u16 = 1024;
/// Ports of a host.
const PORTS: u32 = 65_536;
/// Maximum number of slots of any node, limited by its ports.
pub const MOST_SLOTS: u32 = PORTS / PORTS_PER_SLOT as u32;

/// The slots of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLayout {
    port_base: u16,
    network_range: Ipv4Net,
    slots: u32,
}

/// Invalid layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotLayoutError {
    /// The range is an address inside a network instead of the network.
    #[error("{given} is not a network; did you mean {network}?")]
    NotANetwork {
        /// As given.
        given: Ipv4Net,
        /// The network that contains it.
        network: Ipv4Net,
    },
    /// The slots would use privileged ports.
    #[error("port base {0} is below {LOWEST_PORT_BASE}")]
    PortBase(u16),
    /// More slots than ports or networks.
    #[error("{asked} slots do not fit: from port {port_base} and in {range} there is space for {room}")]
    TooMany {
        /// Requested number of slots.
        asked: u32,
        /// First port of slot 0.
        port_base: u16,
        /// Network range.
        range: Ipv4Net,
        /// Number of slots that fit.
        room: u32,
    },
}

impl SlotLayout {
    /// Creates a layout in which every slot has its ports and its network. Zero slots are allowed: such a node takes no
    /// projects.
    pub fn new(port_base: u16, network_range: Ipv4Net, slots: u32) -> Result<Self, SlotLayoutError> {
        let network = network_range.trunc();
        if network != network_range {
            return Err(SlotLayoutError::NotANetwork { given: network_range, network });
        }
        if port_base < LOWEST_PORT_BASE {
            return Err(SlotLayoutError::PortBase(port_base));
        }
        let room = Self::room(port_base, network_range);
        if slots > room {
            return Err(SlotLayoutError::TooMany { asked: slots, port_base, range: network_range, room });
        }
        Ok(Self { port_base, network_range, slots })
    }

    /// Returns how many slots fit into the ports from `port_base` and into the network range.
    pub fn room(port_base: u16, network_range: Ipv4Net) -> u32 {
        let prefix = network_range.prefix_len();
        let networks = if prefix > SLOT_PREFIX {
            0
        } else {
            1_u32.checked_shl((SLOT_PREFIX - prefix).into()).unwrap_or(u32::MAX)
        };
        networks.min((PORTS - u32::from(port_base)) / u32::from(PORTS_PER_SLOT))
    }

    /// First port of slot 0.
    pub fn port_base(&self) -> u16 {
        self.port_base
    }

    /// Range that contains the slots' networks.
    pub fn network_range(&self) -> Ipv4Net {
        self.network_range
    }

    /// Number of slots.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// First port of a slot's block, if the slot exists.
    pub fn first_port(&self, slot: u32) -> Option<u16> {
        let offset = self.existing(slot)?.checked_mul(u32::from(PORTS_PER_SLOT))?;
        u16::try_from(u32::from(self.port_base).checked_add(offset)?).ok()
    }

    /// A slot's network, if the slot exists.
    pub fn network(&self, slot: u32) -> Option<Ipv4Net> {
        let offset = self.existing(slot)?.checked_mul(ADDRESSES_PER_SLOT)?;
        let first = u32::from(self.network_range.network()).checked_add(offset)?;
        let network = Ipv4Net::new(first.into(), SLOT_PREFIX).ok()?;
        self.network_range.contains(&network).then_some(network)
    }

    fn existing(&self, slot: u32) -> Option<u32> {
        (slot < self.slots).then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn a_slot_has_its_ports_and_its_network() {
        let layout = SlotLayout::new(5500, net("10.213.0.0/16"), 100).unwrap();
        assert_eq!(layout.first_port(0), Some(5500));
        assert_eq!(layout.first_port(3), Some(5524));
        assert_eq!(layout.first_port(100), None);
        assert_eq!(layout.network(0), Some(net("10.213.0.0/27")));
        assert_eq!(layout.network(9), Some(net("10.213.1.32/27")));
        assert_eq!(layout.network(100), None);
    }

    #[test]
    fn a_small_range_has_room_for_few() {
        assert_eq!(SlotLayout::room(5500, net("10.0.0.0/26")), 2);
        assert_eq!(SlotLayout::room(5500, net("10.0.0.0/28")), 0);
        assert_eq!(SlotLayout::room(65_500, net("10.0.0.0/16")), 4);
        assert_eq!(SlotLayout::room(0, net("0.0.0.0/0")), MOST_SLOTS);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_room_there_is() {
        let range = net("10.213.0.0/16");
        assert!(SlotLayout::new(5500, range, 2048).is_ok());
        assert!(matches!(
            SlotLayout::new(5500, range, 2049),
            Err(SlotLayoutError::TooMany { room: 2048, .. })
        ));
        assert!(SlotLayout::new(60_000, range, 2048).is_err());
        assert!(SlotLayout::new(5500, net("10.0.0.0/30"), 1).is_err());
        assert_eq!(SlotLayout::new(1023, range, 1), Err(SlotLayoutError::PortBase(1023)));
        let inside = SlotLayout::new(5500, net("10.0.0.1/16"), 1).unwrap_err();
        assert_eq!(inside.to_string(), "10.0.0.1/16 is not a network; did you mean 10.0.0.0/16?");
        assert!(SlotLayout::new(5500, range, 0).unwrap().network(0).is_none());
    }

    proptest! {
        #[test]
        fn slots_of_an_accepted_layout_never_overlap_and_stay_inside(
            port_base in 0_u16.., address in any::<u32>(), prefix in 0_u8..=32, slots in 0_u32..10_000, at in any::<u32>(),
        ) {
            let range = Ipv4Net::new(address.into(), prefix).unwrap().trunc();
            let room = SlotLayout::room(port_base, range);
            let Ok(layout) = SlotLayout::new(port_base, range, slots) else {
                prop_assert!(slots > room || port_base < LOWEST_PORT_BASE);
                return Ok(());
            };
            prop_assert!(slots <= room && room <= MOST_SLOTS);
            prop_assert_eq!(layout.first_port(slots), None);
            prop_assume!(slots > 0);
            let slot = at % slots;
            let port = layout.first_port(slot).unwrap();
            prop_assert!(port >= port_base && u32::from(port) + u32::from(PORTS_PER_SLOT) <= PORTS);
            let network = layout.network(slot).unwrap();
            prop_assert!(range.contains(&network) && network.prefix_len() == SLOT_PREFIX);
            if let Some(next) = layout.first_port(slot + 1) {
                prop_assert_eq!(next - port, PORTS_PER_SLOT);
                prop_assert!(!network.contains(&layout.network(slot + 1).unwrap()));
            }
        }
    }
}
