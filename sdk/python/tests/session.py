"""A session that begins with an ended access token, a create that is repeated, a wrong password, a create whose answer
is lost, a flood of strangers, and a watch to the end.

Driven by controller/tests/api/clients.rs, which reads the lines and kills the controller under the watch.
"""

import os
import uuid
from concurrent.futures import ThreadPoolExecutor

from supalove import Client, SupaloveError, Tokens
from supalove.v1 import auth_pb2, errors_pb2, watch_pb2
from supalove.v1 import project_pb2 as api

address, organization = os.environ["SUPALOVE_API"], os.environ["SUPALOVE_ORGANIZATION"]


def say(*words: object) -> None:
    print(*words, flush=True)


def flooded() -> float | None:
    """What RetryInfo says when more ask for a new password than the server takes; each answer takes its time."""

    def forget(_: int) -> SupaloveError | None:
        try:
            stranger.auth.RequestPasswordReset(request)
        except SupaloveError as error:
            return error
        return None

    request = auth_pb2.RequestPasswordResetRequest(email="nobody@example.com")
    with Client(address) as stranger, ThreadPoolExecutor(100) as threads:
        errors = list(threads.map(forget, range(100)))
    return next(error.retry_after for error in errors if error and error.reason == "BUSY")


def watched_with_others(project_ref: str) -> list[object]:
    """The project's events out of a watch that follows its organization, too; then why they ended."""
    seen: list[object] = []
    acme = watch_pb2.WatchSubscription(organization=organization)
    project = watch_pb2.WatchSubscription(project_ref=project_ref, after_seq=0)
    for message in client.watch([acme, project], timeout=100):
        # The organization has events of its own.
        if message.HasField("event") and message.subscription == 1:
            seen.append(message.event.project.seq)
        if message.HasField("end"):
            assert message.subscription == 1
            return [*seen, errors_pb2.ErrorReason.Name(message.end.reason)]
    raise AssertionError("the organization is still there")


with Client(address, Tokens("ended", os.environ["SUPALOVE_REFRESH_TOKEN"])) as client:
    request = api.CreateProjectRequest(organization=organization, name="python-session", request_id=str(uuid.uuid4()))
    with ThreadPoolExecutor(2) as threads:
        # Both find the token ended; it must be traded once.
        made = list(threads.map(client.create_project, [request, request]))
    refs = [answer.project.ref for answer in made]
    say("created", *refs)
    before = client.tokens
    try:
        client.sign_in(os.environ["SUPALOVE_EMAIL"], "a wrong password")
    except SupaloveError:
        assert client.tokens == before, "a wrong password leaves the session as it is"
    else:
        raise AssertionError("signed in with a wrong password")
    with Client(os.environ["SUPALOVE_LOSSY_API"], before) as lossy:
        lost = lossy.create_project(api.CreateProjectRequest(organization=organization, name="python-lost"))
    say("lost", lost.project.ref)
    say("busy", flooded())
    with ThreadPoolExecutor(1) as threads:
        others = threads.submit(watched_with_others, refs[0])
        for message in client.watch_project(refs[0], timeout=100):
            if message.HasField("event"):
                say("event", message.event.seq)
        say("with others", *others.result())
    say("removed")
