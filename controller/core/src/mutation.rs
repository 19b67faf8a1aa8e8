//! A change as one value: its transaction, its audit row, its request key and its hints.
//!
//! Functions that write take `&mut impl` [`Write`]. Only [`Mutation`] (of a call) and [`SystemWrite`] (of a job or
//! session) implement it. So every write has an actor, and callers can use several stores in one transaction. The
//! transaction begins at the first statement, so that it does not stay open during hashing or rendering.

use std::sync::{Arc, OnceLock};

use crate::database::{Connection, Db, Transaction};
use prost::Message;
use supalove_failpoints::failpoint;

use crate::{
    Core,
    access::Call,
    audit::{self, Chain, Entry},
    error::{Error, Result},
    hints::Hint,
    ids::{OperationId, OrganizationId, UserId},
    requests::{self, Answered, Request},
};

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Mutation {}
    impl Sealed for super::SystemWrite {}
}

/// A change that may write to the control database.
pub trait Write: sealed::Sealed + Send {
    /// Returns the connection; begins the transaction if it is not open.
    fn connection(&mut self) -> impl Future<Output = Result<&mut Connection>> + Send;
}

/// A change of a call. Dropping it without [`Mutation::commit`] rolls it back.
pub struct Mutation {
    core: Core,
    entry: Entry,
    organization: Arc<OnceLock<OrganizationId>>,
    /// Other organizations in whose logs the act has a row, too, each with what it changed there.
    also_in: Vec<(OrganizationId, String)>,
    request: Option<Request>,
    replayed: Option<Answered>,
    operation: Option<OperationId>,
    transaction: Option<Transaction>,
}

impl Core {
    /// Starts a change for a call. If the request has a `request_id`, call [`Mutation::once`] next.
    pub fn mutation(&self, call: &Call) -> Mutation {
        Mutation {
            core: self.clone(),
            entry: Entry::from_call(call, ""),
            organization: call.organization.clone(),
            also_in: Vec::new(),
            request: None,
            replayed: None,
            operation: None,
            transaction: None,
        }
    }

    /// Starts a background change of the control plane. `actor` is the job's name or the node's id.
    pub fn system_write(&self, actor: impl Into<String>) -> SystemWrite {
        SystemWrite { core: self.clone(), actor: actor.into(), entries: Vec::new(), transaction: None }
    }
}

impl Mutation {
    /// Makes the change idempotent by its `request_id`. See [`Mutation::replayed`].
    pub async fn once(mut self, call: &Call, request_id: &str, body: &impl Message) -> Result<Self> {
        self.request = Request::from_call(call, request_id, body)?;
        self.replayed = requests::replayed(&self.core.db, self.request.as_ref()).await?;
        Ok(self)
    }

    /// The same for a request that may be stored in several forms: the first one is that of now.
    pub async fn once_in_forms(
        mut self,
        call: &Call,
        request_id: &str,
        forms: &[impl Message],
    ) -> Result<Self> {
        let (body, others) = forms.split_first().ok_or_else(|| Error::internal("a request has a form"))?;
        self.request = Request::from_call(call, request_id, body)?.map(|request| request.or(others));
        self.replayed = requests::replayed(&self.core.db, self.request.as_ref()).await?;
        Ok(self)
    }

    /// The same for a change in one statement. If the controller has answered the call before, the unique request key
    /// makes the statement fail; only then the caller needs [`Mutation::made_before`].
    pub fn once_in_one_statement(
        mut self,
        call: &Call,
        request_id: &str,
        body: &impl Message,
    ) -> Result<Self> {
        self.request = Request::from_call(call, request_id, body)?;
        Ok(self)
    }

    /// Looks up the result of the same call before. Returns an error if its key was used with another body.
    pub async fn made_before(&self) -> Result<Option<Answered>> {
        requests::replayed(&self.core.db, self.request.as_ref()).await
    }

    /// The result of the same call before, if any. The caller must then change nothing.
    pub fn replayed(&self) -> Option<&Answered> {
        self.replayed.as_ref()
    }

    /// Sets the user who acts, for calls without a principal: a sign-in.
    pub fn act_as(&mut self, user: UserId) {
        self.entry.actor = user.to_string();
    }

    /// Sets another outcome than `OK` for the audit row: the change is the answer to something wrong.
    pub fn ends_as(&mut self, outcome: &str) {
        outcome.clone_into(&mut self.entry.outcome);
    }

