/** What the placement says of a cluster, in the few words of a choice. */

import type { ExplainPlacementResponse } from "@/gen/supalove/v1/project_pb";
import { sentence } from "@/lib/words";
import { messages as say } from "./messages";

export interface Room {
  /** Undefined while nobody has said. */
  fits: boolean | undefined;
  aside: string;
  /** Why not, and what would make room. */
  why: string;
}

export function roomOf(answer: ExplainPlacementResponse | undefined): Room {
  if (!answer) return { fits: undefined, aside: say.asking, why: "" };
  if (answer.fits) {
    // Who may not see the nodes is not told how many there are.
    return { fits: true, aside: answer.nodeName ? say.room(answer.fittingNodes) : say.someRoom, why: "" };
  }
  const [easiest] = answer.remedies;
  return { fits: false, aside: say.noRoom, why: [answer.message, easiest ?? ""].map(sentence).filter(Boolean).join(" ") };
}

/** The first cluster that fits; else the first. */
export function firstFitting(rooms: { id: string; room: Room }[]): string {
  return (rooms.find(({ room }) => room.fits) ?? rooms[0])?.id ?? "";
}
