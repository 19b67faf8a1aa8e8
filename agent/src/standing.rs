//! What the controller has said about this node before it closed a connection: revoked, or in two places. The session's
//! loop waits for as long as it was asked to, and `status` shows why.

use std::time::Duration;

use supalove_proto::node::v1::{GoodbyeReason, GoodbyeRequest};
use tokio::sync::watch;

/// Longest time that a controller can keep an agent from dialling.
const MOST: Duration = Duration::from_hours(1);

/// The controller's last words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Farewell {
    /// Stable reason, e.g. "REVOKED".
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Not to dial before.
    pub retry_after: Duration,
}

/// Where last words are left for the session's loop.
#[derive(Debug)]
pub struct Standing(watch::Sender<Option<Farewell>>);

impl Default for Standing {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Standing {
    /// Leaves them.
    pub fn set(&self, farewell: Farewell) {
        self.0.send_replace(Some(farewell));
    }

    /// Takes them, once.
    pub fn take(&self) -> Option<Farewell> {
        self.0.send_replace(None)
    }

    /// Returns when there are any.
    pub async fn spoken(&self) {
        // The sender lives as long as self.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }
}

impl Farewell {
    /// This node was locked out.
    pub fn revoked(message: String, retry_after: Duration) -> Self {
        Self { reason: "REVOKED", message, retry_after }
    }

    /// What a Goodbye asks for; none if the connection simply ends.
    pub fn of(goodbye: &GoodbyeRequest) -> Option<Self> {
        let asked = goodbye.retry_after.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default();
        let (message, retry_after) = (goodbye.message.clone(), asked.min(MOST));
        match goodbye.reason() {
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
    async fn last_words_are_heard_once_and_cannot_silence_an_agent_for_ever() {
        let standing = Standing::default();
        assert_eq!(standing.take(), None);
        let goodbye = GoodbyeRequest {
            reason: GoodbyeReason::Revoked.into(),
            message: "by an operator".into(),
            retry_after: Some(prost_types::Duration { seconds: 1_000_000, nanos: 0 }),
        };
        let farewell = Farewell::of(&goodbye).unwrap();
        assert_eq!((farewell.reason, farewell.retry_after), ("REVOKED", MOST));
        standing.set(farewell.clone());
        standing.spoken().await;
        assert_eq!(standing.take(), Some(farewell));
        assert_eq!(standing.take(), None);
        let superseded = GoodbyeRequest { reason: GoodbyeReason::Superseded.into(), ..goodbye };
        assert_eq!(Farewell::of(&superseded), None);
    }
}
