//! How long certificates live. Times are whole seconds: certificates hold nothing finer.

use std::time::Duration;

use chrono::{DateTime, Datelike, SubsecRound, TimeDelta, Utc};
use rcgen::{CertificateParams, date_time_ymd};

use super::CaError;

/// Life of the root: ten years.
pub const CA_LIFETIME: TimeDelta = TimeDelta::days(3650);
/// Life of a node's certificate.
pub const NODE_LIFETIME: TimeDelta = TimeDelta::days(30);
/// Life of a controller's certificate. Each start of a controller issues one with a new key; a running controller renews
/// it.
pub const CONTROLLER_LIFETIME: TimeDelta = TimeDelta::days(90);
/// How far before the moment of issuing a certificate starts, so that hosts with slow clocks accept it.
pub const BACK_DATED: TimeDelta = TimeDelta::hours(1);

/// First and last second of a certificate.
#[derive(Clone, Copy)]
pub(crate) struct Validity {
    pub(super) not_before: DateTime<Utc>,
    pub(super) not_after: DateTime<Utc>,
}

impl Validity {
    /// A life of `lifetime` counted from `now`, back-dated.
    pub(crate) fn starting(now: DateTime<Utc>, lifetime: TimeDelta) -> Result<Self, CaError> {
        let now = now.trunc_subsecs(0);
        // Inside these years the arithmetic below cannot overflow, nor the certificate's four-digit year.
        if !(1971..9000).contains(&now.year()) {
            return Err(CaError::Clock);
        }
        Ok(Self { not_before: now - BACK_DATED, not_after: now + lifetime })
    }

    /// The same life, ending with the issuer's at the latest; an error if the issuer's has ended.
    pub(super) fn ending_by(self, issuer_end: DateTime<Utc>, now: DateTime<Utc>) -> Result<Self, CaError> {
        if now >= issuer_end {
            return Err(CaError::Expired);
        }
        Ok(Self { not_after: self.not_after.min(issuer_end), ..self })
    }

    pub(crate) fn write(&self, params: &mut CertificateParams) {
        let at = |time: DateTime<Utc>| {
            date_time_ymd(1970, 1, 1) + Duration::from_secs(time.timestamp().unsigned_abs())
        };
        params.not_before = at(self.not_before);
        params.not_after = at(self.not_after);
    }
}
