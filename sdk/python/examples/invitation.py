"""Invites SUPALOVE_INVITED (an e-mail address) into an organization, and signs up as who was invited.

For an owner or an administrator; the other variables are those of the README.
"""

import os
import secrets

from supalove import Client
from supalove.v1 import auth_pb2, invitation_pb2, organization_pb2

api, organization = os.environ["SUPALOVE_API"], os.environ["SUPALOVE_ORGANIZATION"]

with Client(api) as client, Client(api) as stranger:
    client.sign_in(os.environ["SUPALOVE_EMAIL"], os.environ["SUPALOVE_PASSWORD"])

    invited = client.invitations.CreateInvitation(
        invitation_pb2.CreateInvitationRequest(
            organization=organization,
            email=os.environ["SUPALOVE_INVITED"],
            role=organization_pb2.ROLE_DEVELOPER,
        )
    )
    if invited.invitation.mailed:
        print("a mail with a link is on its way to", invited.invitation.email)
    else:
        # Without mail whoever invites passes the token on. It shows what it is for, and works once.
        shown = stranger.invitations.GetInvitation(invitation_pb2.GetInvitationRequest(token=invited.token))
        print(shown.invited_by_name, "invites", shown.email)
        signed_up = stranger.auth.SignUp(
            auth_pb2.SignUpRequest(
                token=invited.token, password=secrets.token_urlsafe(), display_name="Grace"
            )
        )
        print(signed_up.user.email, "has signed up")

        members = organization_pb2.ListMembersRequest(organization=organization, page_size=100)
        for member in client.organizations.ListMembers(members).members:
            print(member.email, "is", organization_pb2.Role.Name(member.role))
        client.sign_out()
