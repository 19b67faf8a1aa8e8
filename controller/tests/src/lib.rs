//! What the system tests share: real processes of this workspace on a real PostgreSQL and a real Docker Engine.
//!
//! `make test` starts PostgreSQL and the engine and builds the image set and the programs; see `deploy/dev/test.sh`.
//! Tests run at the same time, in one program and in several: each has its own database, fleet, ports and networks
//! (`machine`), and only so many of them are at work at once (`turn`).

mod agent;
mod api;
mod busy_double;
mod clients;
mod clock;
mod consistency;
mod controller;
mod database;
mod database_tls;
mod docker;
mod docker_host;
mod double;
mod fleet;
mod identity;
mod lossy_proxy;
mod machine;
mod mail_sink;
mod metrics;
mod outbox;
mod postgres;
mod probe;
mod process;
mod programs;
mod raw_http;
mod release;
mod releases;
mod rows;
mod small_image;
mod stub;
mod tcp_proxy;
mod turn;

pub use agent::{Agent, AgentOptions, join};
pub use api::{Api, PASSWORD, restores, wait_for};
pub use busy_double::{BusyDouble, Manners};
pub use clients::{EMAIL, Lines, client, lines_of, with_user};
pub use clock::Clock;
pub use controller::{Controller, Options, PREVIOUS_KEY};
pub use database::Database;
pub use database_tls::verified_certificate;
pub use docker::{docker, labelled, remove_fleet, try_docker};
pub use docker_host::DockerHost;
pub use double::{Double, DoubleRecord, DoubleState};
pub use fleet::{Fleet, Tenant};
pub use identity::{Holder, authorities, shown, shows};
pub use lossy_proxy::LossyProxy;
pub use machine::free_port;
pub use mail_sink::{Mail, MailSink, SinkStep, SinkTls};
pub use metrics::{families, on_dashboard, scrape};
pub use outbox::{Outbox, invitation};
pub use postgres::Postgres;
pub use probe::{Held, Target, probe};
pub use process::{Process, texts_in};
pub use programs::{example, program, root};
pub use raw_http::{Answer, Server};
pub use release::{accepts_upgrades_from, copy_core, runs_at_each_start};
pub use releases::{CORE, core_image, echo_releases, small_releases, steps_releases, web_releases};
pub use rows::{Audited, DAMAGES, OutboxRow, Outcome, Rows, Standing, Statements};
pub use small_image::{SmallImage, digest_of, find_missing, random_bytes, upload, upload_as};
pub use stub::{Heard, STUB_RUN, Stub};
pub use tcp_proxy::{TcpProxy, Way};
pub use turn::{turn, turn_alone};

/// Product time limits are asserted with this slack.
pub const SLACK: u32 = 3;

/// One provider for the process, as in `main`.
pub fn install_crypto() {
    // A second test of the same binary finds it installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
