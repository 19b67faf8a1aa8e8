//! Supalove's public API for Rust: a [`Client`] that refreshes its session, an [`Error`] with the server's details,
//! and a [`Watch`] (or [`WatchMany`]) that continues after a broken connection. [`v1`] has the generated messages.

mod client;
mod error;
mod session;
mod watch;

pub use client::Client;
pub use error::{Error, FieldViolation, Problem};
pub use prost_types;
pub use session::{Session, Tokens};
pub use supalove_proto::v1;
pub use tonic;
pub use watch::{Watch, WatchMany};
