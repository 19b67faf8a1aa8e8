//! The agent's program: arguments → one of `join`, `run`, `status`, `recover`, `doctor`, `leave` → exit code.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use supalove_agent::args::{Cli, Command, Doctor, Join, Leave, Recover, Run, Status};
use supalove_agent::config::Times;
use supalove_agent::doctor::{self, Level};
use supalove_agent::identity::Identity;
use supalove_agent::join::{JoinError, JoinOptions, join};
use supalove_agent::leave::leave;
use supalove_agent::run::RunError;
use supalove_agent::status::{self, SessionStatus};
use supalove_agent::{certificate, host, run};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

fn main() -> ExitCode {
    // Keeps the text in the program: whoever gives it away reads the version there.
    std::hint::black_box(supalove_agent::VERSION_MARK);
    let cli = Cli::parse();
    supalove_net::logs::init();
    supalove_tasks::log_panics();
    match start(cli) {
        Ok(code) => code,
        // The reader went away (`| head`): nobody is left to tell.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("supalove-agent: {}", with_causes(&error));
            ExitCode::from(exit_code(&error))
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<JoinError>() {
        return error.exit_code();
    }
    match error.downcast_ref::<RunError>() {
        Some(RunError::JobPanicked(_)) => supalove_tasks::EXIT_CODE,
        _ => 1,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}

/// An error and its causes, each once: some name their cause in their own words.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        cause if text.is_empty() => cause,
        cause if text.contains(&cause) => text,
        cause => format!("{text}: {cause}"),
    })
}

fn start(cli: Cli) -> Result<ExitCode> {
    // Two workers: the agent waits far more than it works.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(async {
        match cli.command {
            Command::Join(options) => join_fleet(options).await,
            Command::Run(options) => run_agent(&options).await,
            Command::Status(options) => show_status(&options).await,
            Command::Recover(options) => recover(&options).await,
            Command::Doctor(options) => examine(&options).await,
            Command::Leave(options) => leave_host(&options).await,
        }
    });
    // Blocking work that hangs must not keep the process.
    runtime.shutdown_background();
    code
}

async fn join_fleet(options: Join) -> Result<ExitCode> {
    let token = read_token(&options)?;
    let identity = join(
        JoinOptions {
            controller: options.controller,
            token,
            state_dir: options.state.state_dir,
            hostname: options.name.unwrap_or_else(host::hostname),
            force: options.force,
        },
        &Times::DEFAULT,
    )
    .await?;
    writeln!(io::stdout(), "joined as node {} of cluster {}", identity.node_id, identity.cluster_id)?;
    Ok(ExitCode::SUCCESS)
}

async fn recover(options: &Recover) -> Result<ExitCode> {
    let (state_dir, _lock) = run::take_state_dir(&options.state.state_dir)?;
    let identity = Identity::load(&state_dir)?;
    let recovered = certificate::recover_by_hand(&identity, options.ca, &Times::DEFAULT.protocol).await?;
    recovered.store(&state_dir)?;
    writeln!(io::stdout(), "node {} has a certificate until {}", recovered.node_id, recovered.expire_time)?;
    Ok(ExitCode::SUCCESS)
}

fn read_token(options: &Join) -> Result<Zeroizing<String>> {
    let text = match (&options.token, &options.token_file) {
        (Some(token), _) => token.clone(),
        (None, Some(path)) => std::fs::read_to_string(path).with_context(|| path.display().to_string())?,
        (None, None) => String::new(),
    };
    Ok(Zeroizing::new(text))
}

async fn run_agent(options: &Run) -> Result<ExitCode> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let signalled = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        std::future::pending::<()>().await;
    };
    // Boxed: the agent's own future is large.
    tokio::select! {
        result = Box::pin(run::run(options, Times::DEFAULT, stop.clone())) => result?,
        () = signalled => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Exit code of a doctor who has found only what may be accepted.
const WARNINGS: u8 = 3;

async fn examine(options: &Doctor) -> Result<ExitCode> {
    let found = doctor::examine(options, &Times::DEFAULT).await;
    let mut out = io::stdout();
    if options.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&found)?)?;
    } else {
        write!(out, "{found}")?;
    }
    Ok(match found.worst() {
        Level::Ok => ExitCode::SUCCESS,
        Level::Warning => ExitCode::from(WARNINGS),
        Level::Failure => ExitCode::FAILURE,
    })
}

