//! The host's network around the projects: packet rules that isolate each project, and the ports and networks that others
//! use.

mod chains;
mod host;
mod nft;
mod owner;
mod rules;
mod slots;

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::Ipv4Net;

pub use self::chains::{Chains, engine_chains};
pub use self::host::taken;
pub use self::nft::NftError;
pub use self::owner::{Looked, Rules};
pub use self::slots::{Held, Taken, blocked};

/// Removes a node's packet rules. There is nothing to remove where `nft` is missing.
pub async fn remove_rules(node_short: &str, range: Ipv4Net, limit: Duration) -> Result<(), NftError> {
    let script = rules::render(&rules::table_name(node_short), range, &BTreeSet::new());
    match nft::load(&script, limit).await {
        Err(NftError::Missing) => Ok(()),
        other => other,
    }
}

/// Errs if the packet filter cannot be used: no program, or no right to it. Returns the program's version.
pub async fn usable(limit: Duration) -> Result<String, NftError> {
    let version = nft::version(limit).await?;
    nft::list("supalove_none", limit).await?;
    Ok(version.trim().to_owned())
}
