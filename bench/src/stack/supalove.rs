//! The stack by Supalove: a project of the bench's release, created and deleted through the real controller and agent.
//!
//! The controller's share is the time before the agent has stored what is wanted, plus the time from the agent's word
//! that it is so to the caller's answer. The agent's log says when these two were.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bollard::Docker;
use chrono::{DateTime, Utc};
use supalove_proto::v1::CreateProjectRequest;

use super::{
    container::{Containers, inspect},
    phases::Measured,
    proxy::Proxy,
    release::Stack,
};
use crate::{agent::Agent, controller::Controller, database::Organization};

/// Both programs.
pub struct Supalove {
    /// The controller.
    pub controller: Controller,
    /// The agent.
    pub agent: Agent,
    /// Whose projects.
    pub organization: Organization,
}

impl Supalove {
    /// Up, until the caller knows that the project is healthy. Answers its ref, too.
    pub async fn up(&self, proxy: &Proxy, stack: Stack, name: &str) -> Result<(String, Measured)> {
        proxy.take();
        let wish = Instant::now();
        let sent = Utc::now();
        let request = CreateProjectRequest {
            organization: self.organization.slug.clone(),
            name: format!("{}-{name}", stack.name()),
            release: stack.name().to_owned(),
            ..Default::default()
        };
        let created = self.controller.api.create(request).await?;
        let project = created.project.context("CreateProject answered without a project")?.r#ref;
        self.controller.api.wait(&created.operation.context("no operation")?.id).await?;
        let done = Instant::now();
        let known = Utc::now();
        let mut measured = Measured::new(wish, done, &proxy.take());
        let log = self.agent.log();
        let stored = logged(&log, &project, "desired state stored")?;
        let healthy = logged(&log, &project, "STACK_PHASE_HEALTHY")?;
        measured.controller = Some(between(sent, stored) + between(healthy, known));
        Ok((project, measured))
    }

    /// Down, until the caller knows that nothing is left.
    pub async fn down(&self, proxy: &Proxy, project: &str) -> Result<Measured> {
        proxy.take();
        let wish = Instant::now();
        let sent = Utc::now();
        let operation = self.controller.api.delete(project).await?;
        self.controller.api.wait(&operation.id).await?;
        let done = Instant::now();
        let known = Utc::now();
        let mut measured = Measured::new(wish, done, &proxy.take());
        let log = self.agent.log();
        let stored = logged(&log, project, "removal stored")?;
        let removed = logged(&log, project, "STACK_PHASE_REMOVED")?;
        measured.controller = Some(between(sent, stored) + between(removed, known));
        Ok(measured)
    }

    /// A project's containers.
    pub async fn containers(&self, docker: &Docker, project: &str) -> Result<Containers> {
        inspect(docker, &format!("supalove.project={project}"), "supalove.service").await
    }
}

/// When the agent logged something about a project: the time that its line begins with.
fn logged(log: &str, project: &str, what: &str) -> Result<DateTime<Utc>> {
    let line = log.lines().find(|line| line.contains(project) && line.contains(what));
    let line = line.with_context(|| format!("the agent logged no {what:?}"))?;
    let time = line.split_whitespace().next().unwrap_or_default();
    Ok(DateTime::parse_from_rfc3339(time).with_context(|| format!("no time begins {line:?}"))?.into())
}

fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    (to - from).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_the_agents_log() {
        let log = "2026-11-22T10:00:00.250000Z  INFO supalove_agent: desired state stored project=\"a\" generation=1\n\
                   2026-11-22T10:00:02.500000Z  INFO supalove_agent: stack project=\"a\" phase=\"STACK_PHASE_HEALTHY\"\n";
        let stored = logged(log, "\"a\"", "desired state stored").unwrap();
        let healthy = logged(log, "\"a\"", "STACK_PHASE_HEALTHY").unwrap();
        assert_eq!(between(stored, healthy), Duration::from_millis(2250));
        assert!(logged(log, "\"b\"", "desired state stored").is_err());
    }
}
