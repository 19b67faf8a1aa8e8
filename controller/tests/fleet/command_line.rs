//! The command line as one person uses it, signed in and with a home of their own.

use std::process::{Command, Output};

use serde_json::Value;
use supalove_system_tests::{Controller, PASSWORD, program};
use tempfile::TempDir;

pub struct CommandLine {
    api: String,
    home: TempDir,
}

impl CommandLine {
    pub fn of(controller: &Controller, email: &str) -> Self {
        let api = format!("http://127.0.0.1:{}", controller.public_port);
        let person = Self { api, home: tempfile::tempdir().unwrap() };
        person.says(&["login", "--email", email]);
        person
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(program("supalove"))
            .args(arguments)
            .env("SUPALOVE_API", &self.api)
            .env("XDG_CONFIG_HOME", self.home.path())
            .env("SUPALOVE_PASSWORD", PASSWORD)
            .output()
            .unwrap()
    }

    /// What a command says and prints; it must succeed.
    pub fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        said + &String::from_utf8_lossy(&output.stdout)
    }

    /// The answer of a command that must succeed.
    pub fn answer(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--output", "json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Exit code and words of a command that must fail.
    pub fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}
