//! What the system tests share: real processes of this workspace on a real PostgreSQL and a real Docker Engine.
//!
//! `make test` starts PostgreSQL and the engine and builds the image set and the binaries; see `deploy/dev/test.sh`.

#![allow(dead_code, unused_imports, reason = "every test binary uses a part of it")]

mod agent;
mod api;
mod clock;
mod controller;
mod database;
mod docker;
mod docker_host;
mod fleet;
mod identity;
mod lossy_proxy;
mod postgres;
mod probe;
mod process;
mod raw_http;
mod release;
mod releases;
mod stub;
mod tcp_proxy;

pub use agent::{Agent, AgentOptions, join};
pub use api::{Api, PASSWORD, wait_for};
pub use clock::Clock;
pub use controller::{Controller, Options};
pub use database::Database;
pub use docker::{docker, labelled, remove_fleet, try_docker};
pub use docker_host::DockerHost;
pub use fleet::{Fleet, Tenant};
pub use identity::{Holder, authorities, shown, shows};
pub use lossy_proxy::LossyProxy;
pub use postgres::Postgres;
pub use probe::{Held, Target, probe};
pub use process::{Process, free_port, texts_in};
pub use raw_http::{Answer, Server};
pub use release::copy_core;
pub use releases::{core_image, echo_releases, steps_releases};
pub use stub::{Heard, STUB_RUN, Stub};
pub use tcp_proxy::TcpProxy;

/// Product time limits are asserted with this slack.
pub const SLACK: u32 = 3;

/// One provider for the process, as in `main`.
pub fn install_crypto() {
    // A second test of the same binary finds it installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
