//! `audit list | export`: who did what in an organization, or on the platform.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    pin::Pin,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand, ValueEnum};
use prost_types::Timestamp;
use serde_json::json;
use supalove_proto::v1::{
    AuditEvent, AuditExportEnd, AuditExportFormat, AuditFilter, ExportAuditEventsRequest,
    ExportPlatformAuditEventsRequest, ListAuditEventsRequest, ListAuditEventsResponse,
    ListPlatformAuditEventsRequest, audit_service_client::AuditServiceClient,
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use super::{Context, resolve};
use crate::{error::Error, span, table};

/// The commands about the audit log.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// List what happened, newest first.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        filter: Filter,
        /// At most so many rows.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1000))]
        limit: i32,
        /// `next_page_token` of the page before, from `-o json`.
        #[arg(long, value_name = "TOKEN", default_value = "")]
        page_token: String,
    },
    /// Write what happened to a file or to stdout, oldest first.
    Export {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        filter: Filter,
        /// Format of the file.
        #[arg(long, value_enum, default_value_t = FileFormat::Jsonl)]
        format: FileFormat,
        /// The file, which must not exist. It gets its name when it is complete. Default: stdout.
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
}

/// Whose part of the log.
#[derive(Debug, Args)]
pub struct Place {
    /// Slug or name. Default: that of `supalove use`, or the only one.
    #[arg(long, conflicts_with = "platform")]
    organization: Option<String>,
    /// The platform's, for the operator: nodes, jobs, sign-ins, refused calls of strangers.
    #[arg(long)]
    platform: bool,
    /// That of an organization that was deleted, for the operator: its id, or the slug that it had.
    #[arg(long, value_name = "ID-OR-SLUG", conflicts_with_all = ["organization", "platform"])]
    deleted_organization: Option<String>,
}

impl Place {
    /// What the operator asks for, if it is the operator's: empty for the platform's.
    fn operators(&self) -> Option<String> {
        self.deleted_organization.clone().or_else(|| self.platform.then(String::new))
    }
}

/// Which rows.
#[derive(Debug, Args)]
pub struct Filter {
    /// User, personal access token, node or job, by id.
    #[arg(long, default_value = "", hide_default_value = true)]
    actor: String,
    /// RPC, e.g. `CreateProject`.
    #[arg(long, default_value = "", hide_default_value = true)]
    method: String,
    /// Object, e.g. a project's ref.
    #[arg(long, default_value = "", hide_default_value = true)]
    target: String,
    /// `OK`, or the code of a refusal, e.g. `PermissionDenied`.
    #[arg(long, default_value = "", hide_default_value = true)]
    outcome: String,
    /// From then on: so long ago (`7d`), or a time (`2026-11-30T08:00:00Z`).
    #[arg(long, value_parser = moment, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Before then, in the same forms.
    #[arg(long, value_parser = moment, value_name = "TIME")]
    until: Option<Timestamp>,
}

/// Format of an exported file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// A JSON object on each line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
}

impl From<Filter> for AuditFilter {
    fn from(filter: Filter) -> Self {
        let Filter { actor, method, target, outcome, since, until } = filter;
        Self { actor, method, target, outcome, start_time: since, end_time: until }
    }
}

/// Parses a time: an age, or RFC 3339.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = chrono::DateTime::parse_from_rfc3339(text) {
        let nanos = i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default();
        return Ok(Timestamp { seconds: at.timestamp(), nanos });
    }
    let ago =
        span::parse(text).map_err(|why| format!("{why}; or write a time, e.g. 2026-11-30T08:00:00Z"))?;
    let at = SystemTime::now().checked_sub(ago).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let at = at.ok_or("that is before 1970")?;
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    Ok(Timestamp { seconds, nanos: i32::try_from(at.subsec_nanos()).unwrap_or_default() })
}

pub async fn run(context: &Context, command: Audit) -> Result<(), Error> {
    match command {
        Audit::List { place, filter, limit, page_token } => {
            let filter = Some(filter.into());
            let answer = if let Some(deleted_organization) = place.operators() {
                let request = ListPlatformAuditEventsRequest {
                    filter,
                    page_size: limit,
                    page_token,
                    deleted_organization,
                };
                platform_page(context, request).await?
            } else {
                let organization = organization(context, &place).await?;
                let request = ListAuditEventsRequest { organization, filter, page_size: limit, page_token };
                context
                    .client
                    .call(request, |channel, request| async move {
                        AuditServiceClient::new(channel).list_audit_events(request).await
                    })
                    .await?
            };
            context.output.answer("ListAuditEventsResponse", &answer, shown)
        }
        Audit::Export { place, filter, format, file } => {
            if let Some(file) = file.as_deref().filter(|file| file.exists()) {
                return Err(Error::Usage(format!(
                    "{} exists; name another file, or remove it",
                    file.display()
                )));
            }
            let parts = open(context, &place, filter.into(), format).await?;
            export(context, parts, file.as_deref()).await
        }
    }
}

async fn organization(context: &Context, place: &Place) -> Result<String, Error> {
    resolve::organization(context, place.organization.as_deref()).await
}

