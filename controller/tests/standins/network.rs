//! Names on the project's network.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use tokio::{net::lookup_host, time::sleep};

/// Tries, a quarter of a second apart.
const TRIES: u32 = 20;

/// The point that is not met unless the name is this container's.
pub async fn own_name(name: &str) -> Option<String> {
    let hostname = std::env::var("HOSTNAME").unwrap_or_default();
    for _ in 0..TRIES {
        let own = addresses(&hostname).await;
        let named = addresses(name).await;
        if own.intersection(&named).next().is_some() {
            return None;
        }
        sleep(Duration::from_millis(250)).await;
    }
    Some(format!("{name} is not a name of this container on the network (§2)"))
}

async fn addresses(name: &str) -> BTreeSet<IpAddr> {
    match lookup_host((name, 1)).await {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(_) => BTreeSet::new(),
    }
}
