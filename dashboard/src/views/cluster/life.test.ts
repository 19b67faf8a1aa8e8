import { expect, it } from "vitest";
import { NodeAvailability, NodeState } from "@/gen/supalove/v1/cluster_pb";
import { actsOf, isUsable } from "./life";

const node = (state: NodeState, availability = NodeAvailability.ACTIVE) => ({ state, availability, forgetTime: undefined });

it("offers what the state allows", () => {
  expect(actsOf(node(NodeState.READY))).toEqual(["cordon", "drain", "remove"]);
  expect(actsOf(node(NodeState.READY, NodeAvailability.CORDONED))).toEqual(["uncordon", "drain", "remove"]);
  expect(actsOf(node(NodeState.READY, NodeAvailability.DRAINING))).toEqual(["uncordon", "remove"]);
});

it("forgets only what does not come back", () => {
  expect(actsOf(node(NodeState.UNHEALTHY))).not.toContain("forget");
  expect(actsOf(node(NodeState.LOST))).toContain("forget");
  expect(actsOf(node(NodeState.ENROLLED))).toContain("forget");
  expect(actsOf(node(NodeState.REVOKED))).toEqual(["forget"]);
});

it("knows which nodes take new projects", () => {
  const ready = { state: NodeState.READY, availability: NodeAvailability.ACTIVE, conditions: [] };
  expect(isUsable(ready)).toBe(true);
  expect(isUsable({ ...ready, availability: NodeAvailability.CORDONED })).toBe(false);
  expect(isUsable({ ...ready, state: NodeState.UNHEALTHY })).toBe(false);
});
