import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import {
  ProjectEventSchema,
  ProjectServiceStatusSchema,
  ServiceState,
  ProjectEventType as Type,
} from "@/gen/supalove/v1/project_pb";
import { beganAt, seconds, stepsOf, wholeSeconds } from "./setup";

const event = (type: Type, service: string, at: number, percent = 0) =>
  create(ProjectEventSchema, { type, service, percent, time: timestampFromMs(at) });
const service = (name: string, state: ServiceState) => create(ProjectServiceStatusSchema, { name, state });

test("a step knows when it began, when it was ready and how much of its image is there", () => {
  const events = [
    event(Type.PROJECT_PLACED, "", 1_000),
    event(Type.SERVICE_CREATED, "postgres", 2_000),
    event(Type.SERVICE_PULLING, "functions", 3_000, 10),
    event(Type.SERVICE_PULLING, "functions", 4_000, 50),
    event(Type.SERVICE_READY, "postgres", 8_000),
  ];
  const [postgres, functions, gateway] = stepsOf(
    [
      service("gateway", ServiceState.PENDING),
      service("functions", ServiceState.PULLING),
      service("postgres", ServiceState.HEALTHY),
    ],
    events,
  );
  expect(postgres).toMatchObject({ name: "postgres", share: 1, begunAt: 2_000, readyAt: 8_000, pulled: undefined });
  expect(functions).toMatchObject({ name: "functions", share: 0.2, pulled: 0.5, begunAt: 3_000 });
  expect(gateway).toMatchObject({ name: "gateway", share: 0, begunAt: undefined });
  expect(beganAt({}, events)).toBe(1_000);
});

test("a service that failed again after it was ready has no time of being ready", () => {
  const events = [event(Type.SERVICE_READY, "postgres", 8_000)];
  expect(stepsOf([service("postgres", ServiceState.EXITED)], events)[0]?.readyAt).toBeUndefined();
});

test("short spans have a digit behind the point", () => {
  expect(seconds(6_140)).toBe("6.1 s");
  expect(seconds(41_400)).toBe("41 s");
  expect(seconds(-50)).toBe("0.0 s");
  expect(wholeSeconds(6_940)).toBe("6 s");
});
