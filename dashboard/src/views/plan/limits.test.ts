import { create } from "@bufbuild/protobuf";
import { expect, it } from "vitest";
import { Entitlement, PlanLimitsSchema, PlanSchema } from "@/gen/supalove/v1/plan_pb";
import { differences, limitText, nextPlan, usedText } from "./limits";

it("writes limits with their unit", () => {
  expect(limitText(Entitlement.PROJECTS, { case: "number", value: 1000n })).toBe("1,000");
  expect(limitText(Entitlement.DATABASE_SIZE, { case: "number", value: 8192n })).toBe("8 GB");
  expect(limitText(Entitlement.BACKUP_DAYS, { case: "number", value: 0n })).toBe("Not at all");
  expect(limitText(Entitlement.LOG_DAYS, { case: "number", value: 7n })).toBe("7 days");
  expect(limitText(Entitlement.PRIVATE_CLUSTERS, { case: "allowed", value: false })).toBe("Not included");
  expect(limitText(Entitlement.PROJECTS, undefined)).toBe("");
});

it("gives numbers their limit", () => {
  expect(usedText(Entitlement.MEMBERS, 6, { case: "number", value: 10n })).toBe("6 of 10");
});

it("names only what another plan changes", () => {
  const free = create(PlanLimitsSchema, { projects: 2n, members: 3n, projectSizes: ["nano"] });
  const pro = create(PlanLimitsSchema, { projects: 20n, members: 3n, projectSizes: ["nano", "micro"] });
  expect(differences(free, pro).map(({ name, from, to }) => [name, from, to])).toEqual([
    ["Projects", "2", "20"],
    ["Sizes of projects", "nano", "nano and micro"],
  ]);
  expect(differences(free, free)).toEqual([]);
});

it("finds the next plan by price", () => {
  const plan = (name: string, priceCents: bigint) => create(PlanSchema, { name, priceCents });
  const plans = [plan("team", 5000n), plan("free", 0n), plan("pro", 2500n)];
  expect(nextPlan(plans, { name: "free", priceCents: 0n })?.name).toBe("pro");
  expect(nextPlan(plans, { name: "team", priceCents: 5000n })).toBeUndefined();
});
