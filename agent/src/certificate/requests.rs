//! What sessions ask of the certificate: a renewal because another root signs now, or a recovery because the controller
//! does not accept it any more.

use supalove_certs::CaFingerprint;
use tokio::sync::watch;

/// What is asked for now.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Requested {
    /// The root that signs now, as a controller last said. It stays requested until it has signed: an answer of a
    /// controller that does not know it yet does not end the request.
    pub(super) signing_root: Option<CaFingerprint>,
    pub(super) recovery: bool,
}

/// Where sessions leave their requests; cheap to clone.
#[derive(Debug, Clone)]
pub struct RenewalRequests(watch::Sender<Requested>);

impl Default for RenewalRequests {
    fn default() -> Self {
        Self(watch::Sender::new(Requested::default()))
    }
}

impl RenewalRequests {
    /// Asks for a certificate of this root.
    pub fn signed_by(&self, root: CaFingerprint) {
        self.change(|requested| requested.signing_root = Some(root));
    }

    /// Asks for a recovery: the controller does not accept the certificate.
    pub fn recover(&self) {
        self.change(|requested| requested.recovery = true);
    }

    /// A new certificate ends the request for a recovery.
    pub(super) fn recovered(&self) {
        self.change(|requested| requested.recovery = false);
    }

    pub(super) fn now(&self) -> Requested {
        *self.0.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Requested> {
        self.0.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut Requested)) {
        self.0.send_if_modified(|requested| {
            let before = *requested;
            change(requested);
            *requested != before
        });
    }
}
