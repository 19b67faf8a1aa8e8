//! Renders a project's settings to the exact `StackSpec` that an agent gets.
//!
//! Input: stack releases (`deploy/stacks`, embedded in the binary, and an operator's own directory), a
//! project's ref, secrets and settings. Output: one `node::v1::StackSpec`, always the same for the same
//! input. No I/O happens after the releases are loaded. Nothing here depends on nodes, slots or ports:
//! values that depend on the placement stay tokens (`${placement.…}`) that the agent replaces.
//!
//! `manifest` is the schema of `stack.yaml`, `validate` checks what serde cannot, `release` loads releases,
//! `render` turns templates into a specification, `keys` has the secrets of one project,
//! `settings` its settings, `size` what its size means.

#![allow(missing_docs, reason = "a room's crate: a comment is written where it says something")]

#[cfg(test)]
mod fuzz;
mod keys;
mod manifest;
mod release;
mod render;
mod settings;
mod size;
mod validate;

pub use keys::{JWT_SECRETS, PASSWORD_SECRETS, ProjectSecrets, SecretsError};
pub use manifest::Resources;
pub use release::{KnownHole, Release, ReleaseError, Releases};
pub use render::{ProjectInput, RenderError, render};
pub use settings::{OAUTH_PROVIDERS, OAuthProvider, ProjectSettings, Smtp};
pub use size::Size;
pub use validate::Problem;

#[cfg(test)]
mod tests;
