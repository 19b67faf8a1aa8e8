"""Supalove's public API: a client that keeps its session, typed errors, watches that go on after a break.

The messages are generated from the protos: ``from supalove.v1 import project_pb2``.
"""

from supalove.client import Client, Tokens
from supalove.errors import FieldViolation, SupaloveError

__all__ = ["Client", "FieldViolation", "SupaloveError", "Tokens"]
