//! Runs a program in a running container: fixed arguments, no shell, limited in time and output.

use std::collections::VecDeque;
use std::time::Duration;

use bollard::exec::{CreateExecOptions, StartExecResults};
use futures::StreamExt as _;
use tokio::time::Instant;

use super::logs::log_line;
use super::{Engine, EngineError};

/// Within this time after a program's output the engine says how it ended.
const EXIT_CODE: Duration = Duration::from_secs(10);
/// Between two looks for that.
const LOOK: Duration = Duration::from_millis(20);

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
        Ok(Ended { exit_code: self.exit_code(&id).await?, lines: last.into() })
    }

    /// The output of a program ends a moment before the engine knows how the program ended.
    async fn exit_code(&self, exec_id: &str) -> Result<i64, EngineError> {
        let until = Instant::now() + EXIT_CODE;
        loop {
            let program = self.ask(self.docker.inspect_exec(exec_id)).await?;
            if let Some(exit_code) = ended(program.running, program.exit_code) {
                return Ok(exit_code);
            }
            if Instant::now() > until {
                return Err(EngineError::Timeout(EXIT_CODE));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// How a program ended, if it has. Without an exit code it did not end by itself: its container went away.
fn ended(running: Option<bool>, exit_code: Option<i64>) -> Option<i64> {
    match (running, exit_code) {
        (Some(true), _) => None,
        (_, exit_code) => Some(exit_code.unwrap_or(-1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_whose_end_the_engine_has_not_noted_has_not_failed() {
        assert_eq!(ended(Some(true), None), None);
        assert_eq!(ended(Some(true), Some(0)), None);
        assert_eq!(ended(Some(false), Some(3)), Some(3));
        assert_eq!(ended(Some(false), None), Some(-1), "its container went away");
    }
}
