"""Prints the last lines of a project's database and what it goes on to print, until Ctrl-C.

For a developer, an administrator or an owner; the variables are those of the README, and SUPALOVE_PROJECT, a project's ref.
"""

import os

from supalove import Client
from supalove.v1 import project_pb2

with Client(os.environ["SUPALOVE_API"]) as client:
    client.sign_in(os.environ["SUPALOVE_EMAIL"], os.environ["SUPALOVE_PASSWORD"])
    request = project_pb2.TailLogsRequest(
        project_ref=os.environ["SUPALOVE_PROJECT"],
        services=["postgres"],
        tail=20,
        follow=True,
    )
    try:
        for message in client.tail_logs(request):
            if message.HasField("line"):
                line = message.line
                print(line.time.ToJsonString(), line.service, line.text)
            elif message.HasField("note"):
                print(f"({message.note.service}: {message.note.message})")
    except KeyboardInterrupt:
        pass
    client.sign_out()
