//! The controller's last goodbye: why it has sent this node away (revoked, or its identity is used by two agents). The
//! session's loop waits for as long as it was asked to, and `status` shows the reason.

use std::time::Duration;

use supalove_proto::node::v1::{GoodbyeReason, GoodbyeRequest};
use tokio::sync::watch;

/// Longest time that a controller can keep an agent from dialling.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// Why the controller has sent this node away, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goodbye {
    /// Stable reason, e.g. "REVOKED".
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// The agent must not dial before.
    pub retry_after: Duration,
}

/// Keeps the last goodbye until the session's loop takes it; cheap to clone.
#[derive(Debug, Clone)]
pub struct LastGoodbye(watch::Sender<Option<Goodbye>>);

impl Default for LastGoodbye {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl LastGoodbye {
    pub fn set(&self, goodbye: Goodbye) {
        self.0.send_replace(Some(goodbye));
    }

    /// Returns the goodbye and forgets it.
    pub fn take(&self) -> Option<Goodbye> {
        self.0.send_replace(None)
    }

    /// Returns when there is a goodbye.
    pub async fn said(&self) {
        // The sender lives as long as self.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }
}

impl Goodbye {
    /// This node was locked out.
    pub fn revoked(message: String, retry_after: Duration) -> Self {
        Self { reason: "REVOKED", message, retry_after }
    }

    /// What the call asks for; none if the connection simply ends.
    pub fn from_call(call: &GoodbyeRequest) -> Option<Self> {
        let asked = call.retry_after.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default();
        let retry_after = asked.min(LONGEST_PAUSE);
        let message = call.message.clone();
        match call.reason() {
            GoodbyeReason::Revoked => Some(Self::revoked(message, retry_after)),
            GoodbyeReason::DuplicateIdentity => {
                Some(Self { reason: "DUPLICATE_IDENTITY", message, retry_after })
            }
            GoodbyeReason::Unspecified | GoodbyeReason::CertificateRetired | GoodbyeReason::Superseded => {
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_goodbye_is_taken_once_and_cannot_silence_an_agent_for_ever() {
        let last = LastGoodbye::default();
        assert_eq!(last.take(), None);
        let call = GoodbyeRequest {
            reason: GoodbyeReason::Revoked.into(),
            message: "by an operator".into(),
            retry_after: Some(prost_types::Duration { seconds: 1_000_000, nanos: 0 }),
        };
        let goodbye = Goodbye::from_call(&call).unwrap();
        assert_eq!((goodbye.reason, goodbye.retry_after), ("REVOKED", LONGEST_PAUSE));
        last.set(goodbye.clone());
        last.said().await;
        assert_eq!(last.take(), Some(goodbye));
        assert_eq!(last.take(), None);
        let superseded = GoodbyeRequest { reason: GoodbyeReason::Superseded.into(), ..call };
        assert_eq!(Goodbye::from_call(&superseded), None);
    }
}
