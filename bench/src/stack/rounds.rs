//! The rounds: for each stack one of each tool that is not counted, then both in turn, each beginning every other round.

use anyhow::{Context as _, Result};
use bollard::Docker;

use super::{
    compose::Compose,
    container,
    phases::Measured,
    proxy::Proxy,
    release::{self, Service, Stack},
    supalove::Supalove,
};
use crate::{
    agent::{Agent, FIRST_NETWORK},
    arguments::Arguments,
    controller::Controller,
    database::add_organizations,
};

/// All rounds, in their order.
pub struct Rounds {
    /// What docker-compose says of itself.
    pub compose_version: String,
    /// Of the stack whose services wait for the database.
    pub ordered: Vec<Round>,
    /// Of the stack where nobody waits.
    pub unordered: Vec<Round>,
}

/// One round.
pub struct Round {
    /// CreateProject.
    pub supalove_up: Measured,
    /// DeleteProject.
    pub supalove_down: Measured,
    /// docker-compose up.
    pub compose_up: Measured,
    /// docker-compose down.
    pub compose_down: Measured,
}

/// What rounds are run with.
struct Tools<'a> {
    arguments: &'a Arguments,
    docker: Docker,
    proxy: Proxy,
    supalove: Supalove,
}

/// Starts what is needed, runs the rounds, ends it.
pub async fn run(arguments: &Arguments) -> Result<Rounds> {
    let compose_version = Compose::version(&arguments.compose).await?;
    let releases = arguments.dir.join("releases");
    let ordered = release::write(&releases, Stack::Ordered)?;
    let unordered = release::write(&releases, Stack::Unordered)?;
    let proxy = Proxy::start(&arguments.dir)?;
    let supalove = start(arguments, &proxy, &releases.display().to_string()).await?;
    let tools = Tools { arguments, docker: Docker::connect_with_local_defaults()?, proxy, supalove };
    let ordered = tools.rounds(Stack::Ordered, &ordered).await?;
    let unordered = tools.rounds(Stack::Unordered, &unordered).await?;
    tools.supalove.agent.end().await?;
    tools.supalove.controller.end().await?;
    Ok(Rounds { compose_version, ordered, unordered })
}

async fn start(arguments: &Arguments, proxy: &Proxy, releases: &str) -> Result<Supalove> {
    let controller = Controller::start(arguments, "stack", &["--releases-dir", releases]).await?;
    let db = controller.pool().await?;
    let organization = add_organizations(&db, controller.user, 1).await?.remove(0);
    db.close().await;
    let token = controller.api.join_token().await?;
    let address = &controller.node_address;
    let mut agent = Agent::start(arguments, "stack", address, &token, &proxy.address).await?;
    agent.wait_ready(&controller.api).await?;
    Ok(Supalove { controller, agent, organization })
}

impl Tools<'_> {
    async fn rounds(&self, stack: Stack, services: &[Service]) -> Result<Vec<Round>> {
        let compose = self.warm_up(stack, services).await.context(stack.name())?;
        let mut all = Vec::new();
        for number in 0..self.arguments.effort().rounds {
            eprintln!("  {}, round {}", stack.name(), number + 1);
            all.push(self.round(number, stack, &compose).await?);
        }
        Ok(all)
    }

    /// One of each, compared container by container.
    async fn warm_up(&self, stack: Stack, services: &[Service]) -> Result<Compose> {
        let Self { arguments, docker, proxy, supalove } = self;
        let (project, _) = supalove.up(proxy, stack, "first").await.context("Supalove's first stack")?;
        let ours = supalove.containers(docker, &project).await?;
        let compose =
            Compose::write(&arguments.compose, &arguments.dir, &ours, services, FIRST_NETWORK).await?;
        supalove.down(proxy, &project).await?;
        compose.up(docker, proxy).await.context("docker-compose's first stack")?;
        container::ensure_same(&ours, &compose.containers(docker).await?)
            .context("the two stacks are not the same")?;
        compose.down(proxy).await?;
        Ok(compose)
    }

    async fn round(&self, number: usize, stack: Stack, compose: &Compose) -> Result<Round> {
        let Self { docker, proxy, supalove, .. } = self;
        let ours = async || {
            let (project, up) = supalove.up(proxy, stack, &format!("round-{number}")).await?;
            anyhow::Ok((up, supalove.down(proxy, &project).await?))
        };
        let theirs = async || anyhow::Ok((compose.up(docker, proxy).await?, compose.down(proxy).await?));
        let ((supalove_up, supalove_down), (compose_up, compose_down)) = if number.is_multiple_of(2) {
            let ours = ours().await?;
            (ours, theirs().await?)
        } else {
            let theirs = theirs().await?;
            (ours().await?, theirs)
        };
        Ok(Round { supalove_up, supalove_down, compose_up, compose_down })
    }
}
