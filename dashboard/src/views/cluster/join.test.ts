import { create } from "@bufbuild/protobuf";
import { expect, it } from "vitest";
import { JoinTokenState, NodeSchema, NodeState } from "@/gen/supalove/v1/cluster_pb";
import { joiningOf } from "./join";

const usable = { uses: 0, state: JoinTokenState.USABLE };
const old = create(NodeSchema, { id: "nod_a", state: NodeState.READY });

it("waits as long as there is no new node", () => {
  expect(joiningOf(usable, [old], ["nod_a"])).toEqual({ step: "waiting" });
  expect(joiningOf(undefined, [], [])).toEqual({ step: "waiting" });
});

it("follows the new node until it is ready", () => {
  const node = create(NodeSchema, { id: "nod_b", state: NodeState.ENROLLED });
  const used = { uses: 1, state: JoinTokenState.USED };
  expect(joiningOf(used, [old, node], ["nod_a"]).step).toBe("joined");
  expect(joiningOf(used, [old, { ...node, state: NodeState.READY }], ["nod_a"]).step).toBe("ready");
});

it("says when the token has ended unused", () => {
  expect(joiningOf({ uses: 0, state: JoinTokenState.EXPIRED }, [old], ["nod_a"])).toEqual({ step: "ended" });
});
