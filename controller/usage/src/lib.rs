//! Usage: what projects use of processors, memory, network and disks.
//!
//! Input: records of the agents, which carry counters that only grow. [`counters`] turns them into what was used since the
//! record before; [`intake`] stores that by minute, each record once; [`roll_up`] sums minutes to hours and hours to days, and
//! deletes what is too old; [`limits`] compares sizes with plans. Output: `UsageService`, events and mails about sizes, and the
//! limits of databases for the agents.

#![allow(missing_docs, reason = "a room's crate: a comment is written where it says something")]

mod amounts;
mod api;
mod counters;
#[cfg(test)]
mod fuzz;
mod intake;
mod limits;
mod pace;
mod roll_up;
mod rules;
mod span;
mod store;
mod tell_limits;
mod wire;

use std::sync::Arc;

use supalove_core::{
    Core, Room,
    jobs::{Job, Rhythm::Every},
};
use supalove_fleet::SessionHandler;
use supalove_proto::v1::usage_service_server::UsageServiceServer;

pub use rules::RULES;
pub use store::counts;

use crate::{api::UsageApi, intake::Intake, tell_limits::TellLimits};

/// What the server mounts.
pub fn room(core: &Core) -> Room {
    let work = core.for_work();
    let rolling = work.clone();
    let comparing = work.clone();
    Room::new("usage", RULES)
        .service(UsageServiceServer::new(UsageApi::new(core.clone())))
        .job(Job::leased("usage.roll_up", Every(core.times.usage_roll_up), move |_| {
            roll_up::run(rolling.clone())
        }))
        .job(Job::leased("usage.limits", Every(core.times.usage_limits), move |_| {
            limits::run(comparing.clone())
        }))
        .job(Job::leased("usage.prune", Every(core.times.prune), move |_| roll_up::prune(work.clone())))
}

/// Returns the handlers of nodes' sessions: one takes the records of a node, one tells it the limits of its databases.
pub fn session_handlers(core: &Core) -> [Arc<dyn SessionHandler>; 2] {
    [Arc::new(Intake::new(core)), Arc::new(TellLimits::new(core))]
}
