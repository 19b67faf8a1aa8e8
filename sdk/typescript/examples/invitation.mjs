// Invites SUPALOVE_INVITED (an e-mail address) into an organization, and signs up as who was invited. For an owner or an
// administrator; the other variables are those of the README.

import { randomUUID } from "node:crypto";
import { Client } from "supalove-sdk";
import { Role } from "supalove-sdk/v1";

const { SUPALOVE_API, SUPALOVE_EMAIL, SUPALOVE_PASSWORD, SUPALOVE_ORGANIZATION: organization } = process.env;
const client = new Client(SUPALOVE_API);
await client.signIn(SUPALOVE_EMAIL, SUPALOVE_PASSWORD);

const { invitation, token } = await client.invitations.createInvitation({
  organization,
  email: process.env.SUPALOVE_INVITED,
  role: Role.DEVELOPER,
});
if (invitation.mailed) {
  console.log(`a mail with a link is on its way to ${invitation.email}`);
} else {
  // Without mail whoever invites passes the token on. It shows what it is for, and works once.
  const stranger = new Client(SUPALOVE_API);
  const shown = await stranger.invitations.getInvitation({ token });
  console.log(`${shown.invitedByName} invites ${shown.email}`);
  const { user } = await stranger.auth.signUp({ token, password: randomUUID(), displayName: "Grace" });
  console.log(`${user.email} has signed up`);

  const { members } = await client.organizations.listMembers({ organization, pageSize: 100 });
  for (const { email, role } of members) console.log(`${email} is ROLE_${Role[role]}`);
  await client.signOut();
}
