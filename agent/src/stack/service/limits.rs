//! Keeps the limits of a running container as its specification has them.

use super::Service;
use crate::docker::held_limits;

impl Service<'_> {
    /// Sets right what somebody has changed behind the agent's back, without a restart. A container that keeps other limits
    /// all the same (a kernel without swap accounting) is told of once.
    pub(super) async fn keep_limits(&mut self) {
        if self.engine_is_silent() {
            return;
        }
        let wanted = held_limits(&self.plan.container.limits);
        let engine = self.project.engine();
        let Ok(Some(found)) = engine.inspect(&self.container).await else { return };
        if found.limits == wanted || self.stuck.as_ref() == Some(&found.limits) {
            return;
        }
        let project = &*self.project.project_ref;
        let service = self.name();
        let held = &found.limits;
        tracing::warn!(
            project,
            service,
            ?held,
            ?wanted,
            "container has other limits than its specification, setting them"
        );
        if let Err(error) = engine.set_limits(&self.container, &wanted).await {
            tracing::warn!(project, service, %error, "cannot set a container's limits");
            return;
        }
        let Ok(Some(after)) = engine.inspect(&self.container).await else { return };
        self.stuck = (after.limits != wanted).then_some(after.limits);
    }
}
