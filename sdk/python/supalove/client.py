"""The client: one channel, one session, a stub per service.

Every call carries the access token. When the server says that it has ended, the refresh token is traded once and the
call made again.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import grpc

from supalove.errors import SupaloveError
from supalove.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    auth_pb2,
    auth_pb2_grpc,
    authority_pb2_grpc,
    cluster_pb2_grpc,
    image_pb2_grpc,
    invitation_pb2_grpc,
    leftover_pb2_grpc,
    operation_pb2_grpc,
    organization_pb2_grpc,
    personal_access_token_pb2_grpc,
    plan_pb2_grpc,
    platform_pb2_grpc,
    project_pb2,
    project_pb2_grpc,
    registry_pb2_grpc,
    usage_pb2_grpc,
    watch_pb2,
    watch_pb2_grpc,
)
from supalove.watch import watch, watch_many

#: Seconds that a call may take if its caller names no other time.
TIMEOUT = 30.0
#: Seconds before the first, second … repetition of a create whose answer did not arrive.
BACK_OFF = (0.2, 0.6, 1.5)
#: HTTP/2 pings, so that a dead connection under a silent stream is noticed.
CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A server that comes back is found soon.
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
#: The create may have been done, or may succeed now.
REPEATABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.DEADLINE_EXCEEDED)


@dataclass
class Tokens:
    """The tokens of a session. Secret, so ``repr`` does not show them."""

    access_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)


class Client:
    """Supalove's API as one user sees it. Threads may share it."""

    def __init__(self, address: str, tokens: Tokens | None = None) -> None:
        """Takes ``http://host:port`` or ``https://host:port``; connects at the first call."""
        self._channel = _channel(address)
        self._tokens = tokens or Tokens()
        self._lock = threading.Lock()
        self.audit = Service(self, audit_pb2_grpc.AuditServiceStub(self._channel))
        self.auth = Service(self, auth_pb2_grpc.AuthServiceStub(self._channel))
        self.authorities = Service(self, authority_pb2_grpc.AuthorityServiceStub(self._channel))
        self.clusters = Service(self, cluster_pb2_grpc.ClusterServiceStub(self._channel))
        self.images = Service(self, image_pb2_grpc.ImageServiceStub(self._channel))
        self.invitations = Service(self, invitation_pb2_grpc.InvitationServiceStub(self._channel))
        self.leftovers = Service(self, leftover_pb2_grpc.LeftoverServiceStub(self._channel))
        self.operations = Service(self, operation_pb2_grpc.OperationServiceStub(self._channel))
        self.organizations = Service(self, organization_pb2_grpc.OrganizationServiceStub(self._channel))
        self.personal_access_tokens = Service(
            self, personal_access_token_pb2_grpc.PersonalAccessTokenServiceStub(self._channel)
        )
        self.plans = Service(self, plan_pb2_grpc.PlanServiceStub(self._channel))
        self.platform = Service(self, platform_pb2_grpc.PlatformServiceStub(self._channel))
        self.projects = Service(self, project_pb2_grpc.ProjectServiceStub(self._channel))
        self.registries = Service(self, registry_pb2_grpc.RegistryServiceStub(self._channel))
        self.usage = Service(self, usage_pb2_grpc.UsageServiceStub(self._channel))
        self.watches = Service(self, watch_pb2_grpc.WatchServiceStub(self._channel))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; the session goes on."""
        self._channel.close()

    @property
    def tokens(self) -> Tokens:
        """The tokens as they are now, to be kept for a later client."""
        with self._lock:
            return Tokens(self._tokens.access_token, self._tokens.refresh_token)

    def sign_in(self, email: str, password: str) -> auth_pb2.User:
        """Starts a session; calls carry it from now on."""
        request = auth_pb2.SignInRequest(email=email, password=password)
        try:
            # Without the present session: a wrong password is no reason to trade its tokens.
            answer = self.auth.stub.SignIn(request, timeout=TIMEOUT)
        except grpc.RpcError as error:
            raise SupaloveError(error) from None
        self._keep(answer.tokens)
        return answer.user

    def sign_out(self) -> None:
        """Ends the session."""
        self.auth.SignOut(auth_pb2.SignOutRequest())
        self._keep(auth_pb2.SessionTokens())

    def create_project(self, request: project_pb2.CreateProjectRequest) -> project_pb2.CreateProjectResponse:
        """Makes a project, once: without a ``request_id`` it gets one, and a lost answer is asked for again.

        With one of your own the same create can go on after a failure, or in another process.
        """
        once = project_pb2.CreateProjectRequest()
        once.CopyFrom(request)
        once.request_id = request.request_id or str(uuid.uuid4())
        for pause in BACK_OFF:
            try:
                return self.projects.CreateProject(once)
            except SupaloveError as error:
                if error.code not in REPEATABLE:
                    raise
                time.sleep(max(pause, min(error.retry_after or 0, 10.0)))
        return self.projects.CreateProject(once)

    def watch_project(
        self, project_ref: str, after_seq: int | None = 0, timeout: float | None = None
    ) -> Iterator[project_pb2.WatchProjectResponse]:
        """The project as it is, then its events, each once, until it is removed. See :func:`supalove.watch.watch`."""
        return watch(self, project_ref, after_seq, timeout)

    def watch(
        self, subscriptions: Iterable[watch_pb2.WatchSubscription], timeout: float | None = None
    ) -> Iterator[watch_pb2.WatchResponse]:
        """Projects, organizations and nodes in one call. See :func:`supalove.watch.watch_many`."""
        return watch_many(self, subscriptions, timeout)

    def export_audit_events(
        self,
        request: audit_pb2.ExportAuditEventsRequest | audit_pb2.ExportPlatformAuditEventsRequest,
        timeout: float = 600.0,
    ) -> Iterator[bytes]:
        """The parts of an exported audit log, of an organization or of the platform, in order.

        The file is complete only if the iteration ends without an error.
        """
        of_platform = isinstance(request, audit_pb2.ExportPlatformAuditEventsRequest)
        stub = self.audit.stub
        rpc = stub.ExportPlatformAuditEvents if of_platform else stub.ExportAuditEvents
        for part in self._messages(rpc, request, timeout):
            yield part.data

    def tail_logs(
        self, request: project_pb2.TailLogsRequest, timeout: float = 3600.0
    ) -> Iterator[project_pb2.TailLogsResponse]:
        """The lines of a project's logs, and notes about them.

        A stream that follows ends with an error when the node goes away or it has lasted its longest time: go on with
        ``after``, the last line of each output that was seen.
        """
        return self._messages(self.projects.stub.TailLogs, request, timeout)

    def _messages(self, rpc: Callable[..., Any], request: Any, timeout: float) -> Iterator[Any]:
        """The messages of a stream, which is opened again with a new token if the one it had was refused."""
        begun = False
        for attempt in (1, 2):
            messages, token = self.open(rpc, request, timeout)
            try:
                for message in messages:
                    begun = True
                    yield message
                return
            except grpc.RpcError as error:
                refused = error.code() is grpc.StatusCode.UNAUTHENTICATED and not begun and attempt == 1
                if not refused or not self.refresh(token):
                    raise SupaloveError(error) from None

    def call(self, rpc: Callable[..., Any], request: Any, timeout: float) -> Any:
        """One unary call; made again with a new token if the one it had was refused."""
        token = self.tokens.access_token
        try:
            return rpc(request, metadata=_metadata(token), timeout=timeout)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED or not self.refresh(token):
                raise SupaloveError(error) from None
        try:
            return rpc(request, metadata=_metadata(self.tokens.access_token), timeout=timeout)
        except grpc.RpcError as error:
            raise SupaloveError(error) from None

    def open(self, rpc: Callable[..., Any], request: Any, timeout: float | None) -> tuple[Any, str]:
        """A stream, and the token it was opened with."""
        token = self.tokens.access_token
        return rpc(request, metadata=_metadata(token), timeout=timeout), token

    def refresh(self, refused: str) -> bool:
        """Trades the refresh token, unless another thread has just done so. False if the session has ended."""
        with self._lock:
            if self._tokens.access_token != refused:
                return bool(self._tokens.access_token)
            if not self._tokens.refresh_token:
                return False
            request = auth_pb2.RefreshRequest(refresh_token=self._tokens.refresh_token)
            try:
                answer = self.auth.stub.Refresh(request, timeout=TIMEOUT)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                    raise SupaloveError(error) from None
                self._tokens = Tokens()
                return False
            self._tokens = Tokens(answer.tokens.access_token, answer.tokens.refresh_token)
            return True

    def _keep(self, tokens: auth_pb2.SessionTokens) -> None:
        with self._lock:
            self._tokens = Tokens(tokens.access_token, tokens.refresh_token)


class Service:
    """A generated stub whose unary calls carry the session and raise :class:`SupaloveError`."""

    def __init__(self, client: Client, stub: Any) -> None:
        self._client = client
        #: The generated stub, bare.
        self.stub = stub

    def __getattr__(self, name: str) -> Callable[..., Any]:
        rpc = getattr(self.stub, name)
        if not isinstance(rpc, grpc.UnaryUnaryMultiCallable):
            raise AttributeError(f"{name} is a stream; use the client's method for it")

        def call(request: Any, timeout: float = TIMEOUT) -> Any:
            return self._client.call(rpc, request, timeout)

        return call


def _channel(address: str) -> grpc.Channel:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{address!r} is no address such as http://127.0.0.1:8000")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if parts.scheme == "https":
        return grpc.secure_channel(f"{host}:{port}", grpc.ssl_channel_credentials(), options=CHANNEL_OPTIONS)
    return grpc.insecure_channel(f"{host}:{port}", options=CHANNEL_OPTIONS)


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()
