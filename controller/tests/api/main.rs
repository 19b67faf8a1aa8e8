//! The API as callers use it. Needs PostgreSQL and no engine, because these calls need no host.

mod audit;
mod authorization;
mod bad_input;
mod clients;
mod faults;
mod placement;
mod platform;
mod reflection;
mod sessions;
mod tables;
mod watch;
