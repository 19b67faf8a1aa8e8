import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { ExplainPlacementResponseSchema } from "@/gen/supalove/v1/project_pb";
import { firstFitting, roomOf } from "./rooms";

const answer = (values: object) => create(ExplainPlacementResponseSchema, values);

test("a cluster with room says on how many nodes, if that may be known", () => {
  expect(roomOf(answer({ fits: true, nodeName: "fra-1", fittingNodes: 2 })).aside).toBe("Room on 2 nodes");
  expect(roomOf(answer({ fits: true })).aside).toBe("Has room");
});

test("a full cluster says why, and what would help", () => {
  const room = roomOf(
    answer({ fits: false, message: "1 node lacks memory", remedies: ["free 200 MiB on fra-1", "add a node"] }),
  );
  expect(room).toEqual({ fits: false, aside: "No room now.", why: "1 node lacks memory. Free 200 MiB on fra-1." });
});

test("a cluster with room is chosen before others", () => {
  const room = (fits: boolean | undefined) => ({ fits, aside: "", why: "" });
  expect(
    firstFitting([
      { id: "a", room: room(false) },
      { id: "b", room: room(true) },
    ]),
  ).toBe("b");
  expect(
    firstFitting([
      { id: "a", room: room(undefined) },
      { id: "b", room: room(false) },
    ]),
  ).toBe("a");
  expect(firstFitting([])).toBe("");
});
