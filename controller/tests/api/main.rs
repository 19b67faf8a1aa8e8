//! The API as callers meet it. Needs PostgreSQL and no engine: what is asked here is answered without a host.

mod audit;
mod authorization;
mod bad_input;
mod clients;
mod placement;
mod platform;
mod reflection;
mod sessions;
mod tables;
mod watch;
