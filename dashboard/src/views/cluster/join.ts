/** How far a host is that joins. */

import { type JoinToken, JoinTokenState, type Node, NodeState } from "@/gen/supalove/v1/cluster_pb";

export type Joining =
  | { step: "waiting" }
  /** Nobody can join with the token any more, and nobody has. */
  | { step: "ended" }
  | { step: "joined" | "ready"; node: Node };

/** The new node is the one that was not there before the token. */
export function joiningOf(token: Pick<JoinToken, "uses" | "state"> | undefined, nodes: Node[], before: string[]): Joining {
  const node = nodes.find(({ id }) => !before.includes(id));
  if (node) return { step: node.state === NodeState.READY ? "ready" : "joined", node };
  if (token && token.uses === 0 && token.state !== JoinTokenState.USABLE) return { step: "ended" };
  return { step: "waiting" };
}
