//! Statements within their limit: what sqlx calls on [`Db`] and [`Connection`].

use std::time::Duration;

use futures::{
    FutureExt as _, StreamExt as _, TryStreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Describe, Either, Execute, Executor, Postgres, SqlStr,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::time::{Instant, timeout_at};

use super::{Connection, Db, Silence, given_up, no_answer, statements};

type Step = Result<Either<PgQueryResult, PgRow>, sqlx::Error>;

/// A statement in progress. `busy` stays set if it is given up.
struct Running<'e> {
    steps: BoxStream<'e, Step>,
    busy: &'e mut bool,
    silence: Silence,
    limit: Duration,
    until: Instant,
}

impl Running<'_> {
    /// The next row or result; `None` at the end.
    async fn next(&mut self) -> Option<Step> {
        let Ok(step) = timeout_at(self.until, self.steps.next()).await else {
            self.silence.begins("the control database does not answer");
            return Some(Err(no_answer(self.limit)));
        };
        match &step {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => *self.busy = false,
        }
        step.inspect(|result| self.silence.note(result))
    }
}

impl<'c> Executor<'c> for &'c mut Connection {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Step>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let Some(inner) = &mut self.inner else {
            return stream::once(async { Err(given_up()) }).boxed();
        };
        statements::note();
        self.busy = true;
        let running = Running {
            steps: (&mut **inner).fetch_many(query),
            busy: &mut self.busy,
            silence: self.silence.clone(),
            limit: self.limit,
            until: Instant::now() + self.limit,
        };
        stream::unfold(Some(running), |running| async move {
            let mut running = running?;
            match running.next().await? {
                Ok(step) => Some((Ok(step), Some(running))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let mut steps = self.fetch_many(query);
        async move {
            let mut row = None;
            // To the end, as the connection is used again.
            while let Some(step) = steps.try_next().await? {
                if let Either::Right(found) = step {
                    row.get_or_insert(found);
                }
            }
            Ok(row)
        }
        .boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        async move {
            let Some(inner) = &mut self.inner else {
                return Err(given_up());
            };
            self.busy = true;
            let preparing = (&mut **inner).prepare_with(sql, parameters);
            let Ok(prepared) = timeout_at(Instant::now() + self.limit, preparing).await else {
                self.silence.begins("the control database does not answer");
                return Err(no_answer(self.limit));
            };
            self.busy = false;
            prepared
        }
        .boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        async move {
            match &mut self.inner {
                Some(inner) => (&mut **inner).describe(sql).await,
                None => Err(given_up()),
            }
        }
        .boxed()
    }
}

/// One statement on a connection of its own.
impl<'c> Executor<'c> for &'c Db {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Step>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        // All rows at once, so that a slow reader does not keep the connection.
        let all = async move {
            let mut connection = self.acquire().await?;
            let steps: Vec<_> = (&mut connection).fetch_many(query).try_collect().await?;
            Ok::<_, sqlx::Error>(stream::iter(steps.into_iter().map(Ok)))
        };
        stream::once(all).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        async move { (&mut self.acquire().await?).fetch_optional(query).await }.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        async move { (&mut self.acquire().await?).prepare_with(sql, parameters).await }.boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        async move { (&mut self.acquire().await?).describe(sql).await }.boxed()
    }
}
