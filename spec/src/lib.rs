//! Rules and limits on which controller and agent must agree, besides the protos. No I/O, no async, no SQL.
//!
//! - [`slots`]: how a node's ports and network range are divided into slots.
//! - [`names`]: formats of the names in a specification.
//! - [`image`]: digests and manifests of images.
//! - [`text`]: display texts, host names, and text from a peer.
//! - [`tokens`]: `${placement.…}`, tokens for values that only the placement determines.
//! - [`limits`]: maximum sizes of specifications, reports and messages.
//! - [`order`]: the order in which services start and stop.
//! - [`program`]: how the agent's program says its version to whoever only reads it.
//! - [`registry`]: which registry an image is of.
//! - [`times`]: every time that one program relies on in the other.

pub mod image;
pub mod limits;
pub mod names;
pub mod order;
pub mod program;
pub mod registry;
pub mod slots;
pub mod text;
pub mod times;
pub mod tokens;

pub use self::slots::{SlotLayout, SlotLayoutError};
pub use self::times::{Liveness, ProtocolTimes};
