//! The ports that a stack publishes, and their addresses.

use supalove_proto::node::v1::{Exposure, NamedPort, StackSpec};

/// A published port of a service, before it has a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEndpoint {
    pub service: String,
    pub scheme: &'static str,
    /// Added to the first port of the slot.
    pub port_offset: i32,
    /// Bound to the host's loopback only.
    pub loopback: bool,
}

/// Returns the ports that a specification publishes.
pub fn published(spec: &StackSpec) -> Vec<ServiceEndpoint> {
    let ports =
        spec.services.iter().flat_map(|service| service.ports.iter().map(move |port| (service, port)));
    ports
        .map(|(service, port)| ServiceEndpoint {
            service: service.name.clone(),
            scheme: if port.named_port() == NamedPort::Db { "postgresql" } else { "http" },
            port_offset: port_offset(port.named_port()),
            loopback: port.exposure() == Exposure::Loopback,
        })
        .collect()
}

/// Offset of a named port in its slot's block.
pub fn port_offset(port: NamedPort) -> i32 {
    (port as i32) - 1
}

/// Origin of the gateway of a stack whose slot begins at `port_base`.
pub fn api_url(host: &str, port_base: i32) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("http://{host}:{}", port_base + port_offset(NamedPort::Api))
}