async fn leave_host(options: &Leave) -> Result<ExitCode> {
    let left = leave(&options.run, &Times::DEFAULT).await?;
    writeln!(io::stdout(), "node {} ({}) is no longer on this host", left.hostname, left.node_id)?;
    Ok(ExitCode::SUCCESS)
}

async fn wait_until_ready(state_dir: &Path, seconds: u64) -> Result<ExitCode> {
    let identity = Identity::load(state_dir)?;
    let (name, cluster) = (&identity.hostname, identity.cluster());
    match status::wait_until_ready(state_dir, Duration::from_secs(seconds)).await {
        Ok(()) => {
            writeln!(io::stdout(), "node {name} is ready in cluster {cluster}")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => {
            writeln!(io::stderr(), "node {name} is not ready in cluster {cluster} after {seconds} s: {why}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn show_status(options: &Status) -> Result<ExitCode> {
    if let Some(seconds) = options.wait {
        return wait_until_ready(&options.state.state_dir, seconds).await;
    }
    let state_dir = &options.state.state_dir;
    let identity = Identity::load(state_dir)?;
    let mut out = io::stdout();
    match status::ask(state_dir).await {
        Ok(found) if options.json => writeln!(out, "{}", serde_json::to_string_pretty(&found)?)?,
        Ok(found) => print_status(&mut out, &found)?,
        Err(_) if options.json => {
            let found = serde_json::json!({ "node_id": identity.node_id, "controller": identity.controller, "running": false });
            writeln!(out, "{found}")?;
            return Ok(ExitCode::FAILURE);
        }
        Err(_) => {
            writeln!(
                out,
                "node        {}\ncontroller  {}\nagent       not running",
                identity.node_id, identity.controller
            )?;
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_status(out: &mut impl io::Write, found: &status::Status) -> Result<()> {
    writeln!(
        out,
        "node        {}\ncontroller  {}\nagent       running {}",
        found.node_id, found.controller, found.version
    )?;
    match &found.session {
        SessionStatus::Connecting => writeln!(out, "session     connecting")?,
        SessionStatus::Connected { since, epoch } => writeln!(out, "session     {epoch}, since {since}")?,
        SessionStatus::Waiting { reason, next_try } => {
            writeln!(out, "session     none: {reason}\nnext try    {next_try}")?;
        }
        SessionStatus::Refused { reason, message, next_try } => {
            writeln!(out, "session     refused ({reason}): {message}\nnext try    {next_try}")?;
        }
    }
    writeln!(out, "certificate until {}", found.certificate_ends)?;
    for condition in &found.conditions {
        writeln!(out, "condition   {} since {}: {}", condition.reason, condition.since, condition.message)?;
    }
    for project in &found.projects {
        writeln!(
            out,
            "project     {}  generation {}  {}  {}",
            project.project_ref, project.generation, project.phase, project.error
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use supalove_tasks::JobPanicked;

    use super::*;

    #[test]
    fn a_panic_of_a_job_has_its_own_exit_code() {
        let panicked = JobPanicked { name: "container list".into(), message: "forced".into() };
        let error = anyhow::Error::from(RunError::from(panicked));
        assert_eq!(error.to_string(), "job container list panicked: forced");
        assert_eq!(exit_code(&error), 70);
        assert_eq!(exit_code(&anyhow::Error::from(RunError::AlreadyRunning("/s".into()))), 1);
        assert_eq!(exit_code(&anyhow::Error::from(JoinError::Address("x".into()))), 2);
    }

    #[test]
    fn each_cause_is_told_once() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error =
            anyhow!(refused).context("h:8001 cannot be reached: connection refused").context("no join");
        assert_eq!(with_causes(&error), "no join: h:8001 cannot be reached: connection refused");
    }

    #[test]
    fn only_a_reader_that_went_away_is_no_error() {
        assert!(is_broken_pipe(&io::Error::from(io::ErrorKind::BrokenPipe).into()));
        assert!(!is_broken_pipe(&io::Error::from(io::ErrorKind::NotFound).into()));
        assert!(!is_broken_pipe(&anyhow!("broken pipe")));
    }
}
