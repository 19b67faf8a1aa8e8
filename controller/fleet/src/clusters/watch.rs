//! The streams of nodes, for the one watch: the node as it is, for those who may see it. It has no events yet.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use prost::Message as _;
use supalove_core::{
    Core,
    access::{
        Call,
        Permission::{ManageFleet, ReadClusters},
    },
    error::Result,
    hints::Hint,
    ids::NodeId,
    watch::{Event, Kind, Now, Object, StreamSource, Watched},
};
use supalove_proto::v1 as pb;

use super::{ClusterKind, access::NodeKey, store};

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
            let node = allowed(&self.core, call, name).await?.node;
            Ok(Arc::new(NodeStream { core: self.core.clone(), node }) as Arc<dyn Watched>)
        }
        .boxed()
    }
}

/// Returns a node that the caller may see: one of a private cluster of an organization of theirs, or for the operator any.
async fn allowed(core: &Core, call: &Call, name: &str) -> Result<NodeKey> {
    let key: NodeKey = core.access.allow_item(call, name, ReadClusters).await?;
    if key.kind == ClusterKind::Shared {
        return core.access.allow_item(call, name, ManageFleet).await;
    }
    Ok(key)
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
        async move { allowed(&self.core, call, &self.node.to_string()).await.map(|_| ()) }.boxed()
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
