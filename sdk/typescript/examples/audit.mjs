// Prints who was refused what in an organization, then saves its whole audit log as CSV. For an owner or an administrator; the
// variables are those of the README.

import { createWriteStream } from "node:fs";
import { Client } from "supalove-sdk";
import { AuditExportFormat } from "supalove-sdk/v1";

const { SUPALOVE_API, SUPALOVE_EMAIL, SUPALOVE_PASSWORD, SUPALOVE_ORGANIZATION: organization } = process.env;
const client = new Client(SUPALOVE_API);
await client.signIn(SUPALOVE_EMAIL, SUPALOVE_PASSWORD);

let pageToken = "";
do {
  const page = await client.audit.listAuditEvents({ organization, filter: { outcome: "PermissionDenied" }, pageToken });
  for (const event of page.events) console.log(`${event.actor} was refused ${event.method} on ${event.target}`);
  pageToken = page.nextPageToken;
} while (pageToken);

// A stream that ends with an error is not complete: the loop throws it.
const file = createWriteStream("audit.csv");
const request = { organization, format: AuditExportFormat.CSV };
for await (const part of client.audit.exportAuditEvents(request, { timeoutMs: 600_000 })) file.write(part.data);
file.end();
await client.signOut();
