//! Which master keys the installation has, and which of them seals new values.
//!
//! A controller that is started with a new key, and the current one as the previous, registers the new one as the next. It seals
//! under the new key only when every live replica knows it ([`rotation`](super::rotation)), so that each can open what another
//! seals. A controller whose keys do not fit is refused at its start, with what to do.

use std::time::Duration;

use super::{KeyId, Vault, columns::SealedColumn};
use crate::{
    Core,
    database::{Connection, Db},
    error::{Error, Result},
    platform, sql_enum,
    times::Times,
};

/// Names of the options, for errors.
const GIVEN: &str = "master_key_file";
const PREVIOUS: &str = "previous_master_key_file";

sql_enum! {
    /// What a master key is used for.
    KeyState {
        /// It will seal when every replica knows it.
        Next = "NEXT",
        /// It seals new values.
        Current = "CURRENT",
        /// It opens the values that are not wrapped anew yet.
        Previous = "PREVIOUS",
        /// No value is under it.
        Retired = "RETIRED",
    }
}

/// A key of the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: KeyId,
    /// What it is used for.
    pub state: KeyState,
    /// Values that name no key are under it.
    pub first: bool,
    /// It is retired, and no value was left under it while nobody could write one.
    pub proven: bool,
}

/// All keys, the newest first.
pub async fn all(db: impl sqlx::PgExecutor<'_>) -> Result<Vec<Known>> {
    let rows = sqlx::query!(
        "SELECT id, state AS \"state: KeyState\", first, proven FROM master_keys ORDER BY created_at DESC, id"
    );
    let known = rows.fetch_all(db).await?.into_iter();
    known
        .map(|row| Ok(Known { id: parse(&row.id)?, state: row.state, first: row.first, proven: row.proven }))
        .collect()
}

fn parse(id: &str) -> Result<KeyId> {
    id.parse().map_err(|error| Error::internal(format!("{id:?} is no id of a master key: {error}")))
}

/// Checks at the start that the vault's keys are those of the installation, and registers a new one.
pub async fn check(db: &Db, vault: &Vault, columns: &[SealedColumn], times: &Times) -> Result<()> {
    let mut tx = db.begin().await?;
    sqlx::query!("LOCK TABLE master_keys IN EXCLUSIVE MODE").execute(tx.connection()?).await?;
    let mut known = all(tx.connection()?).await?;
    if known.is_empty() {
        let first = first(db, vault).await?;
        sqlx::query!(
            "INSERT INTO master_keys (id, state, first, current_at) VALUES ($1, 'CURRENT', true, now())",
            first.to_string(),
        )
        .execute(tx.connection()?)
        .await?;
        known = all(tx.connection()?).await?;
    }
    let current = current(&known)?;
    // Only then they would not open. With many values a look at all of them would make each start slow.
    let left = if vault.previous().is_none() && may_be_left(&known) {
        not_under(tx.connection()?, db, columns, &known, current).await?
    } else {
        0
    };
    let next = known.iter().find(|key| key.state == KeyState::Next).map(|key| key.id);
    let abandoned = match next {
        Some(next) => !is_known(tx.connection()?, next, times).await?,
        None => false,
    };
    if let Some(new) = decide(&known, vault.given(), vault.previous(), left, abandoned)? {
        sqlx::query!("DELETE FROM master_keys WHERE state = 'NEXT'").execute(tx.connection()?).await?;
        sqlx::query!("INSERT INTO master_keys (id, state) VALUES ($1, 'NEXT')", new.to_string())
            .execute(tx.connection()?)
            .await?;
        tracing::info!(%new, %current, "a new master key is known; it seals when every replica knows it");
    }
    tx.commit().await?;
    Ok(())
}

