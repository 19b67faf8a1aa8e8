/** Background jobs as the page shows them. */

import { durationMs } from "@bufbuild/protobuf/wkt";
import { type Job, JobRhythm, JobState } from "@/gen/supalove/v1/platform_pb";
import type { Shown } from "@/lib/states";
import { inWords } from "@/lib/time";
import { messages as say } from "./messages";

const STATES: Record<JobState, Shown> = {
  [JobState.UNSPECIFIED]: { word: "No state", icon: "help", kind: "idle" },
  [JobState.OK]: { word: "Works", icon: "check", kind: "ok" },
  [JobState.FAILING]: { word: "Fails", icon: "fail", kind: "bad" },
  [JobState.NOT_YET_RUN]: { word: "Not yet run", icon: "dashed", kind: "idle" },
  [JobState.GONE]: { word: "Replica gone", icon: "cloud", kind: "idle" },
};

export const jobShown = ({ state }: Pick<Job, "state">): Shown =>
  STATES[state] ?? { word: `State ${state}`, icon: "help", kind: "idle" };

/** "every 5 s", "always". */
export function rhythmOf({ rhythm, period }: Pick<Job, "rhythm" | "period">): string {
  const span = period ? inWords(durationMs(period)) : "";
  if (rhythm === JobRhythm.ALWAYS) return say.always;
  if (!span) return "";
  return rhythm === JobRhythm.WOKEN ? say.woken(span) : say.every(span);
}

/** What fails stands first, then by name. */
export function byTrouble(jobs: Job[]): Job[] {
  const rank = ({ state }: Job) => (state === JobState.FAILING ? 0 : 1);
  return [...jobs].sort((one, other) => rank(one) - rank(other) || one.name.localeCompare(other.name));
}
