"""A watch that survives a broken stream: it opens the next one after the last event it has given."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import grpc

from supalove.errors import SupaloveError
from supalove.v1 import project_pb2

if TYPE_CHECKING:
    from supalove.client import Client

#: Seconds before a broken stream is opened again.
PAUSE = 0.5
#: Seconds from the first failure after which a stream that breaks again is given up. A message ends them.
PATIENCE = 60.0
#: The stream broke, but the project may still be there.
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
    end = None if timeout is None else time.monotonic() + timeout
    request = project_pb2.WatchProjectRequest(project_ref=project_ref, after_seq=after_seq)
    broken_since: float | None = None
    refreshed, removed = False, False
    while not removed:
        left = None if end is None else max(end - time.monotonic(), 0.0)
        stream, token = client.open(client.projects.stub.WatchProject, request, left)
        try:
            for message in stream:
                broken_since, refreshed = None, False
                kind = message.WhichOneof("message")
                if kind == "snapshot":
                    removed = message.snapshot.state == project_pb2.PROJECT_STATE_REMOVED
                elif kind == "event":
                    request.after_seq = message.event.seq
                if kind in ("snapshot", "event"):
                    yield message
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
            removed = False
        finally:
            # A caller that stops early leaves no stream behind.
            stream.cancel()
        if not removed:
            time.sleep(PAUSE)
