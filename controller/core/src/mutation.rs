//! A change as one value: its transaction, its audit row, its request key and the hints it gives.
//!
//! What writes takes `&mut impl` [`Write`], which only a [`Mutation`] (a call) and a [`SystemWrite`] (a job or a session)
//! are. So each write has somebody who answers for it, and rules can compose several stores in one transaction. The
//! transaction opens at the first statement, never around hashing or rendering.

use prost::Message;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::{
    Core,
    access::Call,
    audit::{self, Entry},
    error::{Error, Result},
    hints::Hint,
    ids::{OperationId, UserId},
    requests::{self, Answered, Request},
};

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Mutation {}
    impl Sealed for super::SystemWrite {}
}

/// What may write.
pub trait Write: sealed::Sealed + Send {
    /// The connection, within the transaction.
    fn connection(&mut self) -> impl Future<Output = Result<&mut PgConnection>> + Send;
}

/// A change that a caller asked for. Dropped without [`Mutation::commit`], it leaves nothing.
pub struct Mutation {
    core: Core,
    entry: Entry,
    request: Option<Request>,
    replayed: Option<Answered>,
    operation: Option<OperationId>,
    transaction: Option<Transaction<'static, Postgres>>,
}

impl Core {
    /// A change for a call. One with a `request_id` goes on with [`Mutation::once`].
    pub fn mutation(&self, call: &Call) -> Mutation {
        Mutation {
            core: self.clone(),
            entry: Entry::from_call(call, ""),
            request: None,
            replayed: None,
            operation: None,
            transaction: None,
        }
    }

    /// A change that the control plane makes by itself. `actor` is the job's name or the node's id.
    pub fn system_write(&self, actor: impl Into<String>) -> SystemWrite {
        SystemWrite { core: self.clone(), actor: actor.into(), entries: Vec::new(), transaction: None }
    }
}

impl Mutation {
    /// Makes a repeated call change nothing. See [`Mutation::replayed`].
    pub async fn once(mut self, call: &Call, request_id: &str, body: &impl Message) -> Result<Self> {
        self.request = Request::from_call(call, request_id, body)?;
        self.replayed = requests::replayed(&self.core.db, self.request.as_ref()).await?;
        Ok(self)
    }

    /// The same for a change in one statement, which the request key itself refuses if the call was answered before: only
    /// a change that was refused asks [`Mutation::made_before`].
    pub fn once_in_one_statement(
        mut self,
        call: &Call,
        request_id: &str,
        body: &impl Message,
    ) -> Result<Self> {
        self.request = Request::from_call(call, request_id, body)?;
        Ok(self)
    }

    /// What the same call made before, looked up now. An error if its key was used with another body.
    pub async fn made_before(&self) -> Result<Option<Answered>> {
        requests::replayed(&self.core.db, self.request.as_ref()).await
    }

    /// What the same call made before. Then nothing is to be done.
    pub fn replayed(&self) -> Option<&Answered> {
        self.replayed.as_ref()
    }

    /// The user who acts, where the call itself is nobody's: a sign-in.
    pub fn act_as(&mut self, user: UserId) {
        self.entry.actor = user.to_string();
    }

    /// The operation that the change starts; a repeated call returns it.
    pub fn starts(&mut self, operation: OperationId) {
        self.operation = Some(operation);
    }

    /// Undoes what was written so far; the change can begin again.
    pub fn roll_back(&mut self) {
        self.transaction = None;
    }

    /// Writes the audit row and the request key, commits, and gives the hints. `target` is what was changed, or made.
    pub async fn commit(mut self, target: &str, hints: impl IntoIterator<Item = Hint>) -> Result<()> {
        target.clone_into(&mut self.entry.target);
        self.connection().await?;
        let Some(mut transaction) = self.transaction.take() else {
            return Err(Error::internal("a transaction vanished"));
        };
        if let Some(request) = &self.request {
            requests::complete(&mut *transaction, request, target, self.operation).await?;
        }
        audit::record(&mut *transaction, &self.entry).await?;
        transaction.commit().await?;
        for hint in hints {
            self.core.hints.wake(hint);
        }
        Ok(())
    }

    /// For the hot path: the parts that one statement writes together with the change itself.
    pub fn in_one_statement(&mut self, target: &str) -> OneStatement<'_> {
        target.clone_into(&mut self.entry.target);
        OneStatement { db: &self.core.db, entry: &self.entry, request: self.request.as_ref() }
    }
}

impl Write for Mutation {
    async fn connection(&mut self) -> Result<&mut PgConnection> {
        if self.transaction.is_none() {
            let mut transaction = self.core.db.begin().await?;
            // First, so that of two same calls at the same time the second waits here and then loses.
            if let Some(request) = &self.request {
                requests::begin(&mut *transaction, request).await?;
            }
            self.transaction = Some(transaction);
        }
        self.transaction.as_deref_mut().ok_or_else(|| Error::internal("a transaction vanished"))
    }
}

/// See [`Mutation::in_one_statement`].
pub struct OneStatement<'a> {
    /// Where the statement runs.
    pub db: &'a PgPool,
    /// The audit row that it writes.
    pub entry: &'a Entry,
    /// The request key that it writes.
    pub request: Option<&'a Request>,
}

/// A change of a job or a session.
pub struct SystemWrite {
    core: Core,
    actor: String,
    entries: Vec<Entry>,
    transaction: Option<Transaction<'static, Postgres>>,
}

impl SystemWrite {
    /// Audits the change: for changes that a user sees.
    pub fn audit(&mut self, method: &str, target: &str) {
        self.entries.push(Entry::system(self.actor.clone(), method, target));
    }

    /// Audits something bad that happened, with its reason as the outcome.
    pub fn audit_outcome(&mut self, method: &str, target: &str, outcome: &str) {
        let entry = Entry::system(self.actor.clone(), method, target);
        self.entries.push(Entry { outcome: outcome.to_owned(), ..entry });
    }

    /// Writes the audit rows, commits, and gives the hints.
    pub async fn commit(mut self, hints: impl IntoIterator<Item = Hint>) -> Result<()> {
        for entry in std::mem::take(&mut self.entries) {
            audit::record(self.connection().await?, &entry).await?;
        }
        if let Some(transaction) = self.transaction.take() {
            transaction.commit().await?;
        }
        for hint in hints {
            self.core.hints.wake(hint);
        }
        Ok(())
    }
}

impl Write for SystemWrite {
    async fn connection(&mut self) -> Result<&mut PgConnection> {
        if self.transaction.is_none() {
            self.transaction = Some(self.core.db.begin().await?);
        }
        self.transaction.as_deref_mut().ok_or_else(|| Error::internal("a transaction vanished"))
    }
}
