//! The wire contract of Supalove.
//!
//! [`v1`] is the public API, `node::v1` (feature `node`) what controller and agents speak. Both are generated from the
//! protos beside this crate; [`DESCRIPTORS`] is their descriptor set, for reflection and for tools that
//! walk every method. [`items`] bounds what a message decodes to.

#![allow(missing_docs, reason = "generated; the protos carry the comments")]

pub mod items;
mod redact;

/// The public API: what dashboards, SDKs and the CLI call.
#[allow(clippy::all, clippy::pedantic, rust_2018_idioms)]
pub mod v1 {
    tonic::include_proto!("supalove.v1");
}

/// What controller and agents speak.
#[cfg(feature = "node")]
pub mod node {
    /// Version 1.
    #[allow(clippy::all, clippy::pedantic, rust_2018_idioms)]
    pub mod v1 {
        tonic::include_proto!("supalove.node.v1");
    }
}

impl v1::ErrorReason {
    /// The reason as `ErrorInfo.reason` and `OperationError.reason` have it: the name without the enum's prefix.
    pub fn text(self) -> &'static str {
        let name = self.as_str_name();
        name.strip_prefix("ERROR_REASON_").unwrap_or(name)
    }

    /// The reason with this [`text`](Self::text); `None` if this build does not know it.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::from_str_name(&format!("ERROR_REASON_{text}"))
    }
}

/// Encoded `google.protobuf.FileDescriptorSet` of the protos that this build has (those of `node::v1` only with the
/// feature `node`), and of what they import.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Metadata key that carries a control session's epoch.
pub const EPOCH_KEY: &str = "supalove-epoch";

/// The version of the node protocol this build speaks.
pub const NODE_PROTOCOL: u32 = 1;
