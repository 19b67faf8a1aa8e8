/** The limits of a plan, in the order and the words of its page. */

import { Entitlement, type EntitlementValue, type Plan, type PlanLimits } from "@/gen/supalove/v1/plan_pb";
import { mebibytes } from "@/lib/format";
import { count, grouped, list } from "@/lib/words";

type Value = EntitlementValue["kind"];

const NAMES: Record<Entitlement, string> = {
  [Entitlement.UNSPECIFIED]: "Not named",
  [Entitlement.PROJECTS]: "Projects",
  [Entitlement.MEMBERS]: "Members",
  [Entitlement.DATABASE_SIZE]: "Database of a project",
  [Entitlement.STORAGE_SIZE]: "Files of a project",
  [Entitlement.FUNCTION_INVOCATIONS]: "Function calls a month",
  [Entitlement.PROJECT_SIZES]: "Sizes of projects",
  [Entitlement.PRIVATE_CLUSTERS]: "Private clusters",
  [Entitlement.BACKUP_DAYS]: "Backups are kept",
  [Entitlement.LOG_DAYS]: "Logs are kept",
};

export const nameOf = (entitlement: Entitlement): string => NAMES[entitlement] ?? `Limit ${entitlement}`;

/** Of an organization, "20", "8 GB", "7 days", "micro and small", "yes". */
export function limitText(entitlement: Entitlement, value: Value | undefined): string {
  if (value?.case === "allowed") return value.value ? "Included" : "Not included";
  if (value?.case === "sizes") return list(value.value.names);
  if (value?.case !== "number") return "";
  const number = Number(value.value);
  if (entitlement === Entitlement.DATABASE_SIZE || entitlement === Entitlement.STORAGE_SIZE) return mebibytes(number);
  if (entitlement === Entitlement.BACKUP_DAYS) return number === 0 ? "Not at all" : count(number, "day");
  if (entitlement === Entitlement.LOG_DAYS) return count(number, "day");
  return grouped(number);
}

/** "7 of 20", "1.2 GB of 8 GB". */
export function usedText(entitlement: Entitlement, used: number, value: Value | undefined): string {
  return `${limitText(entitlement, { case: "number", value: BigInt(used) })} of ${limitText(entitlement, value)}`;
}

/** What of the limits can be seen as a number. */
export const numberOf = (value: Value | undefined): number | undefined =>
  value?.case === "number" ? Number(value.value) : undefined;

const OF_PLAN: [Entitlement, (limits: PlanLimits) => Value][] = [
  [Entitlement.PROJECTS, ({ projects }) => ({ case: "number", value: projects })],
  [Entitlement.MEMBERS, ({ members }) => ({ case: "number", value: members })],
  [Entitlement.DATABASE_SIZE, ({ databaseMib }) => ({ case: "number", value: databaseMib })],
  [Entitlement.STORAGE_SIZE, ({ storageMib }) => ({ case: "number", value: storageMib })],
  [Entitlement.FUNCTION_INVOCATIONS, ({ functionInvocations }) => ({ case: "number", value: functionInvocations })],
  [Entitlement.BACKUP_DAYS, ({ backupDays }) => ({ case: "number", value: backupDays })],
  [Entitlement.LOG_DAYS, ({ logDays }) => ({ case: "number", value: logDays })],
  [Entitlement.PRIVATE_CLUSTERS, ({ privateClusters }) => ({ case: "allowed", value: privateClusters })],
];

export interface Difference {
  entitlement: Entitlement;
  name: string;
  from: string;
  to: string;
}

/** What the other plan gives otherwise. */
export function differences(from: PlanLimits, to: PlanLimits): Difference[] {
  const texts = OF_PLAN.map(([entitlement, read]) => ({
    entitlement,
    name: nameOf(entitlement),
    from: limitText(entitlement, read(from)),
    to: limitText(entitlement, read(to)),
  }));
  texts.push({
    entitlement: Entitlement.PROJECT_SIZES,
    name: nameOf(Entitlement.PROJECT_SIZES),
    from: list(from.projectSizes),
    to: list(to.projectSizes),
  });
  return texts.filter((one) => one.from !== one.to);
}

/** The next plan by price, of those that cost more; undefined for the dearest. */
export function nextPlan(plans: Plan[], current: Pick<Plan, "name" | "priceCents">): Plan | undefined {
  const others = plans.filter(({ name, priceCents }) => name !== current.name && priceCents > current.priceCents);
  return others.sort((one, other) => Number(one.priceCents - other.priceCents))[0];
}
