//! Chains that are broken: each stops alone, and the job that met it goes on with the others and raises the alarm at its end.

use std::collections::BTreeMap;

use super::Chain;
use crate::error::{Error, Result};

/// Chains that an alarm names.
const NAMED: usize = 10;

/// Why a chain is neither continued nor cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

/// A step on a chain failed: because the chain is broken, or for another reason.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// It stops only its own chain.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// It stops the job.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<sqlx::Error> for ChainError {
    fn from(error: sqlx::Error) -> Self {
        Self::Other(error.into())
    }
}

/// The broken chains that a run of a job has met.
#[derive(Debug, Default)]
pub struct Alarms(BTreeMap<Chain, Broken>);

impl Alarms {
    /// Notes a broken chain: `None`. Any other error stops the run.
    pub fn pass<T>(&mut self, chain: Chain, step: Result<T, ChainError>) -> Result<Option<T>> {
        match step {
            Ok(done) => Ok(Some(done)),
            Err(ChainError::Other(error)) => Err(error),
            Err(ChainError::Broken(broken)) => {
                self.0.insert(chain, broken);
                Ok(None)
            }
        }
    }

    /// The chains.
    pub fn chains(&self) -> impl Iterator<Item = Chain> + '_ {
        self.0.keys().copied()
    }

    /// An error that names the chains; `what` they are not: "continued". The job shows it until they are repaired.
    pub fn raise(&self, what: &str) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let named: Vec<_> =
            self.0.iter().take(NAMED).map(|(chain, why)| format!("{chain} ({why})")).collect();
        let more = match self.0.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(Error::internal(format!(
            "audit chains are broken and not {what}, the others go on: {}{more}; look with `supalove-controller audit verify`, \
             find the cause, then note it with `audit repair`",
            named.join("; ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::chain, ids::OrganizationId};

    #[test]
    fn an_alarm_names_the_broken_chains_and_lets_the_others_pass() {
        let mut alarms = Alarms::default();
        assert!(alarms.raise("continued").is_ok());
        let organization = Chain::Organization(OrganizationId::generate());
        assert_eq!(alarms.pass(Chain::Platform, Ok(7)).unwrap(), Some(7));
        let broken = Err(Broken("its head is gone".into()).into());
        assert_eq!(alarms.pass::<()>(organization, broken).unwrap(), None);
        assert!(alarms.pass::<()>(Chain::Platform, Err(Error::Busy.into())).is_err());
        assert_eq!(alarms.chains().collect::<Vec<_>>(), [organization]);
        let said = chain(&alarms.raise("continued").unwrap_err());
        assert!(
            said.contains(&format!("not continued, the others go on: {organization} (its head is gone)")),
            "{said}"
        );
        for _ in 0..20 {
            let other = Chain::Organization(OrganizationId::generate());
            alarms.pass::<()>(other, Err(Broken("x".into()).into())).unwrap();
        }
        assert!(chain(&alarms.raise("cut").unwrap_err()).contains("and 11 more"));
    }
}
