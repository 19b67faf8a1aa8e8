// Shows from where an account is signed in, ends a session, and makes a token for a program that may read for an hour. The
// variables are those of the README.

import { Client } from "supalove-sdk";
import { PersonalAccessTokenScope } from "supalove-sdk/v1";

const { SUPALOVE_API, SUPALOVE_EMAIL: email, SUPALOVE_PASSWORD: password } = process.env;
const client = new Client(SUPALOVE_API);
await client.signIn(email, password);

// Another session, as of a lost laptop. A session that is ended ends at once.
await new Client(SUPALOVE_API).signIn(email, password);
const { sessions } = await client.auth.listSessions({});
for (const { clientAddress, current } of sessions) {
  console.log(`signed in from ${clientAddress}${current ? ", this one" : ""}`);
}
const others = sessions.filter(({ current }) => !current).map(({ id }) => id);
await client.auth.endSession({ sessionId: others.sort().at(-1) });
console.log("ended a session");

// The token is shown this once.
const { token, personalAccessToken } = await client.personalAccessTokens.createPersonalAccessToken({
  name: "reports, in TypeScript",
  scopes: [PersonalAccessTokenScope.READ],
  ttl: { seconds: 3600n },
});
const program = new Client(SUPALOVE_API, { accessToken: token, refreshToken: "" });
const { user } = await program.auth.getMe({});
console.log(`a token reads as ${user.email}`);
await client.personalAccessTokens.revokePersonalAccessToken({ personalAccessTokenId: personalAccessToken.id });
console.log("revoked it");
await client.signOut();
