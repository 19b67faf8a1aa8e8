//! The streams of nodes, for the one watch: the node as it is, for the operator. It has no events yet.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use prost::Message as _;
use supalove_core::{
    Core,
    access::{Call, Found, Object as Accessible, Permission::ManageFleet},
    database::Db,
    error::{Error, Result},
    hints::Hint,
    ids::{InvalidId, NodeId, OrganizationId, UserId},
    watch::{Event, Kind, Now, Object, StreamSource, Watched},
};
use supalove_proto::v1 as pb;

use super::store;

/// A node that the caller may look at. It is the platform's, so for anybody but the operator there is none.
#[derive(Debug, Clone)]
pub struct NodeKey {
    /// Its id.
    pub node: NodeId,
}

impl Accessible for NodeKey {
    const KIND: &'static str = "node";

    async fn find(db: &Db, name: &str, _user: UserId) -> Result<Option<Found<Self>>> {
        let node: NodeId = name.parse().map_err(|e: InvalidId| Error::field("node_id", e.to_string()))?;
        let known = store::enrolled_key(db, node).await?.is_some();
        Ok(known.then_some(Found { object: Self { node }, role: None }))
    }

    fn organization(&self) -> Option<OrganizationId> {
        None
    }
}

/// The streams of nodes.
pub struct NodeStreams {
    core: Core,
}

impl NodeStreams {
    /// On the control database.
    pub fn new(core: &Core) -> Self {
        Self { core: core.clone() }
    }
}

impl StreamSource for NodeStreams {
    fn kind(&self) -> Kind {
        Kind::Node
    }

    fn open<'a>(&'a self, call: &'a Call, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Watched>>> {
        async move {
            let NodeKey { node } = self.core.access.allow_item(call, name, ManageFleet).await?;
            Ok(Arc::new(NodeStream { core: self.core.clone(), node }) as Arc<dyn Watched>)
        }
        .boxed()
    }
}

struct NodeStream {
    core: Core,
    node: NodeId,
}

impl Watched for NodeStream {
    fn hint(&self) -> Hint {
        Hint::Node(self.node)
    }

    fn still_allow<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<()>> {
        async move {
            let access = &self.core.access;
            access.allow_item::<NodeKey>(call, &self.node.to_string(), ManageFleet).await.map(|_| ())
        }
        .boxed()
    }

    fn now(&self) -> BoxFuture<'_, Result<Now>> {
        async move {
            let node: pb::Node = store::node(&self.core.db, self.node, &self.core.times).await?.into();
            // Signs of life alone would make a message of every poll.
            let version = pb::Node { last_seen_time: None, ..node.clone() }.encode_to_vec();
            Ok(Now { object: Object::Node(node), version, last_seq: 0, gone: None })
        }
        .boxed()
    }

    fn events(&self, _after: u64, _limit: usize) -> BoxFuture<'_, Result<Vec<(u64, Event)>>> {
        async { Ok(Vec::new()) }.boxed()
    }
}
