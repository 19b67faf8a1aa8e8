//! Whether a service is still reachable through its published ports. The engine can lose them while the container runs on:
//! its proxy dies with it, and other programs change packet rules. A probe of the container's own address does not see that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::NotReady;
use crate::docker::PortPlan;

/// Dials every published port; errs with the first that does not answer. `bridge` is the host's address on the container's
/// network.
pub async fn check(ports: &[PortPlan], bridge: Option<Ipv4Addr>, limit: Duration) -> Result<(), NotReady> {
    for port in ports {
        let dialled = timeout(limit, TcpStream::connect(target(port, bridge))).await;
        let reason = match dialled {
            Ok(Ok(_)) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {limit:?}"),
        };
        return Err(NotReady::Published { address: SocketAddr::new(port.host_ip, port.host), reason });
    }
    Ok(())
}

/// The address to dial. For a port bound to all addresses this is the bridge's: packets take the same way as those from
/// outside, while loopback has rules of its own.
fn target(port: &PortPlan, bridge: Option<Ipv4Addr>) -> SocketAddr {
    let address = match port.host_ip {
        IpAddr::V4(any) if any.is_unspecified() => IpAddr::V4(bridge.unwrap_or(Ipv4Addr::LOCALHOST)),
        IpAddr::V6(any) if any.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        one => one,
    };
    SocketAddr::new(address, port.host)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    fn port(host_ip: IpAddr, host: u16) -> PortPlan {
        PortPlan { container: 8000, host_ip, host }
    }

    #[tokio::test]
    async fn a_port_that_is_lost_is_told_by_its_address_on_the_host() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ports = [port(Ipv4Addr::LOCALHOST.into(), listener.local_addr().unwrap().port())];
        check(&ports, None, LIMIT).await.unwrap();
        drop(listener);
        let lost = check(&ports, None, LIMIT).await.unwrap_err();
        assert!(lost.is_outside_only());
        let said = lost.to_string();
        assert!(
            said.starts_with(&format!("published port 127.0.0.1:{} does not answer", ports[0].host)),
            "{said}"
        );
    }

    #[test]
    fn a_port_on_all_addresses_is_dialled_on_the_bridge() {
        let bridge = Ipv4Addr::new(10, 213, 0, 1);
        let all = port(Ipv4Addr::UNSPECIFIED.into(), 5500);
        assert_eq!(target(&all, Some(bridge)), SocketAddr::from((bridge, 5500)));
        assert_eq!(target(&all, None), SocketAddr::from((Ipv4Addr::LOCALHOST, 5500)));
        let one = port([192, 0, 2, 1].into(), 5500);
        assert_eq!(target(&one, Some(bridge)), SocketAddr::from(([192, 0, 2, 1], 5500)));
    }
}