/// The key of an installation that has registered none: the one that opens what is sealed, or a new installation's.
async fn first(db: &Db, vault: &Vault) -> Result<KeyId> {
    let sample = sqlx::query!("SELECT name, sealed FROM platform_secrets ORDER BY name LIMIT 1");
    let Some(sample) = sample.fetch_optional(db).await? else { return Ok(vault.given()) };
    let opened = vault.key_of(platform::scope(&sample.name), &sample.sealed);
    opened.map_err(|_| Error::field(GIVEN, "does not open what is sealed in this control database"))
}

/// Whether a live replica was started with the key.
async fn is_known(connection: &mut Connection, key: KeyId, times: &Times) -> Result<bool> {
    let known = sqlx::query_scalar!(
        "SELECT EXISTS (SELECT 1 FROM controllers
             WHERE seen_at > now() - make_interval(secs => $1) AND $2 = ANY (master_keys)) AS \"known!\"",
        times.replica_gone.as_secs_f64(),
        key.to_string(),
    );
    Ok(known.fetch_one(connection).await?)
}

/// The key that seals.
pub fn current(known: &[Known]) -> Result<KeyId> {
    let current = known.iter().find(|key| key.state == KeyState::Current);
    current.map(|key| key.id).ok_or_else(|| Error::internal("master_keys has no current key"))
}

/// Whether values can be under another key than the current one: a key is on its way out, or was retired before the database kept
/// values from being written under such a key.
fn may_be_left(known: &[Known]) -> bool {
    known.iter().any(|key| match key.state {
        KeyState::Previous => true,
        KeyState::Retired => !key.proven,
        KeyState::Next | KeyState::Current => false,
    })
}

/// How many values are under another key than this one. If none is, the keys that are retired are proven so.
async fn not_under(
    connection: &mut Connection,
    db: &Db,
    columns: &[SealedColumn],
    known: &[Known],
    current: KeyId,
) -> Result<i64> {
    let first = known.iter().find(|key| key.first).map(|key| key.id);
    let mut left = 0;
    for column in columns {
        // The count reads all values; it is for the refusal only.
        let some = column.not_under(db, current, 1).await?;
        if !some.is_empty() {
            let counted = column.count(db).await?;
            let others = counted.iter().filter(|(key, _)| key.or(first) != Some(current));
            left += others.map(|(_, n)| n).sum::<i64>();
        }
    }
    if left == 0 {
        sqlx::query!("UPDATE master_keys SET proven = true WHERE state = 'RETIRED' AND NOT proven")
            .execute(connection)
            .await?;
    }
    Ok(left)
}

/// Decides on the keys of a start. Returns the one to register as the next.
///
/// `left`: values that the given key does not open, if it was given alone. `abandoned`: no live replica has the next key.
fn decide(
    known: &[Known],
    given: KeyId,
    previous: Option<KeyId>,
    left: i64,
    abandoned: bool,
) -> Result<Option<KeyId>> {
    let current = current(known)?;
    let state = |id: KeyId| known.iter().find(|key| key.id == id).map(|key| key.state);
    let with = |state| known.iter().find(|key| key.state == state).map(|key| key.id);
    let old = |id| matches!(state(id), Some(KeyState::Previous | KeyState::Retired));
    let refuse = |field: &str, why: String| Err(Error::field(field, why));
    match previous {
        None if given == current && left > 0 => refuse(
            PREVIOUS,
            format!(
                "is missing: {left} sealed values are not under the master key {current} yet. Start with the key that it \
                 replaces, until `supalove platform vault` shows that none is left"
            ),
        ),
        None if given == current => Ok(None),
        Some(previous) if given == current && old(previous) => Ok(None),
        Some(previous) if given == current => refuse(
            PREVIOUS,
            format!(
                "has {previous}, which is no earlier master key of this control database; leave the option out"
            ),
        ),
        Some(previous) if previous == current && state(given) == Some(KeyState::Next) => Ok(None),
        Some(previous) if previous == current && old(given) => refuse(
            GIVEN,
            format!(
                "has {given}, an old master key that {current} has replaced: make a new key, or swap the two files"
            ),
        ),
        Some(previous) if previous == current => match (with(KeyState::Next), with(KeyState::Previous)) {
            (Some(next), _) if !abandoned => refuse(
                GIVEN,
                format!(
                    "has {given}, but a live replica replaces {current} with {next}: use the same key on each"
                ),
            ),
            (_, Some(before)) => refuse(
                GIVEN,
                format!(
                    "has a new key, but values are still under {before}, which {current} replaces: wait until \
                     `supalove platform vault` shows that none is left"
                ),
            ),
            _ => Ok(Some(given)),
        },
        _ if old(given) => refuse(
            GIVEN,
            format!(
                "has {given}, an old master key that {current} has replaced: start with the new key as --master-key-file, and \
                 this one as --previous-master-key-file"
            ),
        ),
        _ if state(given) == Some(KeyState::Next) => refuse(
            PREVIOUS,
            format!("must be the file of the master key {current}, which {given} is to replace"),
        ),
        Some(previous) => refuse(
            PREVIOUS,
            format!(
                "has {previous}, which is not the master key of this control database: that is {current}"
            ),
        ),
        None => refuse(
            GIVEN,
            format!("has {given}, which is not the master key of this control database: that is {current}"),
        ),
    }
}

