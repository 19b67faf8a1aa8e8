//! `supalove.v1.AuditService`: the audit log for people. The part of an organization for its owners and administrators, that of
//! the platform for the operator.

mod deleted;
mod export;
mod file;
mod reads;
mod wire;

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use supalove_core::{
    Core, Room,
    access::{
        Call,
        Lasts::Stream as Streams,
        Object as _,
        Permission::{OperatePlatform, ReadAuditLog},
        Rule,
        Scope::{On, OperatorOnly},
    },
    audit::{
        Chain,
        events::{self, Event, Position},
    },
    error::Result,
    wire::{page, page_size, parse_page_token, proto_duration, timestamp},
};
use supalove_organizations::OrganizationKey;
use supalove_proto::v1::{
    AuditFilter, ExportAuditEventsRequest, ExportAuditEventsResponse, ExportPlatformAuditEventsRequest,
    ExportPlatformAuditEventsResponse, ListAuditEventsRequest, ListAuditEventsResponse,
    ListPlatformAuditEventsRequest, ListPlatformAuditEventsResponse,
    audit_service_server::{AuditService, AuditServiceServer},
};
use tonic::{Request, Response, Status};

use self::{
    export::{Export, Part},
    file::Format,
    reads::Reads,
};

const ORGANIZATION: supalove_core::access::Scope = On(OrganizationKey::KIND);

/// Rows of the audit service.
pub const RULES: &[Rule] = &[
    Rule::read("/supalove.v1.AuditService/ListAuditEvents", ORGANIZATION, ReadAuditLog),
    Rule::read("/supalove.v1.AuditService/ExportAuditEvents", ORGANIZATION, ReadAuditLog).lasting(Streams),
    Rule::read("/supalove.v1.AuditService/ListPlatformAuditEvents", OperatorOnly, OperatePlatform),
    Rule::read("/supalove.v1.AuditService/ExportPlatformAuditEvents", OperatorOnly, OperatePlatform)
        .lasting(Streams),
];

/// What the server mounts.
pub fn room(core: &Core) -> Room {
    Room::new("audit", RULES)
        .service(AuditServiceServer::new(AuditApi { core: core.clone(), reads: Reads::new(core) }))
}

/// The service.
#[derive(Clone)]
struct AuditApi {
    core: Core,
    reads: Reads,
}

/// A page of a chain.
struct Page {
    events: Vec<Event>,
    next: String,
    since: Option<prost_types::Timestamp>,
    retention: prost_types::Duration,
}

impl AuditApi {
    async fn page(
        &self,
        call: &Call,
        chain: Chain,
        filter: Option<AuditFilter>,
        size: i32,
        token: &str,
    ) -> Result<Page> {
        let filter = wire::filter(filter)?;
        let size = page_size(size, 100, 1000)?;
        let before = parse_page_token(token)?.map(|key| Position::from_key(&key)).transpose()?;
        let _admitted = self.reads.list(call)?;
        let db = &self.core.db;
        let found = events::newest_first(db, chain, &filter, before, size + 1).await?;
        let (events, next) = page(found, size, |event| Position::of(event).key());
        Ok(Page {
            events,
            next,
            since: events::oldest(db, chain).await?.map(timestamp),
            retention: proto_duration(self.core.audit_kept(chain).await?),
        })
    }

    fn export(
        &self,
        call: Call,
        organization: Option<String>,
        chain: Chain,
        filter: Option<AuditFilter>,
        format: Format,
    ) -> Result<impl Stream<Item = Result<export::Part>> + use<>> {
        let filter = wire::filter(filter)?;
        let admitted = self.reads.export(&call)?;
        let core = self.core.clone();
        Ok(Export { core, call, organization, chain, filter, format, admitted }.start())
    }

    /// The platform's chain, or that of a deleted organization.
    async fn operators_chain(&self, deleted_organization: &str) -> Result<Chain> {
        match deleted_organization {
            "" => Ok(Chain::Platform),
            named => deleted::chain(&self.core.db, named).await,
        }
    }
}

#[tonic::async_trait]
impl AuditService for AuditApi {
    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let key = self.core.access.allow::<OrganizationKey>(&call, &body.organization).await?;
        let chain = Chain::Organization(key.id);
        let page = self.page(&call, chain, body.filter, body.page_size, &body.page_token).await?;
        Ok(Response::new(ListAuditEventsResponse {
            events: page.events.into_iter().map(wire::event).collect(),
            next_page_token: page.next,
            complete_since_time: page.since,
            retention: Some(page.retention),
        }))
    }

    type ExportAuditEventsStream =
        Pin<Box<dyn Stream<Item = Result<ExportAuditEventsResponse, Status>> + Send>>;

    async fn export_audit_events(
        &self,
        request: Request<ExportAuditEventsRequest>,
    ) -> Result<Response<Self::ExportAuditEventsStream>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let key = self.core.access.allow::<OrganizationKey>(&call, &body.organization).await?;
        let format = Format::from_wire(body.format());
        let chain = Chain::Organization(key.id);
        let parts = self.export(call, Some(body.organization), chain, body.filter, format)?;
        let messages = parts.map(|part| {
            part.map(|Part { data, events, end }| {
                let end = end.map(wire::end);
                ExportAuditEventsResponse { data, events, end }
            })
        });
        Ok(Response::new(Box::pin(messages.map(|message| message.map_err(Status::from)))))
    }

    async fn list_platform_audit_events(
        &self,
        request: Request<ListPlatformAuditEventsRequest>,
    ) -> Result<Response<ListPlatformAuditEventsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let chain = self.operators_chain(&body.deleted_organization).await?;
        let page = self.page(&call, chain, body.filter, body.page_size, &body.page_token).await?;
        Ok(Response::new(ListPlatformAuditEventsResponse {
            events: page.events.into_iter().map(wire::event).collect(),
            next_page_token: page.next,
            complete_since_time: page.since,
            retention: Some(page.retention),
        }))
    }

    type ExportPlatformAuditEventsStream =
        Pin<Box<dyn Stream<Item = Result<ExportPlatformAuditEventsResponse, Status>> + Send>>;

    async fn export_platform_audit_events(
        &self,
        request: Request<ExportPlatformAuditEventsRequest>,
    ) -> Result<Response<Self::ExportPlatformAuditEventsStream>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let format = Format::from_wire(body.format());
        let chain = self.operators_chain(&body.deleted_organization).await?;
        let parts = self.export(call, None, chain, body.filter, format)?;
        let messages = parts.map(|part| {
            part.map(|Part { data, events, end }| {
                let end = end.map(wire::end);
                ExportPlatformAuditEventsResponse { data, events, end }
            })
        });
        Ok(Response::new(Box::pin(messages.map(|message| message.map_err(Status::from)))))
    }
}
