"""Shows from where an account is signed in, ends a session, and makes a token for a program that may read for an hour.

The variables are those of the README.
"""

import os

from google.protobuf.duration_pb2 import Duration
from supalove import Client, Tokens
from supalove.v1 import auth_pb2 as auth
from supalove.v1 import personal_access_token_pb2 as tokens

api, email, password = (os.environ[f"SUPALOVE_{name}"] for name in ("API", "EMAIL", "PASSWORD"))

with Client(api) as client:
    client.sign_in(email, password)

    # Another session, as of a lost laptop. A session that is ended ends at once.
    with Client(api) as laptop:
        laptop.sign_in(email, password)
    sessions = client.auth.ListSessions(auth.ListSessionsRequest()).sessions
    for session in sessions:
        print("signed in from", session.client_address + (", this one" if session.current else ""))
    newest = max(session.id for session in sessions if not session.current)
    client.auth.EndSession(auth.EndSessionRequest(session_id=newest))
    print("ended a session")

    # The token is shown this once.
    made = client.personal_access_tokens.CreatePersonalAccessToken(
        tokens.CreatePersonalAccessTokenRequest(
            name="reports, in Python",
            scopes=[tokens.PERSONAL_ACCESS_TOKEN_SCOPE_READ],
            ttl=Duration(seconds=3600),
        )
    )
    with Client(api, Tokens(made.token, "")) as program:
        print("a token reads as", program.auth.GetMe(auth.GetMeRequest()).user.email)
    client.personal_access_tokens.RevokePersonalAccessToken(
        tokens.RevokePersonalAccessTokenRequest(personal_access_token_id=made.personal_access_token.id)
    )
    print("revoked it")
    client.sign_out()
