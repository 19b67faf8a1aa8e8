//! Probes a service and notices meanwhile that its container ends.

use std::pin::pin;
use std::time::Duration;

use super::{Gone, Service};
use crate::docker::Inspected;
use crate::probe::{self, NotReady};

/// How a probe ended.
pub(super) enum Probed {
    Answered(Result<(), NotReady>),
    Ended(Inspected),
}

impl<'a> Service<'a> {
    /// Probes until there is an answer or the container has ended: the address of one that is gone answers nothing, and a
    /// probe of it would take all of its time.
    pub(super) async fn probe_while_it_runs(&mut self, published_too: bool) -> Result<Probed, Gone> {
        let mut probing = pin!(self.probing(published_too));
        loop {
            tokio::select! {
                answered = &mut probing => return Ok(Probed::Answered(answered)),
                () = self.events.changed() => {
                    if let Some(inspected) = self.ended().await? {
                        return Ok(Probed::Ended(inspected));
                    }
                }
            }
        }
    }

    /// Probes the service itself, then its published ports: the engine can lose a port while the container runs on.
    fn probing(&self, published_too: bool) -> impl Future<Output = Result<(), NotReady>> + use<'a> {
        let (plan, address, bridge) = (self.plan, self.address, self.bridge);
        async move {
            match (&plan.spec.probe, address) {
                (Some(probe), Some(address)) => probe::check(probe, address).await?,
                // A program that exited at once has no address any more.
                (_, None) => return Err(NotReady::Answer("the container has no address".into())),
                (None, Some(_)) => {}
            }
            if !published_too {
                return Ok(());
            }
            let millis = plan.spec.probe.as_ref().map_or(1000, |probe| probe.timeout_ms);
            let limit = Duration::from_millis(millis.into());
            probe::published::check(&plan.container.ports, bridge, limit).await
        }
    }
}
