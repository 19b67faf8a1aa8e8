//! What controller and agent both do to a connection.
//!
//! - [`channel`]: a gRPC client over one given stream, and the HTTP/2 settings of both sides.
//! - [`observed`]: one wrapper around a stream that tells what was read, what failed, and that can be cut from outside.
//! - [`status`]: gRPC errors with `google.rpc` details, and errors as text.
//! - [`logs`]: the log filter that keeps libraries from printing secrets.

pub mod channel;
pub mod logs;
pub mod observed;
pub mod status;

pub use self::channel::{OneStream, Pings};
pub use self::observed::{LastHeard, Observed};
