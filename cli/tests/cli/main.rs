//! The CLI as a user sees it: the real binary against a fake API in this process.

mod answers;
mod fleet;
mod names;
mod people;
mod projects;
mod sessions;
mod settings;
mod support;
