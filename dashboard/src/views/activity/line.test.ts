import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { OperationKind, OperationSchema, OperationState } from "@/gen/supalove/v1/operation_pb";
import { ProjectEventSchema, ProjectEventType as Type } from "@/gen/supalove/v1/project_pb";
import { lineOf, mayCancel } from "./line";

const operation = (id: string, at: number) => create(OperationSchema, { id, createTime: timestampFromMs(at) });
const event = (seq: bigint, type: Type, at: number, operationId = "") =>
  create(ProjectEventSchema, { seq, type, time: timestampFromMs(at), operationId });

test("an operation has its steps, events of none stand alone, the newest first", () => {
  const line = lineOf(
    [operation("opr_2", 5_000), operation("opr_1", 1_000)],
    [
      event(1n, Type.OPERATION_STARTED, 1_000, "opr_1"),
      event(2n, Type.SERVICE_STARTED, 2_000, "opr_1"),
      event(3n, Type.STATE_CHANGED, 3_000),
      event(4n, Type.SERVICE_READY, 3_500),
      event(5n, Type.SERVICE_FAILED, 6_000),
    ],
  );
  expect(line.map(({ id }) => id)).toEqual(["event-5", "opr_2", "event-3", "opr_1"]);
  const first = line[3];
  expect(first?.kind === "operation" && first.steps.map(({ seq }) => seq)).toEqual([2n]);
});

test("only a creation and a start that are under way can be cancelled", () => {
  expect(mayCancel({ kind: OperationKind.CREATE_PROJECT, state: OperationState.PENDING })).toBe(true);
  expect(mayCancel({ kind: OperationKind.START_PROJECT, state: OperationState.SUCCEEDED })).toBe(false);
  expect(mayCancel({ kind: OperationKind.STOP_PROJECT, state: OperationState.RUNNING })).toBe(false);
});
