//! Programs of the host, run with fixed arguments and without a shell.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// For a program that changes a mount or asks for one.
pub const QUICK: Duration = Duration::from_mins(1);
/// For one that writes the tables of a file system.
pub const LONG: Duration = Duration::from_mins(10);
/// For one that copies a tenant's data.
pub const COPY: Duration = Duration::from_hours(12);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Runs a program to its end; returns what it printed, or errs with what it said. One that is late is killed. Whoever calls
/// this goes on even if the kernel does not let it end, as on a disk that hangs.
pub fn run(command: &mut Command, limit: Duration) -> io::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let told = |what: String| io::Error::other(format!("{name}: {what}"));
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().map_err(|error| told(error.to_string()))?;
    let (printed, said) = (read(child.stdout.take()), read(child.stderr.take()));
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if began.elapsed() >= limit {
            let _ = child.kill();
            reap(child);
            return Err(told(format!("it did not end within {limit:?}")));
        }
        thread::sleep(LOOK);
    };
    let said = said.join().unwrap_or_default();
    if status.success() {
        return Ok(printed.join().unwrap_or_default());
    }
    Err(told(format!("{} ({status})", said.trim())))
}

/// Read at once: a program waits while nobody takes what it prints.
fn read(from: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            let _ = from.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn reap(mut child: Child) {
    thread::spawn(move || child.wait());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_the_programs_words() {
        assert_eq!(run(Command::new("echo").arg("a"), QUICK).unwrap(), "a\n");
        let error = run(Command::new("ls").arg("/nowhere"), QUICK).unwrap_err().to_string();
        assert!(error.starts_with("ls: ") && error.contains("/nowhere"), "{error}");
        assert!(run(&mut Command::new("/nowhere"), QUICK).is_err());
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let began = Instant::now();
        let error = run(Command::new("sleep").arg("100"), Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("sleep: it did not end within 50ms"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[test]
    fn much_output_is_taken_whole() {
        let printed = run(Command::new("seq").arg("100000"), QUICK).unwrap();
        assert!(printed.ends_with("\n100000\n"));
    }
}
