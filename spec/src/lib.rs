//! What controller and agent must agree on beside the protos. No I/O, no async, no SQL; times are plain durations.
//!
//! - [`slots`]: how a node's ports and network range are cut into slots.
//! - [`names`]: forms of the names that a stack's specification may hold.
//! - [`text`]: texts for people, host names, and text that a peer sent.
//! - [`tokens`]: `${placement.…}`, values that only the placement knows.
//! - [`limits`]: how much a specification and a message may hold.
//! - [`order`]: in which order services start and stop.
//! - [`times`]: every time that one program relies on in the other.

pub mod limits;
pub mod names;
pub mod order;
pub mod slots;
pub mod text;
pub mod times;
pub mod tokens;

pub use self::slots::{SlotLayout, SlotLayoutError};
pub use self::times::{Liveness, ProtocolTimes};
