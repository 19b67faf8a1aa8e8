import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { ProjectEventSchema, ProjectState, ProjectEventType as Type } from "@/gen/supalove/v1/project_pb";
import { eventShown, isStep } from "./events";

const event = (values: object) => create(ProjectEventSchema, values);

test("a change of the state is told by the state's word, a failure by its message", () => {
  const changed = event({ type: Type.STATE_CHANGED, state: ProjectState.ACTIVE_HEALTHY, message: "ACTIVE_HEALTHY" });
  expect(eventShown(changed)).toMatchObject({ word: "Healthy", kind: "ok" });
  const failed = event({ type: Type.STATE_CHANGED, state: ProjectState.INIT_FAILED, message: "the image is missing" });
  expect(eventShown(failed)).toMatchObject({ word: "The image is missing", kind: "bad" });
});

test("a pull says how far it is", () => {
  const pulling = event({ type: Type.SERVICE_PULLING, message: "auth: pulling", percent: 62 });
  expect(eventShown(pulling).word).toBe("Auth: pulling, 62 %");
});

test("steps of services are told apart from what happened to the project", () => {
  expect(isStep(event({ type: Type.SERVICE_READY }))).toBe(true);
  expect(isStep(event({ type: Type.SERVICE_FAILED }))).toBe(false);
  expect(isStep(event({ type: Type.OPERATION_SUCCEEDED }))).toBe(false);
});
