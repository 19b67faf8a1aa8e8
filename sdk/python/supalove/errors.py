"""What a call can fail with: a gRPC status with its google.rpc details, decoded."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass(frozen=True)
class FieldViolation:
    """A field of the request that is wrong, and why."""

    field: str
    description: str


class SupaloveError(Exception):
    """A call that did not do what was asked."""

    def __init__(self, error: grpc.RpcError) -> None:
        #: What kind of failure.
        self.code: grpc.StatusCode = error.code()
        #: For people.
        self.message: str = error.details() or self.code.name
        #: Stable reason, for programs; empty if the server did not get to answer.
        self.reason: str = ""
        #: The wrong fields of an INVALID_ARGUMENT.
        self.field_violations: list[FieldViolation] = []
        #: Seconds after which the same call may succeed.
        self.retry_after: float | None = None
        #: All details as they came, as google.protobuf.Any.
        self.details: list = []
        status = rpc_status.from_call(error)
        if status is not None:
            self.details = list(status.details)
        for detail in self.details:
            self._take(detail)
        super().__init__(self.message)

    def _take(self, detail) -> None:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            self.reason = info.reason
        elif detail.Unpack(bad):
            self.field_violations = [FieldViolation(v.field, v.description) for v in bad.field_violations]
        elif detail.Unpack(retry):
            self.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
