/** One line of time of a project: its operations with their events, and the events of none. */

import { type Operation, OperationKind, OperationState } from "@/gen/supalove/v1/operation_pb";
import { type ProjectEvent, ProjectEventType as Type } from "@/gen/supalove/v1/project_pb";
import { isStep } from "@/lib/events";
import { millis } from "@/lib/time";

export type Entry =
  | { kind: "operation"; id: string; time: number; operation: Operation; steps: ProjectEvent[] }
  | { kind: "event"; id: string; time: number; event: ProjectEvent };

/** The entry of the operation says that it has begun and how it ended. */
const TOLD = [Type.OPERATION_STARTED, Type.OPERATION_SUCCEEDED, Type.OPERATION_FAILED, Type.OPERATION_CANCELLED];

/** Newest first. Single steps that belong to no operation are left out: a restart by the engine has many. */
export function lineOf(operations: Operation[], events: ProjectEvent[]): Entry[] {
  const known = new Set(operations.map(({ id }) => id));
  const steps = new Map<string, ProjectEvent[]>();
  for (const event of events) {
    const of = known.has(event.operationId) ? event.operationId : "";
    const list = steps.get(of);
    if (list) list.push(event);
    else steps.set(of, [event]);
  }
  const ofOperations = operations.map(
    (operation): Entry => ({
      kind: "operation",
      id: operation.id,
      time: millis(operation.createTime) ?? 0,
      operation,
      steps: (steps.get(operation.id) ?? []).filter(({ type }) => !TOLD.includes(type)),
    }),
  );
  const others = (steps.get("") ?? [])
    .filter((event) => !isStep(event) && !(TOLD.includes(event.type) && operations.length > 0))
    .map((event): Entry => ({ kind: "event", id: `event-${event.seq}`, time: millis(event.time) ?? 0, event }));
  return [...ofOperations, ...others].sort((one, other) => other.time - one.time);
}

/** The API takes back a creation and a start, and no other operation. */
export function mayCancel({ kind, state }: Pick<Operation, "kind" | "state">): boolean {
  return (
    [OperationKind.CREATE_PROJECT, OperationKind.START_PROJECT].includes(kind) &&
    [OperationState.PENDING, OperationState.RUNNING].includes(state)
  );
}
