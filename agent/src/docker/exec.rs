//! Runs a program in a running container: fixed arguments, no shell, limited in time and output.

use std::collections::VecDeque;
use std::time::Duration;

use bollard::exec::{CreateExecOptions, StartExecResults};
use futures::StreamExt as _;

use super::logs::log_line;
use super::{Engine, EngineError};

/// How a program in a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub exit_code: i64,
    /// The last lines of its output.
    pub lines: Vec<String>,
}

impl Engine {
    /// Runs a program as the container's user and returns how it ended. The engine cannot stop a program that is late, so
    /// the program needs a limit of its own.
    pub async fn exec(
        &self,
        container: &str,
        argv: &[&str],
        env: &[String],
        lines: usize,
        limit: Duration,
    ) -> Result<Ended, EngineError> {
        let options = CreateExecOptions {
            cmd: Some(argv.iter().map(|word| (*word).to_owned()).collect()),
            env: Some(env.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::<String>::default()
        };
        let id = self.change(self.docker.create_exec(container, options)).await?.id;
        let mut last = VecDeque::new();
        let run = async {
            let started = self.docker.start_exec(&id, None).await?;
            if let StartExecResults::Attached { mut output, input: _input } = started {
                while let Some(line) = output.next().await {
                    if last.len() == lines {
                        last.pop_front();
                    }
                    last.push_back(log_line(line?).text);
                }
            }
            Ok(())
        };
        super::limited(limit, run).await?;
        let ended = self.ask(self.docker.inspect_exec(&id)).await?;
        // Without an exit code the program did not end by itself: its container went away.
        Ok(Ended { exit_code: ended.exit_code.unwrap_or(-1), lines: last.into() })
    }
}
