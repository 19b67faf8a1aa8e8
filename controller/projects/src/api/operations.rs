//! `supalove.v1.OperationService`.

use std::time::Duration;

use supalove_net::allowance::{Allowance, Full, Taken};
use supalove_proto::v1::{
    CancelOperationRequest, CancelOperationResponse, GetOperationRequest, GetOperationResponse,
    ListOperationsRequest, ListOperationsResponse, WaitOperationRequest, WaitOperationResponse,
    operation_service_server::OperationService,
};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::{
    OperationKey, ProjectKey,
    acts::Acts,
    store::operations::{self, Operation},
};
use supalove_core::{
    Core,
    access::Call,
    error::{Error, Result},
    hints::Hint,
    ids::{OperationId, UserId},
    wire::{duration, page, page_size, parse_page_id},
};

const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// Part of the call's deadline that remains for sending the response.
const MARGIN: Duration = Duration::from_millis(200);

#[derive(Clone)]
pub struct OperationApi {
    core: Core,
    acts: Acts,
    waits: Allowance<UserId>,
}

impl OperationApi {
    /// On the control database.
    pub fn new(core: &Core, acts: &Acts) -> Self {
        let waits = Allowance::new(usize::MAX, core.limits.waits_per_user);
        Self { core: core.clone(), acts: acts.clone(), waits }
    }

    /// A part of what the caller may wait for at once.
    fn begin_wait(&self, call: &Call) -> Result<Taken<UserId>> {
        let user = call.principal()?.user;
        self.waits.take(user, 1).map_err(|full| {
            let (Full::All(most) | Full::Key(most)) = full;
            self.core.refusals.note("WaitOperation: too many of a user", user);
            Error::TooMany { what: "waits for operations", most }
        })
    }

    /// Returns the operation when it has ended or at `until`, whichever comes first.
    async fn wait_operation(&self, id: OperationId, until: Instant) -> Result<Operation> {
        let mut operation = operations::get(&self.core.db, id).await?;
        let mut changed = self.core.hints.listen(Hint::Project(operation.project.clone()));
        loop {
            operation = operations::get(&self.core.db, id).await?;
            if operation.state.ended() || Instant::now() >= until {
                return Ok(operation);
            }
            let next = (Instant::now() + self.core.times.hinted_poll).min(until);
            let _ = tokio::time::timeout_at(next, changed.woken()).await;
        }
    }
}

#[tonic::async_trait]
impl OperationService for OperationApi {
    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<GetOperationResponse>, Status> {
        let call = Call::from_request(&request)?;
        let grant = self.core.access.allow::<OperationKey>(&call, &request.get_ref().operation_id).await?;
        let operation = operations::get(&self.core.db, grant.operation).await?;
        Ok(Response::new(GetOperationResponse { operation: Some(operation.into()) }))
    }

    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let before = parse_page_id(&body.page_token)?;
        let grant = self.core.access.allow::<ProjectKey>(&call, &body.project_ref).await?;
        let found = operations::list(&self.core.db, &grant.project, before, size + 1).await?;
        let (found, next) = page(found, size, |o| o.id.0.to_string());
        let operations = found.into_iter().map(Into::into).collect();
        Ok(Response::new(ListOperationsResponse { operations, next_page_token: next }))
    }

    async fn wait_operation(
        &self,
        request: Request<WaitOperationRequest>,
    ) -> Result<Response<WaitOperationResponse>, Status> {
        let mut call = Call::from_request(&request)?;
        let body = request.into_inner();
        let wait = duration("timeout", body.timeout, DEFAULT_WAIT, self.core.times.wait_operation)?;
        let grant = self.core.access.allow::<OperationKey>(&call, &body.operation_id).await?;
        let until = (Instant::now() + wait).min(call.deadline.checked_sub(MARGIN).unwrap_or(call.deadline));
        let _counts = self.begin_wait(&call)?;
        let operation = self.wait_operation(grant.operation, until).await?;
        // Session, token or membership may have ended while it waited.
        call.confirm().await?;
        self.core.access.allow::<OperationKey>(&call, &body.operation_id).await?;
        Ok(Response::new(WaitOperationResponse { operation: Some(operation.into()) }))
    }

    async fn cancel_operation(
        &self,
        request: Request<CancelOperationRequest>,
    ) -> Result<Response<CancelOperationResponse>, Status> {
        let call = Call::from_request(&request)?;
        let grant = self.core.access.allow::<OperationKey>(&call, &request.get_ref().operation_id).await?;
        self.acts.cancel(&call, grant.operation).await?;
        let operation = operations::get(&self.core.db, grant.operation).await?;
        Ok(Response::new(CancelOperationResponse { operation: Some(operation.into()) }))
    }
}
