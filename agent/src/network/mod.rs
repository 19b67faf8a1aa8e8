//! The host's network around the projects: rules that close each project in, and what of the host is taken.

mod host;
mod nft;
mod owner;
mod rules;
mod slots;

pub use self::host::taken;
pub use self::nft::NftError;
pub use self::owner::Rules;
pub use self::slots::{Held, Taken, blocked};
