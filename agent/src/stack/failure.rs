//! Every failure of a step of a stack, as the report with a stable reason that the controller gets.

use std::io;

use supalove_proto::node::v1::StackError;

use crate::admission::TokenError;
use crate::conditions::{CHAINS_ADVICE, FIREWALL_CHAINS_MISSING};
use crate::docker::{EngineError, PullError};
use crate::images::{FetchError, NotFetched};
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
            error @ PullError::Refused { .. } => Self::new("IMAGE_REGISTRY_REFUSED", error.to_string()),
            other => Self::new("IMAGE_PULL_FAILED", other.to_string()),
        }
    }
}

/// An image that neither the controller nor a registry gave.
pub fn of_image(image: &str, not_fetched: &NotFetched, pull: PullError) -> StepFailure {
    match (not_fetched, pull) {
        // No registry is asked for it, so what the controller says decides.
        (NotFetched::Failed(error), PullError::Local(_)) => {
            StepFailure::new(fetch_reason(error), format!("image {image}: {error}"))
        }
        (NotFetched::OtherPlatform { host, .. }, PullError::Local(_)) => StepFailure::new(
            "IMAGE_WRONG_PLATFORM",
            format!("image {image} is not on this host; {not_fetched}; push it for {host} (supalove images push {image})"),
        )
        .permanent(),
        // It may say more when it is asked again.
        (NotFetched::NoAnswer(_), PullError::Local(_)) => {
            StepFailure::new("IMAGE_FETCH_FAILED", format!("image {image} is not on this host, and {not_fetched}"))
        }
        (_, pull @ PullError::Refused { .. }) => refused(pull, not_fetched),
        (_, pull) => {
            let mut failure = StepFailure::from(pull);
            let remedy = if matches!(not_fetched, NotFetched::NotKept) && failure.0.reason == "IMAGE_NOT_FOUND" {
                format!("; where no registry has it, push it: supalove images push {image}")
            } else {
                String::new()
            };
            failure.0.message = format!("{} (image store: {not_fetched}{remedy})", failure.0.message);
            failure
        }
    }
}

/// A registry that wants other credentials than the controller gave. Without its answer the next attempt may have them.
fn refused(pull: PullError, not_fetched: &NotFetched) -> StepFailure {
    let mut failure = StepFailure::from(pull);
    if !not_fetched.is_answer() {
        let missing = format!("; the credentials of the cluster did not arrive: {not_fetched}");
        failure.0.message.push_str(&missing);
        return failure;
    }
    failure
        .0
        .message
        .push_str("; set the credentials of the cluster for it: supalove clusters registries set");
    failure.permanent()
}

fn fetch_reason(error: &FetchError) -> &'static str {
    match error {
        FetchError::WrongPlatform { .. } => "IMAGE_WRONG_PLATFORM",
        FetchError::NoDisk { .. } => "IMAGE_NO_DISK",
        _ => "IMAGE_FETCH_FAILED",
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
    fn an_image_that_is_nowhere_names_both_places_and_the_remedy() {
        let pull = PullError::NotFound("image a/b:1: manifest unknown".into());
        let failure = of_image("a/b:1", &NotFetched::NotKept, pull).0;
        assert!(failure.permanent && failure.reason == "IMAGE_NOT_FOUND");
        for words in ["manifest unknown", "the controller does not keep it", "supalove images push a/b:1"] {
            assert!(failure.message.contains(words), "{}", failure.message);
        }
        let local = of_image("supalove/x:1", &NotFetched::NotKept, PullError::Local("supalove/x:1".into())).0;
        assert!(
            local.permanent && local.message.contains("supalove images push supalove/x:1"),
            "{}",
            local.message
        );
        assert!(local.message.contains("the controller does not keep it"), "{}", local.message);
    }

    #[test]
    fn a_registry_that_refuses_is_permanent_only_if_the_controller_has_given_what_it_has() {
        let pull = || PullError::Refused {
            image: "r.example.com/a:1".into(),
            registry: "r.example.com".into(),
            username: None,
            said: "no basic auth credentials".into(),
        };
        for answer in [NotFetched::NotKept, NotFetched::ByDigest] {
            let failure = of_image("r.example.com/a:1", &answer, pull()).0;
            assert_eq!((failure.reason.as_str(), failure.permanent), ("IMAGE_REGISTRY_REFUSED", true));
            for words in
                ["r.example.com refuses a pull without credentials", "supalove clusters registries set"]
            {
                assert!(failure.message.contains(words), "{}", failure.message);
            }
        }
        let failure = of_image("r.example.com/a:1", &NotFetched::NoController, pull()).0;
        assert_eq!((failure.reason.as_str(), failure.permanent), ("IMAGE_REGISTRY_REFUSED", false));
        assert!(failure.message.contains("no controller"), "{}", failure.message);
    }

    #[test]
    fn what_the_controller_says_of_a_local_image_decides() {
        let local = || PullError::Local("supalove/x:1".into());
        let host = supalove_spec::image::Platform::of_host("linux", "aarch64");
        let other = NotFetched::OtherPlatform { host: host.clone(), kept: "linux/amd64".into() };
        let failure = of_image("supalove/x:1", &other, local()).0;
        assert_eq!((failure.reason.as_str(), failure.permanent), ("IMAGE_WRONG_PLATFORM", true));
        assert!(
            failure.message.contains("linux/amd64") && failure.message.contains("linux/arm64"),
            "{}",
            failure.message
        );
        let broken = FetchError::Broken { why: "reset".into(), there: 3, all: 9 };
        let failure = of_image("supalove/x:1", &broken.into(), local()).0;
        assert_eq!((failure.reason.as_str(), failure.permanent), ("IMAGE_FETCH_FAILED", false));
        assert!(failure.message.contains("3 of 9 MiB"), "{}", failure.message);
        let full = FetchError::NoDisk { path: "/d".into(), needed: 5, free: 1 };
        assert_eq!(of_image("supalove/x:1", &full.into(), local()).0.reason, "IMAGE_NO_DISK");
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
