//! A certificate's life, and when to renew it.

use chrono::{DateTime, TimeDelta, Utc};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::ca::BACK_DATED;
use crate::identity::IdentityError;
use crate::pem;

/// Earliest share of a life after which a certificate is renewed.
pub const RENEWED_FROM: f64 = 0.5;
/// Latest share of a life after which a certificate is renewed. In between, the time is random, so that nodes that joined
/// together do not renew together.
pub const RENEWED_UNTIL: f64 = 0.8;

/// When a certificate of the fleet was issued, and when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateLife {
    /// The moment of issuing: the certificate itself is back-dated.
    pub issued: DateTime<Utc>,
    /// The last second of its life.
    pub ends: DateTime<Utc>,
}

impl CertificateLife {
    /// The life of the first certificate of a PEM text.
    pub fn from_pem(certificate_pem: &str) -> Result<Self, IdentityError> {
        let chain = pem::certificate_chain(certificate_pem).map_err(|_| IdentityError::Certificate)?;
        let first = chain.first().ok_or(IdentityError::Certificate)?;
        let (_, parsed) = X509Certificate::from_der(first).map_err(|_| IdentityError::Certificate)?;
        let at = |time: x509_parser::time::ASN1Time| DateTime::from_timestamp(time.timestamp(), 0);
        let starts = at(parsed.validity().not_before);
        let ends = at(parsed.validity().not_after);
        let (Some(starts), Some(ends)) = (starts, ends) else {
            return Err(IdentityError::Certificate);
        };
        Ok(Self { issued: starts + BACK_DATED, ends })
    }

    /// When to renew. `random` lies in 0..1 and picks the moment between [`RENEWED_FROM`] and [`RENEWED_UNTIL`].
    pub fn renewal(&self, random: f64) -> DateTime<Utc> {
        let share = RENEWED_FROM + (RENEWED_UNTIL - RENEWED_FROM) * random.clamp(0.0, 1.0);
        let life = self.ends - self.issued;
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "a life is far below 2^52 ms"
        )]
        let after = TimeDelta::milliseconds((life.num_milliseconds() as f64 * share) as i64);
        self.issued + after
    }

    /// True if the certificate's life has ended.
    pub fn is_over(&self, now: DateTime<Utc>) -> bool {
        now >= self.ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_falls_between_half_and_four_fifths_of_a_life() {
        let issued = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let life = CertificateLife { issued, ends: issued + TimeDelta::days(30) };
        assert_eq!(life.renewal(0.0), issued + TimeDelta::days(15));
        assert_eq!(life.renewal(1.0), issued + TimeDelta::days(24));
        assert!(life.renewal(0.5) > life.renewal(0.1));
        assert!(!life.is_over(issued) && life.is_over(life.ends));
    }
}
