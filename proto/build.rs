//! Compiles the protos with protox (no protoc needed) and keeps the descriptor set for reflection.

use std::{env, error::Error, fs, io, path::PathBuf};

use prost::Message as _;
use prost_types::{FileDescriptorSet, field_descriptor_proto::Type};

/// The public API.
const PUBLIC: &str = "supalove/v1";

/// What the feature `node` adds.
const NODE: &str = "supalove/node/v1";

/// Messages that hold secrets: `src/redact.rs` gives them a `Debug` that does not show them.
const SECRET: &[&str] = &[
    ".supalove.v1.AcceptInvitationRequest",
    ".supalove.v1.ChangePasswordRequest",
    ".supalove.v1.ConfirmEmailChangeRequest",
    ".supalove.v1.CreateInvitationResponse",
    ".supalove.v1.CreateJoinTokenResponse",
    ".supalove.v1.CreatePersonalAccessTokenResponse",
    ".supalove.v1.DeleteAccountRequest",
    ".supalove.v1.GetInvitationRequest",
    ".supalove.v1.OAuthProvider",
    ".supalove.v1.ProjectSmtp",
    ".supalove.v1.RefreshRequest",
    ".supalove.v1.RequestEmailChangeRequest",
    ".supalove.v1.ResendInvitationResponse",
    ".supalove.v1.ResetPasswordRequest",
    ".supalove.v1.RevealProjectSecretsResponse",
    ".supalove.v1.SecretValue",
    ".supalove.v1.SessionTokens",
    ".supalove.v1.SetRegistryCredentialsRequest",
    ".supalove.v1.SetUpRequest",
    ".supalove.v1.SignInRequest",
    ".supalove.v1.SignUpRequest",
    ".supalove.node.v1.ConfigFile",
    ".supalove.node.v1.EnrollRequest",
    ".supalove.node.v1.EnvVar",
    ".supalove.node.v1.HttpProbe",
    ".supalove.node.v1.PostgresProbe",
    ".supalove.node.v1.RegistryCredentials",
];

/// Ends of field names that only sound like one.
const NO_SECRET: &[&str] = &["page_token", "restart_token"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=supalove");
    let mut files = protos(PUBLIC)?;
    if env::var_os("CARGO_FEATURE_NODE").is_some() {
        files.extend(protos(NODE)?);
    }
    let descriptors = protox::compile(files, ["."])?;
    if let Some(shown) = shown_secret(&descriptors) {
        return Err(
            format!("{shown} looks like a secret: name its message in SECRET and in src/redact.rs").into()
        );
    }
    let out = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(out, descriptors.encode_to_vec())?;
    let mut config = prost_build::Config::new();
    // The codec finds a type's descriptor by its name.
    config.enable_type_names();
    // The same message has the same bytes: a repeated call is known by the hash of its request.
    config.btree_map(["."]);
    tonic_prost_build::configure()
        .codec_path("crate::items::Codec")
        .skip_debug(SECRET)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

/// A field that is named like a secret, in a message whose `Debug` would show it.
fn shown_secret(descriptors: &FileDescriptorSet) -> Option<String> {
    let is_secret = |name: &str| {
        ["password", "token", "secret"]
            .iter()
            .any(|word| name == *word || name.ends_with(&format!("_{word}")))
            && !NO_SECRET.iter().any(|known| name.ends_with(known))
    };
    descriptors
        .file
        .iter()
        .flat_map(|file| file.message_type.iter().map(move |message| (file, message)))
        .find_map(|(file, message)| {
            let name = format!(".{}.{}", file.package(), message.name());
            let field = message.field.iter().find(|field| {
                matches!(field.r#type(), Type::String | Type::Bytes) && is_secret(field.name())
            })?;
            (!SECRET.contains(&name.as_str())).then(|| format!("{}.{}", name, field.name()))
        })
}

/// The protos of a folder; in order, so that every build generates the same.
fn protos(folder: &str) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut files = entries.collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    Ok(files)
}