    /// Sets the operation that the change starts; a repeated call returns it.
    pub fn starts(&mut self, operation: OperationId) {
        self.operation = Some(operation);
    }

    /// Rolls back the writes so far; the caller can start over.
    pub fn roll_back(&mut self) {
        self.transaction = None;
    }

    /// Sets the organization to whose log the audit row belongs, if it is neither that of the object which the caller was
    /// allowed to act on, nor named by the target.
    pub fn in_organization(&mut self, organization: OrganizationId) {
        self.organization = Arc::new(OnceLock::from(organization));
    }

    /// Writes a row of the act into the log of this organization, too: it has changed `target` there.
    pub fn also_in(&mut self, organization: OrganizationId, target: impl Into<String>) {
        self.also_in.push((organization, target.into()));
    }

    fn acts_on(&mut self, target: &str) {
        target.clone_into(&mut self.entry.target);
        let organization = self.organization.get();
        self.entry.chain =
            organization.map_or_else(|| Chain::from_target(target), |id| Chain::Organization(*id));
    }

    /// Writes the audit row and the request key, commits, and publishes the hints. `target` names the changed or
    /// created object.
    pub async fn commit(mut self, target: &str, hints: impl IntoIterator<Item = Hint>) -> Result<()> {
        self.acts_on(target);
        self.connection().await?;
        let Some(mut transaction) = self.transaction.take() else {
            return Err(Error::internal("a transaction vanished"));
        };
        if let Some(request) = &self.request {
            requests::complete(transaction.connection()?, request, target, self.operation).await?;
        }
        audit::record(transaction.connection()?, &self.entry).await?;
        for (organization, target) in &self.also_in {
            audit::record(transaction.connection()?, &self.entry.copy_in(*organization, target)).await?;
        }
        failpoint!("controller.call.written");
        transaction.commit().await?;
        failpoint!("controller.call.committed");
        for hint in hints {
            self.core.hints.wake(hint);
        }
        Ok(())
    }

    /// For the hot path: returns the rows that the caller's one statement writes together with the change.
    pub fn in_one_statement(&mut self, target: &str) -> OneStatement<'_> {
        self.acts_on(target);
        OneStatement { db: &self.core.db, entry: &self.entry, request: self.request.as_ref() }
    }
}

impl Write for Mutation {
    async fn connection(&mut self) -> Result<&mut Connection> {
        if self.transaction.is_none() {
            let mut transaction = self.core.db.begin().await?;
            // First, so that of two concurrent equal calls the second waits here and then fails.
            if let Some(request) = &self.request {
                requests::begin(transaction.connection()?, request).await?;
            }
            self.transaction = Some(transaction);
        }
        self.transaction.as_mut().ok_or_else(|| Error::internal("a transaction vanished"))?.connection()
    }
}

/// See [`Mutation::in_one_statement`].
pub struct OneStatement<'a> {
    /// Where the statement runs.
    pub db: &'a Db,
    /// The audit row that it writes.
    pub entry: &'a Entry,
    /// The request key that it writes.
    pub request: Option<&'a Request>,
}

/// A change by a job or a session.
pub struct SystemWrite {
    core: Core,
    actor: String,
    entries: Vec<Entry>,
    transaction: Option<Transaction>,
}

impl SystemWrite {
    /// Adds an audit row. For changes that users can see.
    pub fn audit(&mut self, method: &str, target: &str) {
        self.entries.push(Entry::system(self.actor.clone(), method, target));
    }

    /// Adds an audit row for a fault, with its reason as the outcome.
    pub fn audit_outcome(&mut self, method: &str, target: &str, outcome: &str) {
        let entry = Entry::system(self.actor.clone(), method, target);
        self.entries.push(Entry { outcome: outcome.to_owned(), ..entry });
    }

    /// The same for something in an organization, in whose log the row is.
    pub fn audit_outcome_in(
        &mut self,
        organization: OrganizationId,
        method: &str,
        target: &str,
        outcome: &str,
    ) {
        let entry = Entry::system(self.actor.clone(), method, target).in_organization(organization);
        self.entries.push(Entry { outcome: outcome.to_owned(), ..entry });
    }

    /// Writes the audit rows, commits, and publishes the hints.
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
    async fn connection(&mut self) -> Result<&mut Connection> {
        if self.transaction.is_none() {
            self.transaction = Some(self.core.db.begin().await?);
        }
        self.transaction.as_mut().ok_or_else(|| Error::internal("a transaction vanished"))?.connection()
    }
}
