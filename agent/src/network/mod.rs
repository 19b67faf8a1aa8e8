//! The host's network around the projects: packet rules that isolate each project, and the ports and networks that others
//! use.

mod chains;
mod host;
mod nft;
mod owner;
mod rules;
mod slots;

pub use self::chains::{Chains, engine_chains};
pub use self::host::taken;
pub use self::nft::NftError;
pub use self::owner::{Looked, Rules};
pub use self::slots::{Held, Taken, blocked};
