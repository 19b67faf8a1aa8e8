/** Which acts a node's state allows. */

import { type Node, NodeAvailability, NodeState } from "@/gen/supalove/v1/cluster_pb";

export type NodeAct = "cordon" | "uncordon" | "drain" | "remove" | "forget";

export function actsOf(node: Pick<Node, "state" | "availability" | "forgetTime">): NodeAct[] {
  const { state, availability } = node;
  if (state === NodeState.REVOKED) return node.forgetTime ? [] : ["forget"];
  const acts: NodeAct[] = [];
  if (availability === NodeAvailability.ACTIVE) acts.push("cordon");
  else acts.push("uncordon");
  if (availability !== NodeAvailability.DRAINING) acts.push("drain");
  acts.push("remove");
  if (state === NodeState.LOST || state === NodeState.ENROLLED) acts.push("forget");
  return acts;
}

/** Whether the scheduler puts new projects there. */
export function isUsable(node: Pick<Node, "state" | "availability" | "conditions">): boolean {
  return (
    node.state === NodeState.READY &&
    node.availability === NodeAvailability.ACTIVE &&
    !node.conditions.some(({ blocking }) => blocking)
  );
}