/// The pages of both parts of the log have the same fields.
async fn platform_page(
    context: &Context,
    request: ListPlatformAuditEventsRequest,
) -> Result<ListAuditEventsResponse, Error> {
    let page = context
        .client
        .call(request, |channel, request| async move {
            AuditServiceClient::new(channel).list_platform_audit_events(request).await
        })
        .await?;
    Ok(ListAuditEventsResponse {
        events: page.events,
        next_page_token: page.next_page_token,
        complete_since_time: page.complete_since_time,
        retention: page.retention,
    })
}

/// Bytes of a file, how many rows they are, and at the end what the file is complete up to.
type Parts = Pin<Box<dyn Stream<Item = Result<(Vec<u8>, i32, Option<AuditExportEnd>), Status>>>>;

async fn open(
    context: &Context,
    place: &Place,
    filter: AuditFilter,
    format: FileFormat,
) -> Result<Parts, Error> {
    let filter = Some(filter);
    let format = match format {
        FileFormat::Jsonl => AuditExportFormat::JsonLines,
        FileFormat::Csv => AuditExportFormat::Csv,
    }
    .into();
    if let Some(deleted_organization) = place.operators() {
        let request = ExportPlatformAuditEventsRequest { filter, format, deleted_organization };
        let parts = context
            .client
            .open(request, |channel, request| async move {
                AuditServiceClient::new(channel).export_platform_audit_events(request).await
            })
            .await?;
        return Ok(Box::pin(parts.map(|part| part.map(|part| (part.data, part.events, part.end)))));
    }
    let organization = organization(context, place).await?;
    let request = ExportAuditEventsRequest { organization, filter, format };
    let parts = context
        .client
        .open(request, |channel, request| async move {
            AuditServiceClient::new(channel).export_audit_events(request).await
        })
        .await?;
    Ok(Box::pin(parts.map(|part| part.map(|part| (part.data, part.events, part.end)))))
}

async fn export(context: &Context, parts: Parts, file: Option<&Path>) -> Result<(), Error> {
    let Some(file) = file else {
        copy(parts, &mut std::io::stdout().lock()).await?;
        return Ok(());
    };
    // An export that breaks off must not look like one.
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = file.with_file_name(name);
    let copied = copy(parts, &mut fs::File::create(&part)?).await;
    let Copied { events, end } = match copied {
        Ok(copied) => copied,
        Err(error) => {
            fs::remove_file(&part)?;
            return Err(error);
        }
    };
    fs::rename(&part, file)?;
    let path = file.display().to_string();
    let until = end.complete_until_time.as_ref();
    let exact = until.and_then(|at| chrono::DateTime::from_timestamp(at.seconds, at.nanos.unsigned_abs()));
    let value = json!({
        "file": path,
        "events": events,
        "lastSequence": end.last_sequence,
        "completeUntilTime": exact.map(|at| at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()),
    });
    context.output.value(&value, || match until {
        Some(_) => format!("{events} rows are in {path}, complete before {}", table::time(until)),
        None => format!("{events} rows are in {path}"),
    })
}

/// What was copied.
struct Copied {
    /// Rows.
    events: i64,
    end: AuditExportEnd,
}

/// Copies the parts. Without their end they are not complete.
async fn copy(mut parts: Parts, to: &mut impl Write) -> Result<Copied, Error> {
    let mut events = 0;
    let mut ended = None;
    while let Some(part) = parts.next().await {
        let (data, rows, end) = part?;
        to.write_all(safe(&String::from_utf8_lossy(&data)).as_bytes())?;
        events += i64::from(rows);
        ended = end.or(ended);
    }
    to.flush()?;
    // A controller from before says no end.
    Ok(Copied { events, end: ended.unwrap_or_default() })
}

/// The file may be shown on a terminal: nothing in it steers it.
fn safe(text: &str) -> String {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    text.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn shown(answer: &ListAuditEventsResponse) -> String {
    let rows = answer.events.iter().map(row).collect();
    let mut text = table::rows(["TIME", "ACTOR", "WHAT", "ON", "RESULT", "FROM"], rows, "no rows");
    if !answer.next_page_token.is_empty() {
        text = format!("{text}\nolder rows follow: --page-token {}", answer.next_page_token);
    } else if answer.complete_since_time.is_some() {
        let since = table::time(answer.complete_since_time.as_ref());
        let days = answer.retention.as_ref().map_or(0, |kept| kept.seconds / (24 * 3600));
        text = format!("{text}\nthe log begins {since}; rows are kept for {days} days");
    }
    text
}

fn row(event: &AuditEvent) -> [String; 6] {
    let actor = match event.personal_access_token_id.as_str() {
        "" => event.actor.clone(),
        token => format!("{} {token}", event.actor),
    };
    [
        table::time(event.time.as_ref()),
        actor,
        event.method.rsplit('/').next().unwrap_or_default().to_owned(),
        event.target.clone(),
        event.outcome.clone(),
        event.client_address.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_an_age_or_a_time() {
        assert_eq!(moment("1970-01-01T00:00:01.5Z"), Ok(Timestamp { seconds: 1, nanos: 500_000_000 }));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let ago = u64::try_from(moment("1h").unwrap().seconds).unwrap();
        assert!((now - 3602..=now - 3598).contains(&ago), "{ago} {now}");
        for wrong in ["", "yesterday", "2026-11-30", "99999w"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_in_a_file_steers_the_terminal() {
        assert_eq!(safe("a\tb\r\n\u{1b}[31mc\u{7f}"), "a\tb\r\n\u{fffd}[31mc\u{fffd}");
    }
}
