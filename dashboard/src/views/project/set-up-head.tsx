"use client";

import type { Project } from "@/gen/supalove/v1/project_pb";
import { ServiceState } from "@/gen/supalove/v1/project_pb";
import { barsOf } from "@/lib/heart-bars";
import { sentence } from "@/lib/words";
import { Button, Card, cx, Heart } from "@/ui";
import { messages as say } from "./messages";
import { type Step, wholeSeconds } from "./setup";

interface Props {
  project: Project;
  steps: Step[];
  /** Milliseconds since it was placed. */
  elapsed: number;
  onCancel: (() => void) | undefined;
}

/** How far it is: the heart, a sentence, a segment for each service. */
export function SetUpHead({ project, steps, elapsed, onCancel }: Props) {
  const waits = !project.nodeId;
  const ready = steps.filter(({ state }) => state === ServiceState.HEALTHY).length;
  return (
    <Card className="flex flex-wrap items-center gap-x-5 gap-y-4 p-4 md:flex-nowrap md:gap-7 md:p-7">
      <Heart bars={barsOf(project)} className="w-11 md:w-19" />
      <div className="min-w-0 flex-1 basis-56">
        <h1 className="text-20 font-semibold tracking-title wrap-anywhere">
          {waits ? say.waiting(project.name) : say.settingUp(project.name)}
        </h1>
        <p className="num mt-1 text-14 text-ink-2">
          {waits
            ? `${sentence(project.stateReason) || say.placing} ${project.stateReason && say.waitingHint}`
            : `${steps.length > 0 ? say.ready(ready, steps.length) : ""} ${say.soFar(wholeSeconds(elapsed))}`}
        </p>
        <p role="status" className="sr-only">
          {steps
            .filter(({ state }) => state === ServiceState.HEALTHY)
            .map(({ name }) => `${name} is ready.`)
            .join(" ")}
        </p>
        {steps.length > 0 && (
          <div aria-hidden="true" className="mt-4 flex gap-1">
            {steps.map(({ name, share }) => (
              <div key={name} className="h-1.5 flex-1 overflow-hidden rounded-1 bg-selected">
                <div
                  className={cx(
                    "h-full rounded-1 transition-[width] duration-(--slow)",
                    share === 1 ? "bg-brand-solid" : "bg-busy-dot",
                  )}
                  style={{ width: `${share * 100}%` }}
                />
              </div>
            ))}
          </div>
        )}
      </div>
      {onCancel && (
        <Button onClick={onCancel} className="max-md:w-full">
          {say.cancelSetup}
        </Button>
      )}
    </Card>
  );
}
