//! The command that an operator runs on a host, and the script that it gets.

use supalove_certs::JoinToken;

use super::SCRIPT;

/// The script, with `@NAME@` for what this controller fills in.
const TEMPLATE: &str = include_str!("../../../../deploy/join/join.sh");

/// What a host is told. Addresses and pin have no characters that mean something to a shell.
#[derive(Debug, Clone)]
pub struct JoinCommand {
    addresses: Vec<String>,
    pin: String,
}

impl JoinCommand {
    pub(super) fn new(addresses: Vec<String>, pin: &str) -> Self {
        Self { addresses, pin: pin.to_owned() }
    }

    /// The addresses of controllers, as the agent takes them.
    pub fn controllers(&self) -> String {
        self.addresses.join(",")
    }

    /// The one command; options of the script may follow it. If `curl` fails, its message is the output, its exit code that of the
    /// command, and nothing of the script runs; the status of a pipe would be that of the shell behind it. The token is in the
    /// environment of a shell, which other users cannot read, and in no argument. `curl` sends one ALPN protocol only with
    /// `--http1.1`; `--pinnedpubkey` holds although `--insecure` takes any certificate.
    pub fn with(&self, token: &JoinToken) -> String {
        format!(
            "script=$(curl -sSfk --http1.1 --pinnedpubkey {} https://{}{SCRIPT}) && SUPALOVE_JOIN_TOKEN={token} sh -c \"$script\" join",
            self.pin,
            self.first()
        )
    }

    /// The command for a host that has the agent's program already.
    pub fn by_hand(&self, token: &JoinToken) -> String {
        format!("SUPALOVE_JOIN_TOKEN={token} supalove-agent join --controller {}", self.controllers())
    }

    /// The script.
    pub(super) fn script(&self) -> String {
        TEMPLATE
            .replace("@PIN@", &self.pin)
            .replace("@CONTROLLERS@", &self.controllers())
            .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
    }

    fn first(&self) -> &str {
        self.addresses.first().map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use supalove_certs::CertificateAuthority;

    use super::*;

    #[test]
    fn the_command_pins_the_key_and_keeps_the_token_out_of_arguments() {
        let command = JoinCommand::new(vec!["a.example.com:8001".into(), "[::1]:9".into()], "sha256//AAA+/=");
        let ca = CertificateAuthority::create("test", chrono::Utc::now()).unwrap();
        let token = JoinToken::generate(ca.fingerprint(), uuid::Uuid::nil()).unwrap();
        let text = command.with(&token);
        let (curl, shell) = text.split_once(" && ").unwrap();
        assert_eq!(
            curl,
            "script=$(curl -sSfk --http1.1 --pinnedpubkey sha256//AAA+/= https://a.example.com:8001/join)"
        );
        assert_eq!(shell, format!("SUPALOVE_JOIN_TOKEN={token} sh -c \"$script\" join"));
        assert!(command.by_hand(&token).ends_with(" --controller a.example.com:8001,[::1]:9"));
    }

    #[test]
    fn the_script_is_filled_in() {
        let script = JoinCommand::new(vec!["a:1".into(), "b:2".into()], "sha256//P").script();
        for line in ["PIN='sha256//P'", "CONTROLLERS='a:1,b:2'"] {
            assert!(script.lines().any(|found| found == line), "{line}");
        }
        assert!(
            !script.contains("@PIN@") && !script.contains("@VERSION@") && !script.contains("@CONTROLLERS@")
        );
        // What a cut connection leaves of it does nothing: only the last line calls a function.
        let last = script.trim_end().lines().last().unwrap();
        assert_eq!(last, "main \"$@\"");
    }
}
