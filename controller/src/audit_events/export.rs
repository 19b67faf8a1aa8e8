//! An export: pages of rows, oldest first, as parts of a file, and up to when it is complete. It has the rows that were chained when
//! it began, because others may still come before ones that were read. It holds two parts at most, and asks before each part
//! whether the caller still may read. The call layer ends it, as each stream, at its deadline.

use std::time::Duration;

use supalove_core::{
    Core,
    access::Call,
    audit::{
        Chain,
        events::{self, Extent, Filter, Position},
    },
    error::{Error, Result},
    ids::UserId,
};
use supalove_net::allowance::Taken;
use supalove_organizations::OrganizationKey;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::file::Format;

/// Rows of a part. A row has at most 2 KB, so a part is smaller than what a gRPC client takes by default (4 MB).
const ROWS: i64 = 500;
/// How long a part waits for its reader: few exports run at once, and one that nobody reads keeps others out.
const READER: Duration = Duration::from_mins(1);
/// Parts that wait for the reader.
const WAITING: usize = 1;

/// Whole rows of a file.
#[derive(Debug)]
pub struct Part {
    pub data: Vec<u8>,
    /// How many rows.
    pub events: i32,
    /// Of the last part, which has no rows.
    pub end: Option<Extent>,
}

/// What is exported, for whom.
pub struct Export {
    pub core: Core,
    pub call: Call,
    /// Slug in the request; `None` for the platform's, and that of a deleted organization.
    pub organization: Option<String>,
    pub chain: Chain,
    pub filter: Filter,
    pub format: Format,
    /// Its part of the exports that may run.
    #[expect(dead_code, reason = "held until the export ends")]
    pub admitted: Taken<UserId>,
}

fn not_read() -> Error {
    Error::Unavailable {
        message: format!("nobody has read the export for {} s; export again", READER.as_secs()),
        retry_after: Duration::from_secs(1),
    }
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
        let extent = events::extent(&self.core.db, self.chain).await?;
        let mut after = None;
        let mut data = self.format.header();
        loop {
            let (db, most) = (&self.core.db, extent.seq);
            let rows = events::oldest_first(db, self.chain, &self.filter, most, after, ROWS).await?;
            for row in &rows {
                self.format.write(row, &mut data)?;
            }
            let count = i32::try_from(rows.len()).unwrap_or(i32::MAX);
            if !data.is_empty() {
                let part = Part { data: std::mem::take(&mut data), events: count, end: None };
                let sent = tokio::time::timeout(READER, sender.send(Ok(part))).await;
                match sent.map_err(|_| not_read())? {
                    Ok(()) => {}
                    Err(_) => return Ok(()),
                }
            }
            match rows.last() {
                Some(last) if i64::from(count) == ROWS => after = Some(Position::of(last)),
                _ => {
                    // The reader may be gone.
                    let _ = sender.send(Ok(Part { data, events: 0, end: Some(extent) })).await;
                    return Ok(());
                }
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
