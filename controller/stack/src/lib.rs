//! A project's settings → the exact `StackSpec` an agent gets.
//!
//! In: stack releases (`deploy/stacks`, embedded in the binary, and an operator's own directory), a
//! project's ref, secrets and settings. Out: one `node::v1::StackSpec`, always the same for the same
//! input. Nothing here does I/O after the releases are loaded, and nothing knows nodes, slots or ports:
//! values that depend on the placement stay tokens (`${placement.…}`) that the agent replaces.
//!
//! `manifest` is the schema of `stack.yaml`, `validate` what serde cannot check, `release` loading,
//! `render` templates → spec, `keys` the secrets of one project.

#[cfg(test)]
mod fuzz;
mod keys;
mod manifest;
mod release;
mod render;
mod validate;

pub use keys::{ProjectSecrets, SecretsError};
pub use manifest::Resources;
pub use release::{Release, ReleaseError, Releases};
pub use render::{ProjectInput, ProjectSettings, RenderError, render};
pub use validate::Problem;

#[cfg(test)]
mod tests;
