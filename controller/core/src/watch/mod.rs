//! The one watch: many streams in one call, each as a snapshot, then changes and events; resumable by number.
//!
//! A room brings the streams of its objects ([`StreamSource`], [`Room::stream`](crate::Room::stream)). The [`Engine`]
//! follows those that a call names: one task for the call, which needs a stream's state when its hint comes and every
//! `hinted_poll`. A state is read once for all watches of this replica ([`shared`]). [`room`] serves `supalove.v1.WatchService`.

mod api;
mod engine;
mod shared;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::future::BoxFuture;
use supalove_proto::v1::{self as pb, ErrorReason, watch_service_server::WatchServiceServer};

pub use engine::{Engine, Followed};

use crate::{
    Core, Room,
    access::{Call, Lasts::Stream, Permission::ReadAccount, Rule, Scope::AnySignedIn},
    consistency::{Compared, LiveCheck},
    error::{Error, Result},
    hints::Hint,
    ids::UserId,
};

/// Rows of the room's methods. Each object of a watch is decided on by itself: see [`StreamSource::open`].
pub const RULES: &[Rule] =
    &[Rule::read("/supalove.v1.WatchService/Watch", AnySignedIn, ReadAccount).lasting(Stream)];

/// What the server mounts, for the streams of the other rooms.
pub fn room(core: &Core, rooms: &mut [Room]) -> Room {
    let sources = rooms.iter_mut().flat_map(|room| room.streams.drain(..)).collect();
    Room::new("watch", RULES)
        .service(WatchServiceServer::new(api::WatchApi::new(core, sources)))
        .check(WatchCheck(core.watches.clone()))
}

/// When the last watch has ended, nothing that it used is left.
struct WatchCheck(Engine);

impl LiveCheck for WatchCheck {
    fn compare(&self) -> BoxFuture<'_, Result<Compared>> {
        let mut compared = Compared::default();
        if let Some((held, reads)) = self.0.left_over() {
            let what =
                |held: usize, reads: usize| format!("{held} states of streams, {reads} permits to read");
            compared.note("watch.left_over", "nobody watches", what(0, 0), what(held, reads));
        }
        Box::pin(std::future::ready(Ok(compared)))
    }
}

/// Whose stream it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A project's, by its ref.
    Project,
    /// An organization's, by its slug.
    Organization,
    /// A node's, by its id.
    Node,
}

impl Kind {
    /// The field of a subscription that names a stream of this kind.
    fn field(self) -> &'static str {
        match self {
            Self::Project => "project_ref",
            Self::Organization => "organization",
            Self::Node => "node_id",
        }
    }
}

/// The streams of one kind of object. The room whose rows they show implements it.
pub trait StreamSource: Send + Sync + 'static {
    /// Which kind.
    fn kind(&self) -> Kind;

    /// The stream of the object with this name, if the caller may read it.
    fn open<'a>(&'a self, call: &'a Call, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Watched>>>;
}

/// The stream of one object.
pub trait Watched: Send + Sync + 'static {
    /// Given at each change of the object and with each event.
    fn hint(&self) -> Hint;

    /// The user for whom the object is shown; `None` if it is the same for all who may read it.
    fn viewer(&self) -> Option<UserId> {
        None
    }

    /// An error if the caller may not read the object any more.
    fn still_allow<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<()>>;

    /// The object as it is.
    fn now(&self) -> BoxFuture<'_, Result<Now>>;

    /// Events after a number, oldest first, with their numbers; at most `limit`.
    fn events(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<(u64, Event)>>>;
}

/// An object on the wire.
pub type Object = pb::watch_snapshot::Object;

/// An event on the wire.
pub type Event = pb::watch_event::Event;

/// An object as it is.
#[derive(Debug, Clone)]
pub struct Now {
    /// What the caller sees.
    pub object: Object,
    /// Another one whenever the caller should see the object again.
    pub version: Vec<u8>,
    /// Number of the newest event; 0 = there is none.
    pub last_seq: u64,
    /// Why nothing will happen to it any more.
    pub gone: Option<ErrorReason>,
}

/// One message of a watch.
#[derive(Debug)]
pub struct Message {
    /// Number of the stream in the call; 0 for keep-alives.
    pub stream: usize,
    /// After this event the caller goes on in a later call.
    pub resume_seq: u64,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Debug)]
pub enum Body {
    /// The object as it is.
    Snapshot(Box<Object>),
    /// Something happened to it.
    Event(Event),
    /// So many events before the next one are not kept any more.
    Gap(u64),
    /// The stream has ended, the others go on.
    End(End),
    /// Nothing happened in any stream.
    KeepAlive,
}

/// Why a stream ended.
#[derive(Debug)]
pub enum End {
    /// Nothing will happen to the object any more.
    Gone(ErrorReason),
    /// The object is not there, or not for this caller, any more.
    Refused(Error),
}
