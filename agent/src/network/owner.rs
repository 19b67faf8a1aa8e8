//! The one task that writes the node's packet rules. In: which projects are present. Out: rules that are loaded before
//! the caller gets its answer, and loaded again when another program has removed them.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use supalove_tasks::Tasks;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::nft::{self, NftError};
use super::rules;
use crate::config::Times;

/// Sends orders to the owner; cheap to clone.
#[derive(Debug, Clone)]
pub struct Rules(mpsc::Sender<Order>);

#[derive(Debug)]
enum Order {
    Change(Change, oneshot::Sender<Result<(), NftError>>),
    /// Compares the kernel's rules with what was loaded.
    Look(oneshot::Sender<Result<Looked, NftError>>),
}

/// The packet rules as the kernel has them.
#[derive(Debug)]
pub struct Looked {
    /// Projects that have a chain.
    pub projects: BTreeSet<String>,
    /// True if nobody has changed them since they were loaded.
    pub intact: bool,
}

#[derive(Debug)]
enum Change {
    Close(String),
    Drop(String),
}

impl Rules {
    /// Loads the rules of the projects that are present already, and starts the owner.
    pub async fn start(
        tasks: &Tasks,
        node_short: &str,
        range: Ipv4Net,
        present: BTreeSet<String>,
        times: Times,
    ) -> Result<Self, NftError> {
        nft::version(times.rules_call).await?;
        let (orders, inbox) = mpsc::channel(256);
        let mut owner = Owner { table: rules::table_name(node_short), range, present, loaded: None, times };
        owner.load().await?;
        tasks.job("packet rules", owner.run(inbox));
        Ok(Self(orders))
    }

    /// Returns once the project's bridge is isolated.
    pub async fn close(&self, project_ref: &str) -> Result<(), NftError> {
        self.order(Change::Close(project_ref.to_owned())).await
    }

    /// Returns once the rules no longer name the project.
    pub async fn drop_project(&self, project_ref: &str) -> Result<(), NftError> {
        self.order(Change::Drop(project_ref.to_owned())).await
    }

    /// Lists the rules, and changes nothing.
    pub async fn look(&self) -> Result<Looked, NftError> {
        let (done, answer) = oneshot::channel();
        self.0.send(Order::Look(done)).await.map_err(|_| NftError::Stopping)?;
        answer.await.map_err(|_| NftError::Stopping)?
    }

    async fn order(&self, change: Change) -> Result<(), NftError> {
        let (done, answer) = oneshot::channel();
        self.0.send(Order::Change(change, done)).await.map_err(|_| NftError::Stopping)?;
        answer.await.map_err(|_| NftError::Stopping)?
    }
}

struct Owner {
    table: String,
    range: Ipv4Net,
    present: BTreeSet<String>,
    /// The kernel's listing right after the last load, which a later listing must equal. None = the rules must be loaded.
    loaded: Option<String>,
    times: Times,
}

impl Owner {
    async fn run(mut self, mut inbox: mpsc::Receiver<Order>) {
        let mut check = tokio::time::interval(self.times.rules_check);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut orders = Vec::new();
        loop {
            tokio::select! {
                // One load serves all waiting orders.
                received = inbox.recv_many(&mut orders, 256) => match received {
                    0 => return,
                    _ => self.serve(orders.drain(..)).await,
                },
                _ = check.tick() => self.check().await,
            }
        }
    }

    async fn serve(&mut self, orders: impl Iterator<Item = Order>) {
        let mut changed = self.loaded.is_none();
        let mut waiting = Vec::new();
        let mut looking = Vec::new();
        for order in orders {
            match order {
                Order::Change(change, done) => {
                    changed |= match change {
                        Change::Close(project) => self.present.insert(project),
                        Change::Drop(project) => self.present.remove(&project),
                    };
                    waiting.push(done);
                }
                Order::Look(done) => looking.push(done),
            }
        }
        // A look alone loads nothing: what it finds would be mended by it.
        changed &= !waiting.is_empty();
        let result = if changed { self.load().await } else { Ok(()) };
        for done in waiting {
            // The caller may have been cancelled; the rules are loaded all the same.
            let _ = done.send(result.clone());
        }
        for done in looking {
            let _ = done.send(self.look().await);
        }
    }

    async fn look(&self) -> Result<Looked, NftError> {
        let listing = nft::list(&self.table, self.times.rules_call).await?.unwrap_or_default();
        let intact = self.loaded.as_ref().is_some_and(|loaded| *loaded == listing);
        Ok(Looked { projects: rules::projects_in(&listing), intact })
    }

    async fn load(&mut self) -> Result<(), NftError> {
        self.loaded = None;
        let limit = self.times.rules_call;
        nft::load(&rules::render(&self.table, self.range, &self.present), limit).await?;
        self.loaded = Some(nft::list(&self.table, limit).await?.unwrap_or_default());
        Ok(())
    }

    async fn check(&mut self) {
        let current = nft::list(&self.table, self.times.rules_call).await;
        match current {
            Ok(current)
                if current.as_deref().unwrap_or_default() == self.loaded.as_deref().unwrap_or("unknown") =>
            {
                return;
            }
            Ok(_) => tracing::warn!(
                table = self.table,
                "packet rules were changed or are missing, loading them again"
            ),
            Err(error) => tracing::warn!(table = self.table, %error, "cannot check the packet rules"),
        }
        if let Err(error) = self.load().await {
            tracing::error!(table = self.table, %error, "cannot load the packet rules; projects may be reachable from outside");
        }
    }
}
