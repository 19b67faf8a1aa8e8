//! The jobs: minutes are summed to hours, hours to days, and what is too old is deleted.
//!
//! A sum replaces the row of before, so a run that comes twice changes nothing, and minutes that come late are in the sum of the
//! next run. A transaction for each hour: the hour leaves the list of those to be summed together with the sum.

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use supalove_core::{
    Core,
    error::{Error, Result, chain},
    retention::in_batches,
};
use supalove_failpoints::failpoint;

use crate::{span::Step, store::roll_up as store};

/// Sums the hours that have new minutes, and their days. One that cannot be summed keeps no other from it.
pub async fn run(core: Core) -> Result<()> {
    let mut result = Ok(());
    for hour in store::pending(&core.db).await? {
        match sum(&core, hour).await {
            Ok(()) => {}
            // A database that is away is no matter of this hour.
            Err(away @ Error::Unavailable { .. }) => return Err(away),
            Err(error) => {
                result = result.and(Err(Error::internal(format!("hour {hour}: {}", chain(&error)))));
            }
        }
    }
    result
}

async fn sum(core: &Core, hour: DateTime<Utc>) -> Result<()> {
    let mut write = core.system_write("usage.roll_up");
    store::take(&mut write, hour).await?;
    let end = hour + TimeDelta::hours(1);
    let mut changed = store::sum(&mut write, Step::Minute, Step::Hour, hour, end).await?;
    if let Ok(day) = hour.duration_trunc(TimeDelta::days(1)) {
        let end = day + TimeDelta::days(1);
        changed += store::sum(&mut write, Step::Hour, Step::Day, day, end).await?;
    }
    failpoint!("controller.usage.summed");
    write.commit([]).await?;
    failpoint!("controller.usage.sum_committed");
    tracing::debug!(%hour, changed, "usage summed");
    Ok(())
}

/// Deletes rows that are too old.
pub async fn prune(core: Core) -> Result<()> {
    for step in Step::ALL.iter().copied() {
        in_batches(|| async {
            let mut write = core.system_write("usage.prune");
            let done = store::prune_projects(&mut write, step, step.kept()).await?;
            write.commit([]).await?;
            Ok(done)
        })
        .await?;
        in_batches(|| async {
            let mut write = core.system_write("usage.prune");
            let done = store::prune_nodes(&mut write, step, step.kept()).await?;
            write.commit([]).await?;
            Ok(done)
        })
        .await?;
    }
    Ok(())
}
