//! Compiles the protos with protox (no protoc needed) and keeps the descriptor set for reflection.

use std::{env, error::Error, fs, io, path::PathBuf};

use prost::Message as _;

/// The public API.
const PUBLIC: &str = "supalove/v1";

/// What the feature `node` adds.
const NODE: &str = "supalove/node/v1";

/// Messages that hold secrets: `src/redact.rs` gives them a `Debug` that does not show them.
const SECRET: &[&str] = &[
    ".supalove.v1.CreateJoinTokenResponse",
    ".supalove.v1.OAuthProvider",
    ".supalove.v1.ProjectSmtp",
    ".supalove.v1.RefreshRequest",
    ".supalove.v1.RevealProjectSecretsResponse",
    ".supalove.v1.SecretValue",
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
    let mut files = protos(PUBLIC)?;
    if env::var_os("CARGO_FEATURE_NODE").is_some() {
        files.extend(protos(NODE)?);
    }
    let descriptors = protox::compile(files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(out, descriptors.encode_to_vec())?;
    let mut config = prost_build::Config::new();
    // The codec finds a type's descriptor by its name.
    config.enable_type_names();
    tonic_prost_build::configure()
        .codec_path("crate::items::Codec")
        .skip_debug(SECRET)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

/// The protos of a folder; in order, so that every build generates the same.
fn protos(folder: &str) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut files = entries.collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    Ok(files)
}
