//! supalove-controller: arguments → configuration → run.

use anyhow::Context as _;
use clap::Parser as _;
use supalove_controller::{
    config::{Arguments, Command},
    server::Controller,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Below `info` these print frames and parameters, and so tokens and specs, whatever RUST_LOG asks for.
const LOUD_LIBRARIES: [&str; 6] = ["h2", "hyper", "hyper_util", "sqlx", "tonic", "tower"];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a crypto provider was installed twice"))?;
    let mut filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    for library in LOUD_LIBRARIES {
        filter = filter.add_directive(format!("{library}=info").parse()?);
    }
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    let Command::Run(config) = Arguments::parse().command;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let controller = Controller::start(&config, config.times()).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("stopping");
    controller.stop().await;
    Ok(())
}
