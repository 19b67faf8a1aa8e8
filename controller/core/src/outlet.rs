//! The way of a long stream to its reader: waits for a slow one, ends at the deadline of the call or when the controller stops, and
//! says why. In: messages. Out: a channel that the call's response reads.

use std::time::Duration;

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// Why a stream is over.
#[derive(Debug)]
pub enum Over {
    /// Nobody reads it.
    ReaderGone,
    /// The caller is told.
    Failed(Error),
    /// All was sent.
    Done,
}

impl From<Error> for Over {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Outlet<Message> {
    /// To the response.
    pub sender: mpsc::Sender<Result<Message>>,
    /// The controller stops.
    pub stop: CancellationToken,
    /// Longest life of the stream.
    pub deadline: Instant,
    /// When the reader last got a message.
    pub last_sent: Instant,
    /// What it is, e.g. "watch".
    pub what: &'static str,
    /// How the caller goes on, e.g. "watch again from the last seq".
    pub go_on: &'static str,
}

impl<Message> Outlet<Message> {
    /// Waits for a slow reader, holding nothing that others wait for.
    pub async fn send(&mut self, message: Message) -> Result<(), Over> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(self.stopping().into()),
            () = tokio::time::sleep_until(self.deadline) => return Err(self.lasted().into()),
            sent = self.sender.send(Ok(message)) => sent.map_err(|_| Over::ReaderGone)?,
        }
        self.last_sent = Instant::now();
        Ok(())
    }

    /// The last message. A reader that takes nothing does not keep the controller from stopping.
    pub async fn fail(self, error: Error, patience: Duration) {
        let given_up = async {
            self.stop.cancelled().await;
            tokio::time::sleep(patience).await;
        };
        tokio::select! {
            _ = self.sender.send(Err(error)) => {}
            () = given_up => {}
        }
    }

    /// The stream has lasted as long as a call may; its caller opens another one.
    pub fn lasted(&self) -> Error {
        Error::Unavailable {
            message: format!("the {} has lasted its longest time; {}", self.what, self.go_on),
            retry_after: Duration::from_secs(1),
        }
    }

    /// The controller stops; another replica, or the next run, goes on.
    pub fn stopping(&self) -> Error {
        Error::Unavailable {
            message: format!("the controller is stopping; {}", self.go_on),
            retry_after: Duration::from_secs(1),
        }
    }
}
