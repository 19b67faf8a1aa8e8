//! The CLI as a user sees it: the real binary against a fake API in this process.

mod answers;
mod audit;
mod fleet;
mod images;
mod logs;
mod names;
mod people;
mod plans;
mod projects;
mod registries;
mod sessions;
mod settings;
mod support;
mod usage;
