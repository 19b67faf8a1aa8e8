// Prints the last lines of a project's database and what it goes on to print, for an hour. For a developer, an administrator or an
// owner; the variables are those of the README, and SUPALOVE_PROJECT, a project's ref.

import { Client } from "supalove-sdk";

const { SUPALOVE_API, SUPALOVE_EMAIL, SUPALOVE_PASSWORD, SUPALOVE_PROJECT: projectRef } = process.env;
const client = new Client(SUPALOVE_API);
await client.signIn(SUPALOVE_EMAIL, SUPALOVE_PASSWORD);

const request = { projectRef, services: ["postgres"], tail: 20, follow: true };
for await (const { item } of client.projects.tailLogs(request, { timeoutMs: 3_600_000 })) {
  if (item.case === "line") console.log(item.value.service, item.value.text);
  if (item.case === "note") console.log(`(${item.value.service}: ${item.value.message})`);
}
await client.signOut();
