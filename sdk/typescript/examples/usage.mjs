// Prints what each project of an organization uses, and its busiest hour of the last week. The variables are those of the README.

import { Client } from "supalove-sdk";

const { SUPALOVE_API, SUPALOVE_EMAIL, SUPALOVE_PASSWORD, SUPALOVE_ORGANIZATION: organization } = process.env;
const client = new Client(SUPALOVE_API);
await client.signIn(SUPALOVE_EMAIL, SUPALOVE_PASSWORD);

const week = BigInt(Math.floor(Date.now() / 1000) - 7 * 24 * 3600);
for (const project of (await client.usage.getOrganizationUsage({ organization })).projects) {
  const now = project.current ? `${project.current.cpuMillis} millicores` : "unknown";
  const month = (project.monthToDate?.cpuSeconds ?? 0) / 3600;
  console.log(`${project.name}: ${now}, ${month.toFixed(1)} core-hours in this month`);

  const { points } = await client.usage.getProjectUsageSeries({
    projectRef: project.projectRef,
    startTime: { seconds: week },
    step: { seconds: 3600n },
  });
  const [busiest] = points.sort((one, other) => other.cpuSeconds - one.cpuSeconds);
  if (busiest) console.log(`  busiest hour: ${new Date(Number(busiest.time.seconds) * 1000).toISOString()}`);
}
await client.signOut();
