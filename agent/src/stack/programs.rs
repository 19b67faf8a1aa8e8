//! Programs of the host, run with fixed arguments and without a shell.

use std::io;
use std::process::{Command, Stdio};

/// Runs a program to its end; returns what it printed, or errs with what it said.
pub fn run(command: &mut Command) -> io::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let told = |what: String| io::Error::other(format!("{name}: {what}"));
    let output = command.stdin(Stdio::null()).output().map_err(|error| told(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(told(format!("{} ({})", said.trim(), output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_the_programs_words() {
        assert_eq!(run(Command::new("echo").arg("a")).unwrap(), "a\n");
        let error = run(Command::new("ls").arg("/nowhere")).unwrap_err().to_string();
        assert!(error.starts_with("ls: ") && error.contains("/nowhere"), "{error}");
        assert!(run(&mut Command::new("/nowhere")).is_err());
    }
}
