//! Wire types of the audit service.

use chrono::{DateTime, Utc};
use supalove_core::{
    audit::{
        Shown,
        events::{Event, Extent, Filter},
    },
    error::{Error, Result},
    wire::timestamp,
};
use supalove_proto::v1::{AuditCredential, AuditEvent, AuditExportEnd, AuditFilter};

use super::file;

/// Most characters of a text in a filter: no row has longer ones.
const CHARS: usize = 1024;

/// Reads a filter.
pub fn filter(wire: Option<AuditFilter>) -> Result<Filter> {
    let AuditFilter { actor, method, target, outcome, start_time, end_time } = wire.unwrap_or_default();
    let from = time("filter.start_time", start_time)?;
    let until = time("filter.end_time", end_time)?;
    if from.zip(until).is_some_and(|(from, until)| from >= until) {
        return Err(Error::field("filter.end_time", "must be later than start_time"));
    }
    Ok(Filter {
        actor: text("filter.actor", actor)?,
        method: text("filter.method", method)?,
        target: text("filter.target", target)?,
        outcome: text("filter.outcome", outcome)?,
        from,
        until,
    })
}

fn text(field: &str, value: String) -> Result<String> {
    if value.chars().count() > CHARS || value.chars().any(char::is_control) {
        return Err(Error::field(
            field,
            format!("must have at most {CHARS} characters and no control characters"),
        ));
    }
    Ok(value)
}

fn time(field: &str, value: Option<prost_types::Timestamp>) -> Result<Option<DateTime<Utc>>> {
    let Some(value) = value else { return Ok(None) };
    u32::try_from(value.nanos)
        .ok()
        .filter(|_| (0..=MOST_SECONDS).contains(&value.seconds))
        .and_then(|nanos| DateTime::from_timestamp(value.seconds, nanos))
        .map(Some)
        .ok_or_else(|| Error::field(field, "must be a time between the years 1970 and 9998"))
}

/// The last second of the year 9998.
const MOST_SECONDS: i64 = 253_370_764_799;

/// A row.
pub fn event(event: Event) -> AuditEvent {
    let (actor, token) = file::actor(&event);
    let (sequence, chain_hash) = event.place.unwrap_or_default();
    AuditEvent {
        id: event.id.to_string(),
        time: Some(timestamp(event.at)),
        actor,
        credential: event.shown.map_or(AuditCredential::Unspecified, credential).into(),
        personal_access_token_id: token,
        method: event.method,
        target: event.target,
        outcome: event.outcome,
        client_address: event.client,
        trace_id: event.trace_id,
        sequence,
        chain_hash,
    }
}

/// How far an export is complete.
pub fn end(extent: Extent) -> AuditExportEnd {
    AuditExportEnd { last_sequence: extent.seq, complete_until_time: Some(timestamp(extent.until)) }
}

fn credential(shown: Shown) -> AuditCredential {
    match shown {
        Shown::Nothing => AuditCredential::None,
        Shown::Session => AuditCredential::Session,
        Shown::PersonalAccessToken => AuditCredential::PersonalAccessToken,
        Shown::Node => AuditCredential::Node,
        Shown::System => AuditCredential::System,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_the_field_that_is_wrong() {
        let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        for (wrong, field) in [
            (AuditFilter { actor: "a\nb".into(), ..AuditFilter::default() }, "filter.actor"),
            (AuditFilter { method: "m".repeat(1025), ..AuditFilter::default() }, "filter.method"),
            (AuditFilter { target: "\0".into(), ..AuditFilter::default() }, "filter.target"),
            (AuditFilter { start_time: at(-1, 0), ..AuditFilter::default() }, "filter.start_time"),
            (AuditFilter { start_time: at(i64::MAX, 0), ..AuditFilter::default() }, "filter.start_time"),
            (AuditFilter { end_time: at(1, -1), ..AuditFilter::default() }, "filter.end_time"),
            (AuditFilter { end_time: at(1, i32::MAX), ..AuditFilter::default() }, "filter.end_time"),
            (
                AuditFilter { start_time: at(2, 0), end_time: at(2, 0), ..AuditFilter::default() },
                "filter.end_time",
            ),
        ] {
            let status = tonic::Status::from(filter(Some(wrong)).unwrap_err());
            assert!(
                status.code() == tonic::Code::InvalidArgument && status.message().contains(field),
                "{status}"
            );
        }
        let read =
            filter(Some(AuditFilter { start_time: at(1, 0), end_time: at(2, 0), ..AuditFilter::default() }));
        assert!(read.is_ok_and(|read| read.from < read.until));
        assert!(filter(None).is_ok_and(|read| read.from.is_none() && read.actor.is_empty()));
    }
}
