//! Whether the Docker Engine's chains are in the packet filter. The engine makes them when it starts, and never looks
//! again: without them it can start no container, and packets from and to its containers are no longer translated.
//!
//! The engine writes them with `iptables`, over either backend of that program, or, since version 29, as nftables tables
//! of its own. Both are asked: a listing by the same program sees what the engine wrote.

use std::time::Duration;

use super::nft::{self, NftError, list_rules};

/// The table of an engine that writes nftables itself.
const OWN_TABLE: [&str; 2] = ["ip", "docker-bridges"];

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Chains {
    Present,
    Missing,
    /// They could not be listed; why.
    Unknown(String),
}

/// Looks for the chains.
pub async fn engine_chains(limit: Duration) -> Chains {
    match list_rules(limit).await {
        Ok(rules) if has_chains(&rules) => return Chains::Present,
        // Without the program the engine can have written nftables only.
        Ok(_) | Err(NftError::Missing) => {}
        Err(error) => return Chains::Unknown(error.to_string()),
    }
    match nft::list_table(OWN_TABLE, limit).await {
        Ok(Some(_)) => Chains::Present,
        Ok(None) => Chains::Missing,
        Err(error) => Chains::Unknown(error.to_string()),
    }
}

/// Reads the listing of the table `nat` by `iptables -S`: the chain exists, and packets get to it.
fn has_chains(rules: &str) -> bool {
    let exists = rules.lines().any(|line| line == "-N DOCKER");
    exists && rules.lines().any(|line| line.starts_with("-A PREROUTING ") && line.ends_with("-j DOCKER"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_is_gone_or_that_no_packet_reaches_is_missed() {
        let whole = "-P PREROUTING ACCEPT\n-P INPUT ACCEPT\n-N DOCKER\n\
             -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n\
             -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n";
        assert!(has_chains(whole));
        assert!(!has_chains("-P PREROUTING ACCEPT\n-P INPUT ACCEPT\n"));
        assert!(!has_chains(&whole.replace("-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n", "")));
        assert!(!has_chains(&whole.replace("-N DOCKER\n", "-N DOCKER-USER\n")));
    }
}
