/** Which projects stand on a node, before somebody decides about it. */

import { ConnectError } from "@connectrpc/connect";
import { PreconditionFailureSchema } from "@/gen/google/rpc/error_details_pb";
import { clusters } from "./clients";
import { explain } from "./errors";

/**
 * No project has it: a request that names it is always refused, and the refusal names what really stands there. A request that names
 * none would remove an empty node at once.
 */
const NOBODY = "aaaaaaaaaaaaaaaaaaaa";

export async function standingOn(nodeId: string, act: "remove" | "forget", signal?: AbortSignal): Promise<string[]> {
  try {
    if (act === "remove") await clusters.removeNode({ nodeId, abandonProjects: [NOBODY] }, { signal });
    else await clusters.forgetNode({ nodeId, lostProjects: [NOBODY] }, { signal });
    return [];
  } catch (error) {
    if (explain(error).reason !== "NODE_NOT_EMPTY") throw error;
    return ConnectError.from(error)
      .findDetails(PreconditionFailureSchema)
      .flatMap(({ violations }) => violations)
      .map(({ subject }) => subject.replace(/^project:/, ""));
  }
}