/// The ids of a vault's keys.
pub(crate) fn names(vault: &Vault) -> Vec<String> {
    [Some(vault.given()), vault.previous()].into_iter().flatten().map(|key| key.to_string()).collect()
}

/// A replica that was seen within this time may be live. While the database was away none could be seen, so at first after that, as
/// after a start of this replica, all that are on record count.
pub(super) fn live(times: &Times, database_up: Duration) -> Duration {
    const ALL: Duration = Duration::from_hours(7 * 24);
    if database_up > times.replica_gone { times.replica_gone } else { ALL }
}

/// Seals under the current key from now on, and notes what this replica knows. `database_up`: how long the control database has
/// answered without a break.
pub async fn follow(core: &Core, database_up: Duration) -> Result<()> {
    let vault = &core.vault;
    let row = sqlx::query!(
        "SELECT k.id, k.first, NOT EXISTS (SELECT 1 FROM controllers c
             WHERE c.seen_at > now() - make_interval(secs => $1) AND c.master_keys IS NULL AND c.id <> $2) AS \"named!\"
         FROM master_keys k WHERE k.state = 'CURRENT'",
        live(&core.times, database_up).as_secs_f64(),
        core.controller.0,
    )
    .fetch_one(&core.db)
    .await?;
    let current = parse(&row.id)?;
    // What names no key counts as the first one's.
    let known = vault.seal_under(current, row.named || !row.first);
    sqlx::query!(
        "UPDATE controllers SET master_keys = $2, sealing_key = $3
         WHERE id = $1 AND (master_keys, sealing_key) IS DISTINCT FROM ($2, $3)",
        core.controller.0,
        &names(vault),
        vault.sealing().to_string(),
    )
    .execute(&core.db)
    .await?;
    if known {
        return Ok(());
    }
    Err(Error::internal(format!(
        "values are sealed under the master key {current}, which this replica does not have: restart it with that key as \
         --master-key-file, and the one that it has as --previous-master-key-file"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> KeyId {
        KeyId([n; 8])
    }

    fn known(states: &[(u8, KeyState)]) -> Vec<Known> {
        let known = |(n, state): &(u8, KeyState)| Known {
            id: key(*n),
            state: *state,
            first: *n == 1,
            proven: *state == KeyState::Retired,
        };
        states.iter().map(known).collect()
    }

    #[test]
    fn after_an_outage_of_the_database_no_replica_counts_as_gone_at_once() {
        let times = Times::default();
        for up in [Duration::ZERO, times.seen_flush, times.replica_gone] {
            assert!(live(&times, up) > times.replica_forgotten, "{up:?}");
        }
        assert_eq!(live(&times, times.replica_gone + times.seen_flush), times.replica_gone);
    }

    #[test]
    fn a_start_looks_at_no_value_unless_some_can_be_left() {
        use KeyState::{Current, Next, Previous, Retired};
        assert!(!may_be_left(&known(&[(1, Current)])));
        assert!(!may_be_left(&known(&[(3, Next), (2, Current), (1, Retired)])));
        assert!(may_be_left(&known(&[(2, Current), (1, Previous)])));
        let mut before = known(&[(2, Current), (1, Retired)]);
        before[1].proven = false;
        assert!(may_be_left(&before), "it was retired by a controller that did not lock it");
    }

    #[test]
    fn a_start_needs_the_keys_of_the_installation() {
        use KeyState::{Current, Next, Previous, Retired};
        const NEW: u8 = 9;
        let (field, gives) = (|f: &'static str| Err(f), |n: Option<u8>| Ok(n));
        #[expect(clippy::type_complexity, reason = "a table")]
        let table: &[(&[(u8, KeyState)], u8, Option<u8>, i64, bool, Result<Option<u8>, &str>)] = &[
            (&[(1, Current)], 1, None, 0, false, gives(None)),
            (&[(1, Current)], 2, None, 0, false, field(GIVEN)),
            (&[(1, Current)], 1, Some(NEW), 0, false, field(PREVIOUS)),
            // A replacement begins.
            (&[(1, Current)], NEW, Some(1), 0, false, gives(Some(NEW))),
            (&[(1, Current)], NEW, Some(2), 0, false, field(PREVIOUS)),
            (&[(1, Current), (2, Next)], 2, Some(1), 0, false, gives(None)),
            (&[(1, Current), (2, Next)], 1, None, 0, false, gives(None)),
            (&[(1, Current), (2, Next)], 1, Some(2), 0, false, field(PREVIOUS)),
            (&[(1, Current), (2, Next)], 2, None, 0, false, field(PREVIOUS)),
            (&[(1, Current), (2, Next)], NEW, Some(1), 0, false, field(GIVEN)),
            (&[(1, Current), (2, Next)], NEW, Some(1), 0, true, gives(Some(NEW))),
            // The new one seals.
            (&[(2, Current), (1, Previous)], 2, Some(1), 0, false, gives(None)),
            (&[(2, Current), (1, Previous)], 2, None, 7, false, field(PREVIOUS)),
            (&[(2, Current), (1, Previous)], 2, None, 0, false, gives(None)),
            (&[(2, Current), (1, Previous)], 2, Some(NEW), 0, false, field(PREVIOUS)),
            (&[(2, Current), (1, Previous)], 1, None, 7, false, field(GIVEN)),
            (&[(2, Current), (1, Previous)], 1, Some(2), 0, false, field(GIVEN)),
            (&[(2, Current), (1, Previous)], NEW, Some(2), 0, false, field(GIVEN)),
            // It is done.
            (&[(2, Current), (1, Retired)], 2, None, 0, false, gives(None)),
            (&[(2, Current), (1, Retired)], 2, Some(1), 0, false, gives(None)),
            (&[(2, Current), (1, Retired)], 1, None, 9, false, field(GIVEN)),
            (&[(2, Current), (1, Retired)], NEW, Some(2), 0, false, gives(Some(NEW))),
            (&[(2, Current), (1, Retired)], NEW, Some(1), 0, false, field(PREVIOUS)),
        ];
        for (states, given, previous, left, abandoned, expected) in table {
            let decided = decide(&known(states), key(*given), previous.map(key), *left, *abandoned);
            match (decided, expected) {
                (Ok(next), Ok(expected)) => {
                    assert_eq!(next, expected.map(key), "{states:?} {given} {previous:?}");
                }
                (Err(Error::Invalid(violations)), Err(field)) => {
                    assert_eq!(violations[0].field, *field, "{states:?} {given} {previous:?}");
                }
                (decided, expected) => {
                    panic!("{states:?} {given} {previous:?}: {decided:?}, expected {expected:?}")
                }
            }
        }
    }
}
