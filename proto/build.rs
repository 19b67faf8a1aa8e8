//! Compiles the protos with protox (no protoc needed) and keeps the descriptor set for reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

/// The public API.
const PUBLIC: &[&str] = &[
    "supalove/v1/auth.proto",
    "supalove/v1/authority.proto",
    "supalove/v1/cluster.proto",
    "supalove/v1/operation.proto",
    "supalove/v1/organization.proto",
    "supalove/v1/project.proto",
];

/// What the feature `node` adds.
const NODE: &[&str] = &[
    "supalove/node/v1/enrollment.proto",
    "supalove/node/v1/node_agent.proto",
    "supalove/node/v1/stack.proto",
];

/// Messages that hold secrets: `src/redact.rs` gives them a `Debug` that does not show them.
const SECRET: &[&str] = &[
    ".supalove.v1.CreateJoinTokenResponse",
    ".supalove.v1.GetProjectApiKeysResponse",
    ".supalove.v1.GetProjectConnectionResponse",
    ".supalove.v1.RefreshRequest",
    ".supalove.v1.SessionTokens",
    ".supalove.v1.SetUpRequest",
    ".supalove.v1.SignInRequest",
    ".supalove.node.v1.ConfigFile",
    ".supalove.node.v1.EnrollRequest",
    ".supalove.node.v1.EnvVar",
    ".supalove.node.v1.HttpProbe",
    ".supalove.node.v1.PostgresProbe",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=supalove");
    let node = if env::var_os("CARGO_FEATURE_NODE").is_some() { NODE } else { &[] };
    let descriptors = protox::compile([PUBLIC, node].concat(), ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(out, descriptors.encode_to_vec())?;
    tonic_prost_build::configure().skip_debug(SECRET).compile_fds(descriptors)?;
    Ok(())
}
