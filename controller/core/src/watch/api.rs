//! `supalove.v1.WatchService`.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _};
use supalove_proto::v1::{
    KeepAlive, WatchEnd, WatchEvent, WatchGap, WatchRequest, WatchResponse, WatchSnapshot, WatchSubscription,
    watch_response, watch_service_server::WatchService, watch_subscription,
};
use tonic::{Request, Response, Status};

use super::{Body, End, Engine, Followed, Kind, Message, StreamSource};
use crate::{
    Core,
    access::Call,
    error::{Error, Result},
};

/// Streams in one call.
const MOST: usize = 100;

/// The service.
#[derive(Clone)]
pub struct WatchApi {
    engine: Engine,
    sources: Arc<[Box<dyn StreamSource>]>,
}

impl WatchApi {
    /// For these streams.
    pub fn new(core: &Core, sources: Vec<Box<dyn StreamSource>>) -> Self {
        Self { engine: core.watches.clone(), sources: sources.into() }
    }
}

#[tonic::async_trait]
impl WatchService for WatchApi {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let call = Call::from_request(&request)?;
        let (streams, refused) = open(&self.sources, &call, request.into_inner().subscriptions).await?;
        let refused = futures::stream::iter(refused.into_iter().map(Ok));
        let messages = refused.chain(self.engine.follow(call, streams)?);
        Ok(Response::new(Box::pin(messages.map(|message| Ok(message?.into())))))
    }
}

/// Opens the streams of the subscriptions. One whose object is not there, or not for this caller, ends at once; the others
/// go on, as they do when it is lost later.
pub(super) async fn open(
    sources: &[Box<dyn StreamSource>],
    call: &Call,
    subscriptions: Vec<WatchSubscription>,
) -> Result<(Vec<Followed>, Vec<Message>)> {
    if subscriptions.is_empty() || subscriptions.len() > MOST {
        return Err(Error::field("subscriptions", format!("must be 1 to {MOST}, each for another stream")));
    }
    let mut streams = Vec::with_capacity(subscriptions.len());
    let mut refused = Vec::new();
    let mut known = HashMap::new();
    for (index, subscription) in subscriptions.into_iter().enumerate() {
        let (kind, name) = named(subscription.stream).ok_or_else(|| {
            Error::field(format!("subscriptions[{index}]"), "must have project_ref, organization or node_id")
        })?;
        let source = sources.iter().find(|source| source.kind() == kind);
        let source = source.ok_or_else(|| Error::internal(format!("no room has streams of {kind:?}")))?;
        let stream = match source.open(call, &name).await {
            Ok(stream) => stream,
            Err(error @ (Error::NotFound { .. } | Error::PermissionDenied { .. })) => {
                let resume_seq = subscription.after_seq.unwrap_or_default();
                refused.push(Message { stream: index, resume_seq, body: Body::End(End::Refused(error)) });
                continue;
            }
            Err(error) => return Err(within(index, error)),
        };
        // The same stream under another spelling is found too.
        if let Some(first) = known.insert(stream.hint(), index) {
            return Err(Error::field(
                format!("subscriptions[{index}].{}", kind.field()),
                format!("names the same stream as subscriptions[{first}]"),
            ));
        }
        streams.push(Followed { number: index, stream, after: subscription.after_seq });
    }
    Ok((streams, refused))
}

fn named(stream: Option<watch_subscription::Stream>) -> Option<(Kind, String)> {
    Some(match stream? {
        watch_subscription::Stream::ProjectRef(name) => (Kind::Project, name),
        watch_subscription::Stream::Organization(name) => (Kind::Organization, name),
        watch_subscription::Stream::NodeId(name) => (Kind::Node, name),
    })
}

/// A wrong field is one of the subscription.
fn within(index: usize, error: Error) -> Error {
    let Error::Invalid(mut violations) = error else {
        return error;
    };
    for violation in &mut violations {
        violation.field = format!("subscriptions[{index}].{}", violation.field);
    }
    Error::Invalid(violations)
}

impl From<Message> for WatchResponse {
    fn from(message: Message) -> Self {
        Self {
            subscription: u32::try_from(message.stream).unwrap_or(u32::MAX),
            resume_seq: message.resume_seq,
            message: Some(match message.body {
                Body::Snapshot(object) => {
                    watch_response::Message::Snapshot(WatchSnapshot { object: Some(*object) })
                }
                Body::Event(event) => watch_response::Message::Event(WatchEvent { event: Some(event) }),
                Body::Gap(events) => watch_response::Message::Gap(WatchGap { events }),
                Body::End(end) => watch_response::Message::End(end.into()),
                Body::KeepAlive => watch_response::Message::KeepAlive(KeepAlive {}),
            }),
        }
    }
}

impl From<End> for WatchEnd {
    fn from(end: End) -> Self {
        match end {
            End::Gone(reason) => {
                Self { reason: reason.into(), message: "it is gone, and all its events were sent".to_owned() }
            }
            End::Refused(error) => Self { reason: error.reason().into(), message: error.to_string() },
        }
    }
}
