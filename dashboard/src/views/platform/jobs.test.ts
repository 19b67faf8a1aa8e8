import { create } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { expect, it } from "vitest";
import { JobRhythm, JobSchema, JobState } from "@/gen/supalove/v1/platform_pb";
import { byTrouble, jobShown, rhythmOf } from "./jobs";
import { summary } from "./messages";

const period = create(DurationSchema, { seconds: 300n });

it("says when a job runs", () => {
  expect(rhythmOf({ rhythm: JobRhythm.EVERY, period })).toBe("every 5 min");
  expect(rhythmOf({ rhythm: JobRhythm.WOKEN, period })).toBe("on change, at least every 5 min");
  expect(rhythmOf({ rhythm: JobRhythm.ALWAYS, period })).toBe("always");
  expect(rhythmOf({ rhythm: JobRhythm.UNSPECIFIED, period: undefined })).toBe("");
});

it("puts what fails first", () => {
  const job = (name: string, state: JobState) => create(JobSchema, { name, state });
  const sorted = byTrouble([job("a", JobState.OK), job("c", JobState.FAILING), job("b", JobState.OK)]);
  expect(sorted.map(({ name }) => name)).toEqual(["c", "a", "b"]);
});

it("has a word for every state, also for one of a newer server", () => {
  expect(jobShown({ state: JobState.FAILING }).kind).toBe("bad");
  expect(jobShown({ state: 99 as JobState }).word).toBe("State 99");
});

it("sums up", () => {
  expect(summary(27, 0)).toBe("27 background jobs, all do their work.");
  expect(summary(27, 1)).toBe("1 background job of 27 fails.");
});
