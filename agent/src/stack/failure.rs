//! Every failure of a step of a stack, as the report with a stable reason that the controller gets.

use std::io;

use supalove_proto::node::v1::StackError;

use crate::admission::TokenError;
use crate::conditions::{CHAINS_ADVICE, FIREWALL_CHAINS_MISSING};
use crate::docker::{EngineError, PullError};
use crate::network::NftError;

/// Lines of a container's log in a report.
pub const LOG_LINES: u32 = 20;

#[derive(Debug, Clone, PartialEq)]
pub struct StepFailure(pub StackError);

impl StepFailure {
    /// A failure that a retry may mend.
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self(StackError { reason: reason.into(), message: message.into(), ..StackError::default() })
    }

    #[must_use]
    pub fn for_service(mut self, service: &str) -> Self {
        service.clone_into(&mut self.0.service);
        self
    }

    /// Adds the container's last lines.
    #[must_use]
    pub fn with_log(mut self, lines: Vec<String>) -> Self {
        self.0.log_tail = lines;
        self
    }

    /// A retry will not mend it: whoever waits for it need not wait longer.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.0.permanent = true;
        self
    }
}

impl From<EngineError> for StepFailure {
    fn from(error: EngineError) -> Self {
        if error.is_missing_chain() {
            tracing::warn!(%error, "Docker Engine found one of its packet filter chains missing");
            return Self::new(FIREWALL_CHAINS_MISSING, CHAINS_ADVICE);
        }
        let reason = if error.is_port_conflict() { "PORT_IN_USE" } else { "ENGINE_ERROR" };
        Self::new(reason, error.to_string())
    }
}

impl From<PullError> for StepFailure {
    fn from(error: PullError) -> Self {
        match error {
            error @ (PullError::NotFound(_) | PullError::Local(_)) => {
                Self::new("IMAGE_NOT_FOUND", error.to_string()).permanent()
            }
            other => Self::new("IMAGE_PULL_FAILED", other.to_string()),
        }
    }
}

impl From<NftError> for StepFailure {
    fn from(error: NftError) -> Self {
        Self::new("RULES_FAILED", error.to_string())
    }
}

impl From<TokenError> for StepFailure {
    fn from(error: TokenError) -> Self {
        Self::new("SPEC_INVALID", error.to_string()).permanent()
    }
}

/// Work on a volume's folder, its file system or what is written down of it failed.
pub fn of_volume(name: &str) -> impl FnOnce(io::Error) -> StepFailure {
    move |error| StepFailure::new("FILES_FAILED", format!("cannot use the volume {name}: {error}"))
}

impl From<io::Error> for StepFailure {
    fn from(error: io::Error) -> Self {
        Self::new("FILES_FAILED", format!("cannot write the project's files: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_image_is_permanent_and_keeps_the_engines_words() {
        let failure =
            StepFailure::from(PullError::NotFound("manifest unknown".into())).for_service("gateway");
        assert_eq!(failure.0.reason, "IMAGE_NOT_FOUND");
        assert_eq!(failure.0.service, "gateway");
        assert!(failure.0.permanent && failure.0.message.contains("manifest unknown"));
        assert!(!StepFailure::from(PullError::Failed("no such host".into())).0.permanent);
    }

    #[test]
    fn missing_chains_are_told_by_what_to_do() {
        for message in [
            "driver failed programming external connectivity on endpoint supalove_a_gateway (4c): (iptables failed: \
             iptables --wait -t nat -A DOCKER -p tcp -d 0/0 --dport 5500 -j DNAT --to-destination 10.0.0.2:8000 ! -i \
             sla: iptables: No chain/target/match by that name.\n (exit status 1))",
            "Failed to Setup IP tables: Unable to enable SKIP DNAT rule:  (iptables failed: iptables --wait -t nat -I \
             DOCKER -i sla -j RETURN: iptables v1.8.9 (nf_tables): Chain 'DOCKER' does not exist\n (exit status 2))",
        ] {
            let failure = StepFailure::from(EngineError::Refused { status: 500, message: message.into() });
            assert_eq!(failure.0.reason, "FIREWALL_CHAINS_MISSING");
            assert!(failure.0.message.contains("systemctl restart docker"), "{}", failure.0.message);
            assert!(!failure.0.message.contains("iptables"), "{}", failure.0.message);
        }
        let locked = "iptables failed: Another app is currently holding the xtables lock".to_owned();
        let failure = StepFailure::from(EngineError::Refused { status: 500, message: locked });
        assert_eq!(failure.0.reason, "ENGINE_ERROR");
    }

    #[test]
    fn a_volume_that_cannot_be_mounted_is_named() {
        let failure = of_volume("supalove_p_db_data")(io::Error::other("mount: no free loop device"));
        assert_eq!(failure.0.message, "cannot use the volume supalove_p_db_data: mount: no free loop device");
    }

    #[test]
    fn a_taken_port_is_named() {
        let refused = EngineError::Refused {
            status: 500,
            message: "Bind for 127.0.0.1:5500 failed: port is already allocated".into(),
        };
        let failure = StepFailure::from(refused);
        assert_eq!(failure.0.reason, "PORT_IN_USE");
        assert!(failure.0.message.contains("5500"));
    }
}
