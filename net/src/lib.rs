//! Code for connections that controller and agent share.
//!
//! - [`allowance`]: how much may be open at once, in all and per peer, and a count of what was refused.
//! - [`channel`]: a gRPC client over one given stream, and the HTTP/2 settings of both sides.
//! - [`observed`]: a wrapper around a stream that reports reads and errors, and that a token can close.
//! - [`serve`]: HTTP on one accepted connection, with limits.
//! - [`status`]: gRPC errors with `google.rpc` details, and errors as text.
//! - [`logs`]: the log filter that keeps libraries from printing secrets.
//! - [`metrics`]: Prometheus' text format, and the port that shows it.

pub mod allowance;
pub mod channel;
pub mod logs;
pub mod metrics;
pub mod observed;
pub mod serve;
pub mod status;

pub use self::channel::{OneStream, Pings};
pub use self::observed::{LastHeard, Observed};
