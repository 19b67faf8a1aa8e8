import { describe, expect, it } from "vitest";
import { OperationState } from "@/gen/supalove/v1/operation_pb";
import { ProjectState, ServiceState } from "@/gen/supalove/v1/project_pb";
import { needOf, operationShown, projectShown, projectStateShown, serviceShown } from "./states";

const numbers = (enumeration: object) => Object.values(enumeration).filter((value) => typeof value === "number");
const project = { nodeId: "nod_1", generation: 2n, stateReason: "", purgeTime: undefined, deleteTime: undefined };
const time = { $typeName: "google.protobuf.Timestamp" as const, seconds: 1n, nanos: 0 };

describe("states", () => {
  it("have a word for every number of the API", () => {
    for (const state of numbers(ProjectState)) expect(projectStateShown(state).word).not.toMatch(/^State \d/);
    for (const state of numbers(ServiceState)) expect(serviceShown(state).word).not.toMatch(/^State \d/);
    for (const state of numbers(OperationState)) expect(operationShown(state).word).not.toMatch(/^State \d/);
  });

  it("of a newer server are shown by their number", () => {
    expect(projectStateShown(99 as ProjectState).word).toBe("State 99");
  });

  it("tell a project that is set up from one that starts again, and one without a node", () => {
    const state = ProjectState.COMING_UP;
    expect(projectShown({ ...project, state, generation: 1n }).word).toBe("Setting up");
    expect(projectShown({ ...project, state }).word).toBe("Starting");
    expect(projectShown({ ...project, state, nodeId: "", stateReason: "no node has 2 GB" }).word).toBe("No room");
  });

  it("tell a project that can be restored from one that is being deleted", () => {
    const state = ProjectState.GOING_DOWN;
    expect(projectShown({ ...project, state }).word).toBe("Deleting");
    expect(projectShown({ ...project, state, purgeTime: time }).word).toBe("Deleted");
  });

  it("sort projects by what they need", () => {
    expect(needOf({ ...project, state: ProjectState.ACTIVE_UNHEALTHY })).toBe("trouble");
    expect(needOf({ ...project, state: ProjectState.INACTIVE })).toBe("stopped");
    expect(needOf({ ...project, state: ProjectState.GOING_DOWN, purgeTime: time })).toBe("deleted");
  });
});
