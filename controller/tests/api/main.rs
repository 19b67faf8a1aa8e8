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
mod personal_access_tokens;
mod placement;
mod platform;
mod private_clusters;
mod project_settings;
mod reflection;
mod sessions;
mod storm;
mod tables;
mod upgrade;
mod watch;
