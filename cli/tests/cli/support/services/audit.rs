//! The fake's audit log.

use std::pin::Pin;

use supalove_proto::v1::{audit_service_server::AuditService, *};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{super::fake::Fake, Answer};

/// Two rows of the log, the newest of a token.
fn audit_events() -> Vec<AuditEvent> {
    let event = |second: i64, token: &str, method: &str, outcome: &str| AuditEvent {
        id: format!("00000000-0000-0000-0000-{second:012}"),
        time: Some(prost_types::Timestamp { seconds: 1_760_000_000 + second, nanos: 0 }),
        actor: format!("usr_{}", "a".repeat(32)),
        personal_access_token_id: token.into(),
        method: format!("/supalove.v1.ProjectService/{method}"),
        target: "abcdefghijklmnopqrst".into(),
        outcome: outcome.into(),
        client_address: "192.0.2.7".into(),
        sequence: second,
        ..Default::default()
    };
    vec![event(2, "pat_1", "StopProject", "PermissionDenied"), event(1, "", "CreateProject", "OK")]
}

/// A filter as a line.
fn audit_filter(filter: Option<&AuditFilter>) -> String {
    let filter = filter.cloned().unwrap_or_default();
    let AuditFilter { actor, method, target, outcome, start_time, end_time } = filter;
    let seconds = |time: Option<prost_types::Timestamp>| time.map_or(0, |time| time.seconds);
    format!("{actor} {method} {target} {outcome} {} {}", seconds(start_time), seconds(end_time))
}

/// What an export says that it is complete up to.
fn end() -> AuditExportEnd {
    let until = prost_types::Timestamp { seconds: 1_760_000_002, nanos: 0 };
    AuditExportEnd { last_sequence: 2, complete_until_time: Some(until) }
}

#[tonic::async_trait]
impl AuditService for Fake {
    type ExportAuditEventsStream =
        Pin<Box<dyn Stream<Item = Result<ExportAuditEventsResponse, Status>> + Send>>;
    type ExportPlatformAuditEventsStream =
        Pin<Box<dyn Stream<Item = Result<ExportPlatformAuditEventsResponse, Status>> + Send>>;

    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Answer<ListAuditEventsResponse> {
        let body = request.get_ref();
        let asked = format!("{} {}", body.organization, audit_filter(body.filter.as_ref()));
        self.enter(&request, "ListAuditEvents", &asked).await?;
        let mut events = audit_events();
        let first = request.get_ref().page_token.is_empty() && request.get_ref().page_size == 1;
        events.truncate(if first { 1 } else { 2 });
        Ok(Response::new(ListAuditEventsResponse {
            events,
            next_page_token: if first { "older".into() } else { String::new() },
            complete_since_time: Some(prost_types::Timestamp { seconds: 1_760_000_001, nanos: 0 }),
            retention: Some(prost_types::Duration { seconds: 7 * 24 * 3600, nanos: 0 }),
        }))
    }

    /// In two parts. An organization named `breaks` breaks off after the first one.
    async fn export_audit_events(
        &self,
        request: Request<ExportAuditEventsRequest>,
    ) -> Answer<Self::ExportAuditEventsStream> {
        let asked = format!("{} {}", request.get_ref().organization, request.get_ref().format);
        self.enter(&request, "ExportAuditEvents", &asked).await?;
        let part = |data: &str| Ok(ExportAuditEventsResponse { data: data.into(), events: 1, end: None });
        let end = ExportAuditEventsResponse { end: Some(end()), ..Default::default() };
        let second = match request.get_ref().organization.as_str() {
            "org-2" => Err(Status::unavailable("the controller stops; export again")),
            _ => part("\u{1b}two\n"),
        };
        Ok(Response::new(Box::pin(tokio_stream::iter([part("one\n"), second, Ok(end)]))))
    }

    async fn list_platform_audit_events(
        &self,
        request: Request<ListPlatformAuditEventsRequest>,
    ) -> Answer<ListPlatformAuditEventsResponse> {
        let body = request.get_ref();
        let asked = format!("{}{}", body.deleted_organization, audit_filter(body.filter.as_ref()));
        self.enter(&request, "ListPlatformAuditEvents", &asked).await?;
        let events = audit_events();
        Ok(Response::new(ListPlatformAuditEventsResponse { events, ..Default::default() }))
    }

    async fn export_platform_audit_events(
        &self,
        request: Request<ExportPlatformAuditEventsRequest>,
    ) -> Answer<Self::ExportPlatformAuditEventsStream> {
        let body = request.get_ref();
        let asked = format!("{}{}", body.deleted_organization, body.format);
        self.enter(&request, "ExportPlatformAuditEvents", &asked).await?;
        let part = ExportPlatformAuditEventsResponse { data: b"all\n".to_vec(), events: 1, end: None };
        let end = ExportPlatformAuditEventsResponse { end: Some(end()), ..Default::default() };
        Ok(Response::new(Box::pin(tokio_stream::iter([Ok(part), Ok(end)]))))
    }
}
