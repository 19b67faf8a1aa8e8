"use client";

import type { ProjectEvent } from "@/gen/supalove/v1/project_pb";
import { ServiceState } from "@/gen/supalove/v1/project_pb";
import { eventShown } from "@/lib/events";
import { percent } from "@/lib/format";
import { serviceIcon, serviceWhat } from "@/lib/services";
import { serviceShown } from "@/lib/states";
import { exact, millis } from "@/lib/time";
import { Card, CardHead, Icon, Progress, State } from "@/ui";
import { messages as say } from "./messages";
import { type Step, seconds, wholeSeconds } from "./setup";

/** One row a service: what it is for, its state, how long it has taken. */
export function SetUpSteps({ steps, release, now }: { steps: Step[]; release: string; now: number }) {
  return (
    <Card className="min-w-0">
      <CardHead title={say.services}>
        <span className="pr-2 text-12 text-ink-3">{say.release(release)}</span>
      </CardHead>
      <ul aria-label={say.services}>
        {steps.map((step) => (
          <li
            key={step.name}
            className="grid min-h-13 grid-cols-[1rem_minmax(0,1fr)_auto] items-center gap-3 border-b border-line px-4 py-2 text-13 last:border-b-0 md:grid-cols-[1rem_7rem_minmax(0,1fr)_9rem_3rem]"
          >
            <Icon of={serviceIcon(step.name)} className="text-ink-3" />
            <span className="font-medium">{step.name}</span>
            <span className="text-ink-3 max-md:hidden">{step.message || serviceWhat(step.name)}</span>
            <StepState step={step} />
            <span className="num text-right text-ink-2 max-md:hidden">{took(step, now)}</span>
          </li>
        ))}
        {steps.length === 0 && <li className="flex min-h-24 items-center px-4 text-13 text-ink-3">{say.noServices}</li>}
      </ul>
    </Card>
  );
}

function StepState({ step }: { step: Step }) {
  const shown = step.state === ServiceState.HEALTHY ? { ...serviceShown(step.state), word: "Ready" } : serviceShown(step.state);
  if (step.pulled === undefined) return <State of={shown} plain />;
  return (
    <div className="w-28">
      <State of={{ ...shown, word: `${shown.word} ${percent(step.pulled)}` }} plain />
      <Progress label={`Image of ${step.name}`} share={step.pulled} className="mt-1" />
    </div>
  );
}

function took({ begunAt, readyAt }: Step, now: number): string {
  if (begunAt === undefined) return "";
  return readyAt === undefined ? wholeSeconds(now - begunAt) : seconds(readyAt - begunAt);
}

const SHOWN = 40;

/** What happens, newest first, with the seconds since it began. */
export function SetUpEvents({ events, began }: { events: ProjectEvent[]; began: number | undefined }) {
  return (
    <Card className="min-w-0">
      <CardHead title={say.events}>
        <span className="pr-2">
          <State of={{ word: say.live, icon: "spin", kind: "busy" }} plain />
        </span>
      </CardHead>
      <ol aria-label={say.events} className="code max-h-80 overflow-y-auto px-4 py-3 text-13">
        {events
          .slice(-SHOWN)
          .reverse()
          .map((event) => {
            const time = millis(event.time);
            return (
              <li key={String(event.seq)} className="flex gap-3 py-px">
                <span className="w-11 shrink-0 text-ink-3" title={time === undefined ? undefined : exact(time)}>
                  {time !== undefined && began !== undefined && wholeSeconds(time - began)}
                </span>
                <span className="min-w-0 flex-1 wrap-anywhere">{eventShown(event).word}</span>
              </li>
            );
          })}
        {events.length === 0 && <li className="text-ink-3">{say.noEvents}</li>}
      </ol>
    </Card>
  );
}
