//! The streams of organizations, for the one watch: the organization as it is. It has no events yet.

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
};
use supalove_proto::v1 as pb;

use crate::{OrganizationKey, store};

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
    /// Who sees it: it shows the viewer's role.
    viewer: UserId,
    operator: bool,
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
            let found = store::get(&self.core.db, self.key.id, self.viewer, self.operator).await?;
            let organization = pb::Organization::from(found);
            // All of it: the caller's role is not part of the organization's revision.
            let version = organization.encode_to_vec();
            Ok(Now { object: Object::Organization(organization), version, last_seq: 0, gone: None })
        }
        .boxed()
    }

    fn events(&self, _after: u64, _limit: usize) -> BoxFuture<'_, Result<Vec<(u64, Event)>>> {
        async { Ok(Vec::new()) }.boxed()
    }
}
