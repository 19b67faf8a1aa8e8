// A session that begins with an ended access token, a create that is repeated, a wrong password, a create whose answer
// is lost, a flood of strangers, and a watch to the end. Driven by controller/tests/api/clients.rs, which reads the lines
// and kills the controller under the watch.

import assert from "node:assert/strict";

import { Client, explain } from "supalove-sdk";
import { ErrorReason } from "supalove-sdk/v1";

const { SUPALOVE_API: address, SUPALOVE_LOSSY_API: lossy, SUPALOVE_EMAIL: email } = process.env;
const { SUPALOVE_REFRESH_TOKEN: refreshToken, SUPALOVE_ORGANIZATION: organization } = process.env;

/** What RetryInfo says when more ask for a new password than the server takes, in seconds; each answer takes its time. */
async function flooded() {
  const stranger = new Client(address);
  const forget = () => stranger.auth.requestPasswordReset({ email: "nobody@example.com" }).catch(explain);
  const problems = await Promise.all(Array.from({ length: 100 }, forget));
  return problems.find(({ reason }) => reason === "BUSY").retryAfterMs / 1000;
}

/** The project's events out of a watch that follows its organization, too; then why they ended. */
async function watchedWithOthers(projectRef) {
  const seen = [];
  const acme = { stream: { case: "organization", value: organization } };
  const project = { stream: { case: "projectRef", value: projectRef }, afterSeq: 0n };
  for await (const { subscription, message } of client.watch([acme, project], { timeoutMs: 100_000 })) {
    // The organization has events of its own.
    if (message.case === "event" && subscription === 1) seen.push(message.value.event.value.seq);
    if (message.case !== "end") continue;
    assert.equal(subscription, 1);
    return [...seen, `ERROR_REASON_${ErrorReason[message.value.reason]}`].join(" ");
  }
  throw new Error("the organization is still there");
}

const client = new Client(address, { accessToken: "ended", refreshToken });
const request = { organization, name: "typescript-session", requestId: crypto.randomUUID() };
// Both find the token ended; it must be traded once.
const made = await Promise.all([client.organizations.listOrganizations({}), client.createProject(request)]);
const again = await client.createProject(request);
const projectRef = made[1].project.ref;
console.log("created", projectRef, again.project.ref);
const before = client.tokens;
await assert.rejects(client.signIn(email, "a wrong password"));
assert.deepEqual(client.tokens, before, "a wrong password leaves the session as it is");
const once = await new Client(lossy, before).createProject({ organization, name: "typescript-lost" });
console.log("lost", once.project.ref);
console.log("busy", await flooded());
const others = watchedWithOthers(projectRef);
for await (const { case: kind, value } of client.watchProject(projectRef, { timeoutMs: 100_000 })) {
  if (kind === "event") console.log("event", String(value.seq));
}
console.log("with others", await others);
console.log("removed");
