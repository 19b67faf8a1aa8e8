//! The API as callers use it. Needs PostgreSQL and no engine, because these calls need no host.

mod accounts;
mod audit;
mod authorization;
mod bad_input;
mod clients;
mod consistency;
mod cookies;
mod faults;
mod growth;
mod load;
mod members;
mod names;
mod nodes;
mod people;
mod personal_access_tokens;
mod placement;
mod platform;
mod private_clusters;
mod rate_limits;
mod reflection;
mod sessions;
mod signing_keys;
mod storm;
mod tables;
mod upgrade;
mod watch;
