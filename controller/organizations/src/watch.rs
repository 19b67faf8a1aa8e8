//! The streams of organizations, for the one watch: the organization as it is, and its events.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use prost::Message as _;
use supalove_core::{
    Core,
    access::{Call, Permission::ReadOrganization, Principal},
    error::Result,
    hints::Hint,
    ids::UserId,
    watch::{Event, Kind, Now, Object, StreamSource, Watched},
    wire::timestamp,
};
use supalove_proto::v1 as pb;

use crate::{
    OrganizationKey,
    api::wire_role,
    store::{self, events},
};

/// Who numbers events, for the audit log and the logs.
const ACTOR: &str = "organizations.watch";

/// The streams of organizations.
pub struct OrganizationStreams {
    core: Core,
}

impl OrganizationStreams {
    /// On the control database.
    pub fn new(core: &Core) -> Self {
        Self { core: core.clone() }
    }
}

impl StreamSource for OrganizationStreams {
    fn kind(&self) -> Kind {
        Kind::Organization
    }

    fn open<'a>(&'a self, call: &'a Call, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Watched>>> {
        async move {
            let key = self.core.access.allow_item(call, name, ReadOrganization).await?;
            let Principal { user: viewer, operator, .. } = *call.principal()?;
            Ok(Arc::new(OrganizationStream { core: self.core.clone(), key, viewer, operator })
                as Arc<dyn Watched>)
        }
        .boxed()
    }
}

struct OrganizationStream {
    core: Core,
    key: OrganizationKey,
    /// Who sees it: it shows the viewer's role, and invited addresses to those who may invite.
    viewer: UserId,
    operator: bool,
}

impl OrganizationStream {
    /// The number of the newest event. Events that have been committed and have none get one.
    async fn newest(&self) -> Result<i64> {
        let (newest, waiting) = events::newest(&self.core.db, self.key.id).await?;
        if !waiting {
            return Ok(newest);
        }
        let mut write = self.core.system_write(ACTOR);
        let newest = events::number(&mut write, self.key.id).await?;
        write.commit([]).await?;
        Ok(newest)
    }
}

impl Watched for OrganizationStream {
    fn hint(&self) -> Hint {
        Hint::Organization(self.key.id)
    }

    fn viewer(&self) -> Option<UserId> {
        Some(self.viewer)
    }

    fn still_allow<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<()>> {
        async move {
            let access = &self.core.access;
            access.allow_item::<OrganizationKey>(call, &self.key.slug, ReadOrganization).await.map(|_| ())
        }
        .boxed()
    }

    fn now(&self) -> BoxFuture<'_, Result<Now>> {
        async move {
            let last_seq = self.newest().await?.unsigned_abs();
            let found = store::get(&self.core.db, self.key.id, self.viewer, self.operator).await?;
            let organization = pb::Organization::from(found);
            // All of it: the caller's role is not part of the organization's revision.
            let version = organization.encode_to_vec();
            Ok(Now { object: Object::Organization(organization), version, last_seq, gone: None })
        }
        .boxed()
    }

    fn events(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<(u64, Event)>>> {
        async move {
            let after = i64::try_from(after).unwrap_or(i64::MAX);
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let found = events::after(&self.core.db, self.key.id, self.viewer, after, limit).await?;
            let numbered =
                |event: events::Event| (event.seq.unsigned_abs(), Event::Organization(event.into()));
            Ok(found.into_iter().map(numbered).collect())
        }
        .boxed()
    }
}

impl From<events::EventType> for pb::OrganizationEventType {
    fn from(kind: events::EventType) -> Self {
        let name = kind.as_sql().to_ascii_uppercase().replace('.', "_");
        Self::from_str_name(&format!("ORGANIZATION_EVENT_TYPE_{name}")).unwrap_or_default()
    }
}

impl From<events::Event> for pb::OrganizationEvent {
    fn from(event: events::Event) -> Self {
        let about_project = event.project.is_some();
        let name = event.name.unwrap_or_default();
        let (project_name, organization_name) =
            if about_project { (name, String::new()) } else { (String::new(), name) };
        let state = event.state.unwrap_or_default();
        let kind = event.operation_kind.unwrap_or_default();
        let entitlement = event.entitlement.unwrap_or_default();
        Self {
            seq: event.seq.unsigned_abs(),
            time: Some(timestamp(event.at)),
            r#type: pb::OrganizationEventType::from(event.kind).into(),
            organization_name,
            user_id: event.user.map(|user| user.to_string()).unwrap_or_default(),
            email: event.email.unwrap_or_default(),
            display_name: event.display_name.unwrap_or_default(),
            role: event.role.map(wire_role).unwrap_or_default().into(),
            invitation_id: event.invitation.map(|invitation| invitation.to_string()).unwrap_or_default(),
            project_ref: event.project.map(|project| project.to_string()).unwrap_or_default(),
            project_name,
            project_state: pb::ProjectState::from_str_name(&format!("PROJECT_STATE_{state}"))
                .unwrap_or_default()
                .into(),
            operation_id: event.operation.map(|operation| operation.to_string()).unwrap_or_default(),
            operation_kind: pb::OperationKind::from_str_name(&format!("OPERATION_KIND_{kind}"))
                .unwrap_or_default()
                .into(),
            entitlement: pb::Entitlement::from_str_name(&format!("ENTITLEMENT_{entitlement}"))
                .unwrap_or_default()
                .into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_event_has_its_twin_on_the_wire() {
        for kind in events::EventType::ALL {
            let wire = pb::OrganizationEventType::from(*kind);
            assert_ne!(wire, pb::OrganizationEventType::Unspecified, "{kind:?}");
        }
    }
}
