//! When the certificate has to be renewed or recovered: at a random 50 to 80 % of its life, when another root signs now,
//! or when it cannot be used any more.

use std::time::Duration;

use chrono::{DateTime, Utc};
use supalove_certs::{CaFingerprint, CertificateLife};

use super::requests::RenewalRequests;
use crate::identity::{Identity, LiveIdentity};

/// Longest sleep at a time: the clock may be set, or the host suspended.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A renewal in its time.
    Renewal,
    /// A renewal because another root signs now.
    OtherRoot,
    /// A recovery because the certificate cannot be used any more.
    Recovery,
}

/// The moment of a certificate's renewal, as a share of the time in which it may fall. It is drawn once per certificate,
/// so that a failed renewal is retried after its pause and not after another draw.
#[derive(Debug, Default)]
pub(super) struct RandomMoment {
    certificate_pem: String,
    share: f64,
}

impl RandomMoment {
    fn for_certificate(&mut self, certificate_pem: &str) -> f64 {
        if self.certificate_pem != certificate_pem {
            certificate_pem.clone_into(&mut self.certificate_pem);
            self.share = rand::random();
        }
        self.share
    }
}

/// Returns when something has to be done.
pub(super) async fn due(
    identity: &LiveIdentity,
    requests: &RenewalRequests,
    moment: &mut RandomMoment,
) -> Due {
    let mut requests = requests.subscribe();
    let held = identity.get();
    // A certificate that cannot be read cannot be used.
    let Ok(life) = CertificateLife::from_pem(&held.certificate_pem) else {
        return Due::Recovery;
    };
    let renewal = life.renewal(moment.for_certificate(&held.certificate_pem));
    loop {
        let requested = *requests.borrow_and_update();
        let now = Utc::now();
        if requested.recovery || life.is_over(now) {
            return Due::Recovery;
        }
        // The roots are read again: the controller sends them together with the signing root.
        if is_of_other_root(&identity.get(), requested.signing_root) {
            return Due::OtherRoot;
        }
        let left = (renewal - now).to_std().unwrap_or_default();
        if left.is_zero() {
            return Due::Renewal;
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(LOOK_AGAIN)) => {}
            _ = requests.changed() => {}
        }
    }
}

/// True if even the earliest moment of the certificate's renewal is still to come.
pub(super) fn is_young(identity: &Identity, now: DateTime<Utc>) -> bool {
    CertificateLife::from_pem(&identity.certificate_pem).is_ok_and(|life| now < life.renewal(0.0))
}

/// True if the certificate's issuer is not the current signing root.
pub(super) fn is_of_other_root(identity: &Identity, signing_root: Option<CaFingerprint>) -> bool {
    let Some(signing_root) = signing_root else { return false };
    let issuer =
        identity.bundle().ok().and_then(|roots| roots.issuer_of_pem(&identity.certificate_pem).ok()?);
    issuer != Some(signing_root)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{authority, identity};
    use super::*;

    #[tokio::test]
    async fn a_certificate_is_renewed_in_its_time_and_recovered_after_it() {
        let ca = authority();
        let live = |age: i64| {
            let made = identity(&ca, Utc::now() - chrono::TimeDelta::days(age));
            LiveIdentity::new(made, std::path::PathBuf::from("/nowhere"))
        };
        let soon = Duration::from_millis(200);
        let requests = RenewalRequests::default();
        let draw = RandomMoment::default;
        // Young, then past the latest moment, then past its end.
        assert!(tokio::time::timeout(soon, due(&live(14), &requests, &mut draw())).await.is_err());
        assert_eq!(due(&live(25), &requests, &mut draw()).await, Due::Renewal);
        assert_eq!(due(&live(31), &requests, &mut draw()).await, Due::Recovery);
        assert_eq!(due(&live(120), &requests, &mut draw()).await, Due::Recovery);
        // Requests come first, and a recovery before all. The root that signed it already requests nothing.
        requests.signed_by(ca.fingerprint());
        assert!(tokio::time::timeout(soon, due(&live(0), &requests, &mut draw())).await.is_err());
        requests.signed_by(authority().fingerprint());
        assert_eq!(due(&live(0), &requests, &mut draw()).await, Due::OtherRoot);
        requests.recover();
        assert_eq!(due(&live(0), &requests, &mut draw()).await, Due::Recovery);
        // A certificate that still is not of the signing root leaves the request as it is.
        requests.recovered();
        assert_eq!(due(&live(0), &requests, &mut draw()).await, Due::OtherRoot);
    }

    #[test]
    fn a_certificate_that_is_old_when_it_comes_is_not_young() {
        let ca = authority();
        let now = Utc::now();
        let aged = |days| identity(&ca, now - chrono::TimeDelta::days(days));
        assert!(is_young(&aged(0), now) && is_young(&aged(14), now));
        assert!(!is_young(&aged(16), now) && !is_young(&aged(31), now));
    }

    #[test]
    fn the_moment_of_renewal_is_drawn_once_per_certificate() {
        let mut draw = RandomMoment::default();
        let first = draw.for_certificate("a");
        assert!((0..50).all(|_| draw.for_certificate("a").to_bits() == first.to_bits()));
        let others: std::collections::BTreeSet<_> =
            (0..50).map(|n| draw.for_certificate(&format!("b{n}")).to_bits()).collect();
        assert!(others.len() > 40, "at random");
    }
}
