"""Watches that survive a broken stream: they open the next one after the last event they have given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import grpc

from supalove.errors import SupaloveError
from supalove.v1 import project_pb2, watch_pb2

if TYPE_CHECKING:
    from supalove.client import Client

#: Seconds before a broken stream is opened again.
PAUSE = 0.5
#: Seconds from the first failure after which a stream that breaks again is given up. A message ends them.
PATIENCE = 60.0
#: The stream broke, but what is watched may still be there.
INTERRUPTIONS = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
    }
)


def watch(
    client: Client, project_ref: str, after_seq: int | None, timeout: float | None
) -> Iterator[project_pb2.WatchProjectResponse]:
    """Snapshots and events after ``after_seq`` (0 = from the first, ``None`` = only new ones); ends with the project.

    ``timeout``, in seconds, limits the whole watch; at its end the error is DEADLINE_EXCEEDED. Keep-alives are not
    given. Without ``after_seq``, a stream that breaks before its first event begins anew with the project as it is.
    """
    request = project_pb2.WatchProjectRequest(project_ref=project_ref, after_seq=after_seq)
    removed = False

    def take(message: project_pb2.WatchProjectResponse) -> bool:
        nonlocal removed
        kind = message.WhichOneof("message")
        if kind == "snapshot":
            removed = message.snapshot.state == project_pb2.PROJECT_STATE_REMOVED
        elif kind == "event":
            request.after_seq = message.event.seq
        return kind in ("snapshot", "event")

    return _messages(client, client.projects.stub.WatchProject, lambda: request, take, lambda: removed, timeout)


def watch_many(
    client: Client, subscriptions: Iterable[watch_pb2.WatchSubscription], timeout: float | None
) -> Iterator[watch_pb2.WatchResponse]:
    """Snapshots, events, gaps and ends of several objects; ends when all subscriptions have ended.

    ``subscription`` of a message is the index in ``subscriptions``. ``timeout`` and keep-alives as in :func:`watch`.
    """
    known = [watch_pb2.WatchSubscription.FromString(one.SerializeToString()) for one in subscriptions]
    going = set(range(len(known)))
    # Index of each subscription of the open stream.
    indices: list[int] = []

    def request() -> watch_pb2.WatchRequest:
        indices[:] = sorted(going)
        return watch_pb2.WatchRequest(subscriptions=[known[index] for index in indices])

    def take(message: watch_pb2.WatchResponse) -> bool:
        kind = message.WhichOneof("message")
        if kind not in ("snapshot", "event", "gap", "end"):
            return False
        message.subscription = indices[message.subscription]
        known[message.subscription].after_seq = message.resume_seq
        if kind == "end":
            going.discard(message.subscription)
        return True

    return _messages(client, client.watches.stub.Watch, request, take, lambda: not going, timeout)


def _messages(
    client: Client,
    rpc: Callable[..., Any],
    request: Callable[[], Any],
    take: Callable[[Any], bool],
    is_over: Callable[[], bool],
    timeout: float | None,
) -> Iterator[Any]:
    """Messages that ``take`` wants, of one stream after the other, until one ends and the watch ``is_over``."""
    end = None if timeout is None else time.monotonic() + timeout
    broken_since: float | None = None
    refreshed = False
    while True:
        left = None if end is None else max(end - time.monotonic(), 0.0)
        stream, token = client.open(rpc, request(), left)
        try:
            for message in stream:
                broken_since, refreshed = None, False
                if take(message):
                    yield message
            if is_over():
                return
        except grpc.RpcError as error:
            failure = SupaloveError(error)
            broken_since = broken_since or time.monotonic()
            if failure.code is grpc.StatusCode.UNAUTHENTICATED and not refreshed:
                try:
                    if client.refresh(token):
                        refreshed = True
                        continue
                except SupaloveError as interrupted:
                    # Tried again, like the stream.
                    failure = interrupted
            now = time.monotonic()
            late = end is not None and now >= end
            if failure.code not in INTERRUPTIONS or late or now - broken_since > PATIENCE:
                raise failure from None
        finally:
            # A caller that stops early leaves no stream behind.
            stream.cancel()
        time.sleep(PAUSE)
