//! Sizes of projects against their plans. In: the newest measurements, and limits. Out: an event and a mail when a project comes
//! near to a limit or reaches it, an event when it is well below again; and for the agents, what databases may hold.
//!
//! Measuring and acting on a database is the agent's (`stack::disk`), so that it also happens while no controller is there. Agent and
//! controller count the same: what the files of the volumes take.

use chrono::{TimeDelta, Utc};
use supalove_core::{
    Core,
    error::{Error, Result, chain},
    hints::Hint,
    mail::{self, Letter, Link},
    sql_enum,
};
use supalove_failpoints::failpoint;
use supalove_plans::{Entitlement, SizeAction};

use crate::store::limits::{self as store, Size};

/// Sizes of one run. The rest waits for the next one.
const BATCH: i64 = 500;
/// A mail of a level about a size, at most once in this time.
const MAIL_EVERY: TimeDelta = TimeDelta::days(1);
/// A mail that has not left after this time is dropped: the size is another one then.
const MAIL_LIFE: TimeDelta = TimeDelta::days(1);

sql_enum! {
    /// How near to its limit a size is.
    Level {
        Fine = "FINE",
        Near = "NEAR",
        Over = "OVER",
    }
}

impl Level {
    fn is_above(self, other: Self) -> bool {
        self as u8 > other as u8
    }
}

/// The level of a size. It rises at once and falls with a distance.
pub fn level(used_bytes: i64, limit_mib: i64, before: Level) -> Level {
    let used = i128::from(used_bytes) * 100;
    let percent = |part: i128| i128::from(limit_mib) * 1024 * 1024 * part;
    if used_bytes > 0 && used >= percent(100)
        || before == Level::Over && used >= percent(95) && used_bytes > 0
    {
        Level::Over
    } else if used_bytes > 0 && (used >= percent(80) || before != Level::Fine && used >= percent(75)) {
        Level::Near
    } else {
        Level::Fine
    }
}

/// Turns the sizes that have another level. One that cannot be turned keeps no other from it.
pub async fn run(core: Core) -> Result<()> {
    let mut result = Ok(());
    for size in store::changed(&core.db, BATCH).await? {
        let now = level(size.used_bytes, size.limit_mib, size.level);
        if now == size.level {
            continue;
        }
        match change_level(&core, &size, now).await {
            Ok(()) => {}
            // A database that is away is no matter of this size.
            Err(away @ Error::Unavailable { .. }) => return Err(away),
            Err(error) => {
                let named = format!("project {}: {}", size.project, chain(&error));
                result = result.and(Err(Error::internal(named)));
            }
        }
    }
    result
}

/// A size has another level.
async fn change_level(core: &Core, size: &Size, now: Level) -> Result<()> {
    let mut write = core.system_write("usage.limits");
    let Some(changed) = store::change_level(&mut write, size, now).await? else {
        // Another replica has done it.
        return Ok(());
    };
    store::tell(&mut write, size, now).await?;
    let is_due = changed.mailed_at.is_none_or(|at| Utc::now() - at >= MAIL_EVERY);
    if now.is_above(size.level) && is_due && core.mail().enabled() {
        store::mailed(&mut write, size, now).await?;
        for address in store::addresses(&mut write, size.organization).await? {
            mail::post(&mut write, &core.vault, &letter(core, size, now, &address)).await?;
        }
    }
    failpoint!("controller.usage.size_written");
    write.commit([Hint::Organization(size.organization)]).await?;
    failpoint!("controller.usage.size_committed");
    tracing::info!(
        project = %size.project,
        size = size.entitlement.as_sql(),
        used_bytes = size.used_bytes,
        limit_mib = size.limit_mib,
        level = now.as_sql(),
        "the size of a project has another level"
    );
    Ok(())
}

fn letter<'a>(core: &Core, size: &Size, now: Level, to: &'a str) -> Letter<'a> {
    let what = what(size.entitlement);
    let name = &size.name;
    let used = size.used_bytes.unsigned_abs().div_ceil(1024 * 1024);
    let allowed = size.limit_mib;
    let subject = match now {
        Level::Over => format!("{what} of {name} have reached the limit of your plan"),
        _ => format!("{what} of {name} are near the limit of your plan"),
    };
    let mut paragraphs = vec![format!(
        "{what} of the project {name} ({}) in the organization {} take {used} MiB. Your plan {} allows {allowed} MiB.",
        size.project, size.organization_name, size.plan
    )];
    paragraphs.push(consequence(size, now).to_owned());
    Letter {
        to,
        kind: "size",
        subject,
        paragraphs,
        link: core.mail().public_url().map(|url| Link { label: "Open Supalove", url: url.to_string() }),
        closing: vec!["You get this mail because you own or administer the organization.".to_owned()],
        expires_at: Utc::now() + MAIL_LIFE,
    }
}

fn what(entitlement: Entitlement) -> &'static str {
    match entitlement {
        Entitlement::StorageSize => "The files",
        _ => "The database's files",
    }
}

/// What happens now, or would happen.
fn consequence(size: &Size, now: Level) -> &'static str {
    let read_only = size.action == SizeAction::ReadOnly && size.entitlement == Entitlement::DatabaseSize;
    match (now, read_only) {
        (Level::Over, true) => {
            "Its database starts transactions read-only now, until it is below 95 % of the limit. To delete, begin with: set \
             transaction read write; then vacuum full, or drop what is not needed. Or choose a larger plan."
        }
        (_, true) => "At the limit its database becomes read-only until there is room again.",
        (Level::Over, false) => {
            "Nothing is stopped. Please delete what is not needed, or choose a larger plan."
        }
        (_, false) => "At the limit nothing is stopped, and you get another mail.",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: i64 = 1024 * 1024;

    #[test]
    fn a_level_rises_at_once_and_falls_with_a_distance() {
        let at = |percent: i64, before| level(percent * 5 * MIB, 500, before);
        assert_eq!(
            (at(79, Level::Fine), at(80, Level::Fine), at(100, Level::Fine)),
            (Level::Fine, Level::Near, Level::Over)
        );
        assert_eq!((at(76, Level::Near), at(74, Level::Near)), (Level::Near, Level::Fine));
        assert_eq!((at(95, Level::Over), at(94, Level::Over)), (Level::Over, Level::Near));
        assert_eq!(at(10, Level::Over), Level::Fine);
        assert_eq!((level(0, 0, Level::Over), level(1, 0, Level::Fine)), (Level::Fine, Level::Over));
        assert_eq!(level(i64::MAX, i64::MAX, Level::Over), Level::Fine, "no overflow");
    }

    proptest! {
        #[test]
        fn more_is_never_a_lower_level(used in 0..i64::MAX / 2, more in 0..i64::MAX / 2, limit in 0..1_000_000_000i64, before in 0..3usize) {
            let before = Level::ALL[before];
            let now = level(used, limit, before);
            prop_assert!(!now.is_above(level(used + more, limit, before)));
            prop_assert_eq!(level(used, limit, now), now, "the same size does not change it again");
        }
    }
}
