//! supalove-controller: arguments → configuration → run.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use supalove_controller::{
    audit, check,
    config::{Arguments, Audit, Command},
    migrate,
    server::Controller,
};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a crypto provider was installed twice"))?;
    supalove_net::logs::init();
    supalove_tasks::log_panics();
    let config = match Arguments::parse().command {
        Command::Run(config) => config,
        Command::Audit(Audit::Verify(verify)) => return audit::verify(&verify).await,
        Command::Audit(Audit::Repair(repair)) => return audit::repair(&repair).await,
        Command::Check(arguments) => return check::check(&arguments).await,
        Command::Migrate(arguments) => return migrate::migrate(&arguments).await,
    };
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let controller = Controller::start(&config, config.times()).await?;
    let code = tokio::select! {
        _ = terminate.recv() => ExitCode::SUCCESS,
        _ = tokio::signal::ctrl_c() => ExitCode::SUCCESS,
        _ = controller.failed() => ExitCode::from(supalove_tasks::EXIT_CODE),
    };
    tracing::info!("stopping");
    controller.stop().await;
    Ok(code)
}
