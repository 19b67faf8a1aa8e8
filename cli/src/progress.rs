//! Waits for an operation and shows its progress on stderr: one changing line per service on a terminal,
//! plain lines elsewhere.

mod display;

use std::{convert::Infallible, time::Duration};

use supalove_proto::v1::{
    Operation, OperationState, WaitOperationRequest, operation_service_client::OperationServiceClient,
};
use tonic::Code;

use self::display::Display;
use crate::{client::Client, error::Error, span, watch::Watch};

/// Timeout of one WaitOperation on the server.
const WAIT: Duration = Duration::from_secs(25);
/// Additional time for the call itself.
const GRACE: Duration = Duration::from_secs(10);
/// Retry interval while the API is unreachable, because an operation survives a restart of the controller.
const AWAY_PAUSE: Duration = Duration::from_secs(2);
/// Maximum number of consecutive retries.
const AWAY_LIMIT: usize = 30;

/// Waits until an operation has ended, and shows progress unless `quiet`. Returns an error if the operation failed, and
/// on Ctrl-C or after `limit`, which leave it running.
pub async fn follow(
    client: &Client,
    operation: &Operation,
    quiet: bool,
    limit: Option<Duration>,
) -> Result<Operation, Error> {
    let display = Display::new(quiet);
    display.operation(operation);
    let ended = tokio::select! {
        ended = wait(client, operation, &display) => ended?,
        never = show(client, &operation.project_ref, &display) => match never {},
        error = interrupted(operation) => return Err(error),
        () = sleep(limit) => return Err(Error::StillRunning { operation_id: operation.id.clone() }),
    };
    display.operation(&ended);
    match ended.state() {
        OperationState::Succeeded => Ok(ended),
        _ => Err(Error::OperationFailed(Box::new(ended))),
    }
}

/// Polls until the operation has ended.
async fn wait(client: &Client, operation: &Operation, display: &Display) -> Result<Operation, Error> {
    let mut current = operation.clone();
    let mut away = 0;
    while !has_ended(&current) {
        match wait_once(client, &operation.id).await {
            Ok(operation) => {
                display.operation(&operation);
                current = operation;
                away = 0;
            }
            Err(error) if is_away(&error) && away < AWAY_LIMIT => {
                away += 1;
                tokio::time::sleep(AWAY_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(current)
}

async fn wait_once(client: &Client, operation_id: &str) -> Result<Operation, Error> {
    let request =
        WaitOperationRequest { operation_id: operation_id.to_owned(), timeout: Some(span::to_proto(WAIT)) };
    let answer = client
        .call_patiently(WAIT + GRACE, request, |channel, request| async move {
            OperationServiceClient::new(channel).wait_operation(request).await
        })
        .await?;
    answer.operation.ok_or_else(|| Error::Answer("no operation".into()))
}

/// Shows the messages of a watch. Never returns: if the watch fails, only the progress display ends.
async fn show(client: &Client, project_ref: &str, display: &Display) -> Infallible {
    let mut watch = Watch::new(client, project_ref, None);
    while let Ok(Some(answer)) = watch.next().await {
        display.message(&answer);
    }
    std::future::pending().await
}

async fn interrupted(operation: &Operation) -> Error {
    match tokio::signal::ctrl_c().await {
        Ok(()) => Error::Interrupted { operation_id: operation.id.clone() },
        Err(error) => error.into(),
    }
}

/// Sleeps for the limit, or forever without one.
pub async fn sleep(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

fn is_away(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => true,
        Error::Status(status) => matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded),
        _ => false,
    }
}

fn has_ended(operation: &Operation) -> bool {
    matches!(
        operation.state(),
        OperationState::Succeeded | OperationState::Failed | OperationState::Cancelled
    )
}
