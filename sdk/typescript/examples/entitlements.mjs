// Prints what an organization may use, how much of it is in use, and what other plans there are. For any member; the variables
// are those of the README.

import { Client } from "supalove-sdk";
import { Entitlement } from "supalove-sdk/v1";

const { SUPALOVE_API, SUPALOVE_EMAIL, SUPALOVE_PASSWORD, SUPALOVE_ORGANIZATION: organization } = process.env;
const client = new Client(SUPALOVE_API);
await client.signIn(SUPALOVE_EMAIL, SUPALOVE_PASSWORD);

const { entitlements: held } = await client.plans.getEntitlements({ organization });
console.log(`the plan is ${held.plan.name}`);
for (const { entitlement, limit, used } of held.entitlements) {
  const { case: kind, value } = limit.kind;
  const shown = kind === "sizes" ? value.names.join(" ") : String(value);
  // What the platform does not measure yet has no use.
  console.log(`ENTITLEMENT_${Entitlement[entitlement]}: ${shown}${used === undefined ? "" : `, ${used} in use`}`);
}
const { plans } = await client.plans.listPlans({});
for (const { name, priceCents } of plans) console.log(`${name} costs ${priceCents} cents a month`);
await client.signOut();
