//! Compares what the platform holds: rows among themselves ([`RowCheck`], which needs only the database), and memory and nodes
//! with the rows ([`LiveCheck`], which needs a running replica). Each room brings its own checks.
//!
//! Much is in flight in a platform that works: a report on its way, a session that has just begun. So [`Checker`] compares
//! twice, and only what differs in the same way both times is a difference.

use std::{collections::BTreeSet, time::Duration};

use futures::future::{BoxFuture, join_all};

use crate::{database::Db, error::Result};

/// Between two comparisons. A report and its verdict take milliseconds, a hint that was lost up to the poll of a second.
pub const PAUSE: Duration = Duration::from_secs(2);
/// Maximum number of differences of one check, and of one answer.
pub const KEPT: usize = 1000;

/// Two parts of the platform say different things of one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// What was compared, `room.what`.
    pub check: String,
    /// The object: an id, or a project's ref.
    pub object: String,
    /// What there should be.
    pub expected: String,
    /// What there is.
    pub found: String,
}

/// What differs between rows, as the query of a [`RowCheck`] returns it.
#[derive(Debug, sqlx::FromRow)]
pub struct RowDifference {
    /// The object.
    pub object: String,
    /// What there should be.
    pub expected: String,
    /// What there is.
    pub found: String,
}

/// A rule that rows keep at every time: a query that returns what breaks it. Made by [`row_check!`](crate::row_check).
#[derive(Clone, Copy)]
pub struct RowCheck {
    /// `room.what`.
    pub name: &'static str,
    /// The query, for a caller with a transaction of its own.
    pub query: &'static str,
    /// Runs the query.
    pub run: for<'a> fn(&'a Db) -> BoxFuture<'a, Result<Vec<RowDifference>>>,
}

impl std::fmt::Debug for RowCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A [`RowCheck`] of this name with this query, which the compiler checks. Its columns are `object!`, `expected!` and `found!`.
#[macro_export]
macro_rules! row_check {
    ($name:literal, $query:tt) => {
        $crate::consistency::RowCheck {
            name: $name,
            query: $query,
            run: |db| {
                Box::pin(async move {
                    let rows = sqlx::query_as!($crate::consistency::RowDifference, $query);
                    Ok(rows.fetch_all(db).await?)
                })
            },
        }
    };
}

/// Result of one comparison.
#[derive(Debug, Default)]
pub struct Compared {
    /// What differs.
    pub differences: Vec<Difference>,
    /// What could not be compared, and why.
    pub not_compared: Vec<String>,
    /// Nodes that were compared.
    pub nodes: u32,
}

impl Compared {
    /// Notes a difference.
    #[expect(clippy::needless_pass_by_value, reason = "callers pass ids and texts alike")]
    pub fn note(
        &mut self,
        check: impl Into<String>,
        object: impl ToString,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        let object = object.to_string();
        let difference =
            Difference { check: check.into(), object, expected: expected.into(), found: found.into() };
        if self.differences.len() < KEPT && difference.expected != difference.found {
            self.differences.push(difference);
        }
    }

    fn add(&mut self, other: Self) {
        self.differences.extend(other.differences);
        self.not_compared.extend(other.not_compared);
        self.nodes += other.nodes;
    }
}

/// Compares memory or nodes with rows.
pub trait LiveCheck: Send + Sync + 'static {
    /// Compares once. An error = the control database did not answer.
    fn compare(&self) -> BoxFuture<'_, Result<Compared>>;
}

/// Result of a whole check.
#[derive(Debug, Default)]
pub struct Report {
    /// What differed both times, sorted.
    pub compared: Compared,
    /// Differences of the first comparison that were gone in the second.
    pub in_flight: usize,
}

/// All checks.
pub struct Checker {
    db: Db,
    rows: Vec<RowCheck>,
    live: Vec<Box<dyn LiveCheck>>,
}

impl Checker {
    /// With these checks; without live ones it needs no running replica.
    pub fn new(db: Db, rows: Vec<RowCheck>, live: Vec<Box<dyn LiveCheck>>) -> Self {
        Self { db, rows, live }
    }

    /// Compares; if something differs, compares again after a pause.
    pub async fn run(&self) -> Result<Report> {
        let first = self.compare().await?;
        if first.differences.is_empty() {
            return Ok(Report { compared: first, in_flight: 0 });
        }
        tokio::time::sleep(PAUSE).await;
        let mut compared = self.compare().await?;
        let before: BTreeSet<Difference> = first.differences.into_iter().collect();
        compared.differences.retain(|difference| before.contains(difference));
        compared.differences.sort();
        compared.differences.dedup();
        let in_flight = before.len() - compared.differences.len();
        compared.differences.truncate(KEPT);
        Ok(Report { compared, in_flight })
    }

    async fn compare(&self) -> Result<Compared> {
        let mut compared = Compared::default();
        let live = join_all(self.live.iter().map(|check| check.compare()));
        let (rows, live) = tokio::join!(compare_rows(&self.db, &self.rows), live);
        compared.add(rows?);
        for one in live {
            compared.add(one?);
        }
        Ok(compared)
    }
}

/// One check after the other, so that an operator's question takes one connection only.
async fn compare_rows(db: &Db, checks: &[RowCheck]) -> Result<Compared> {
    let mut compared = Compared::default();
    for check in checks {
        let broken = (check.run)(db).await?.into_iter().take(KEPT).map(|row| Difference {
            check: check.name.to_owned(),
            object: row.object,
            expected: row.expected,
            found: row.found,
        });
        compared.differences.extend(broken);
    }
    Ok(compared)
}
