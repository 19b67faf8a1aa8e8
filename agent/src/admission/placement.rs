//! Checks a stack's placement: the slot must exist on this host, and ports and network must be those of the slot.

use ipnet::Ipv4Net;
use supalove_proto::node::v1::Placement;

use super::Violations;
use crate::config::HostSettings;

pub(super) fn check(placement: &Placement, host: &HostSettings, found: &mut Violations) {
    let slot = placement.slot;
    match host.slots.first_port(slot) {
        Some(base) => found.check(
            placement.port_base == u32::from(base),
            "placement.port_base",
            format!("must be {base}, the first port of slot {slot} on this host"),
        ),
        None => found.add("placement.slot", format!("must be below {}", host.slots.slots())),
    }
    check_subnet(placement, host, found);
    let origin = placement.api_url.strip_prefix("http://").or(placement.api_url.strip_prefix("https://"));
    found.check(
        origin.is_some_and(is_host_text),
        "placement.api_url",
        "must be http(s)://host[:port] without a path",
    );
    found.check(is_host_text(&placement.api_host), "placement.api_host", "must be a host name or address");
    for (field, port) in [("api_port", placement.api_port), ("db_port", placement.db_port)] {
        found.check(u16::try_from(port).is_ok(), format!("placement.{field}"), "must be a port");
    }
}

fn check_subnet(placement: &Placement, host: &HostSettings, found: &mut Violations) {
    let expected = host.slots.network(placement.slot);
    let given = placement.subnet.parse::<Ipv4Net>().ok();
    match (given, expected) {
        (None, _) => found.add("placement.subnet", "must be an IPv4 network such as \"10.213.0.32/27\""),
        (Some(given), Some(expected)) => found.check(
            given == expected,
            "placement.subnet",
            format!("must be {expected}, the network of slot {} on this host", placement.slot),
        ),
        // The unknown slot is reported already.
        (Some(_), None) => {}
    }
}

fn is_host_text(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'_')
        })
}
