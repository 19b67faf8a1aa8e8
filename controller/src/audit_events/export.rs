//! An export: pages of rows, oldest first, as parts of a file. It holds two parts at most, and asks before each part whether the
//! caller still may read. The call layer ends it, as each stream, at its deadline.

use std::time::Duration;

use supalove_core::{
    Core,
    access::Call,
    audit::{
        Chain,
        events::{self, Filter, Position},
    },
    error::{Error, Result},
};
use supalove_organizations::OrganizationKey;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::file::Format;

/// Rows of a part. A row has at most 2 KB, so a part is smaller than what a gRPC client takes by default (4 MB).
const ROWS: i64 = 500;
/// Parts that wait for the reader.
const WAITING: usize = 1;

/// Whole rows of a file.
#[derive(Debug)]
pub struct Part {
    pub data: Vec<u8>,
    /// How many rows.
    pub events: i32,
}

/// What is exported, for whom.
pub struct Export {
    pub core: Core,
    pub call: Call,
    /// Slug in the request; `None` for the platform's.
    pub organization: Option<String>,
    pub chain: Chain,
    /// With an end.
    pub filter: Filter,
    pub format: Format,
}

impl Export {
    /// Starts it. The stream ends early with an error, never without one.
    pub fn start(self) -> ReceiverStream<Result<Part>> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let tasks = self.core.tasks.clone();
        tasks.connection_until("audit export", |stop| async move {
            let end = tokio::select! {
                end = self.run(&sender) => end,
                () = stop.cancelled() => Err(Error::Unavailable {
                    message: "the controller stops; export again".to_owned(),
                    retry_after: Duration::from_secs(1),
                }),
            };
            if let Err(error) = end {
                // The reader may be gone.
                let _ = sender.send(Err(error)).await;
            }
        });
        ReceiverStream::new(receiver)
    }

    async fn run(mut self, sender: &mpsc::Sender<Result<Part>>) -> Result<()> {
        let mut after = None;
        let mut data = self.format.header();
        loop {
            let rows = events::oldest_first(&self.core.db, self.chain, &self.filter, after, ROWS).await?;
            for row in &rows {
                self.format.write(row, &mut data)?;
            }
            let count = i32::try_from(rows.len()).unwrap_or(i32::MAX);
            if !data.is_empty()
                && sender.send(Ok(Part { data: std::mem::take(&mut data), events: count })).await.is_err()
            {
                return Ok(());
            }
            match rows.last() {
                Some(last) if i64::from(count) == ROWS => after = Some(Position::of(last)),
                _ => return Ok(()),
            }
            self.confirm().await?;
        }
    }

    /// The caller may have lost the session, or the role, since the export began.
    async fn confirm(&mut self) -> Result<()> {
        self.call.confirm().await?;
        if let Some(organization) = &self.organization {
            self.core.access.allow::<OrganizationKey>(&self.call, organization).await?;
        } else if !self.call.principal()?.operator {
            return Err(Error::PermissionDenied {
                action: self.call.short_method().to_owned(),
                needs: "the platform's operator".to_owned(),
            });
        }
        Ok(())
    }
}
