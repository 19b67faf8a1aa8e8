"use client";

import { useEffect, useRef, useState } from "react";
import { explain, told } from "@/api/errors";
import { revealSecrets, useCancelOperation } from "@/api/mutations/project";
import { useOperations } from "@/api/queries/project";
import { OperationKind, OperationState } from "@/gen/supalove/v1/operation_pb";
import type { Project, ProjectEvent } from "@/gen/supalove/v1/project_pb";
import { percent } from "@/lib/format";
import { millis } from "@/lib/time";
import { useSeconds } from "@/lib/use-seconds";
import { Card, CardHead, Confirm, Secret, toast } from "@/ui";
import { messages as say } from "./messages";
import { SetUpHead } from "./set-up-head";
import { SetUpEvents, SetUpSteps } from "./set-up-steps";
import { beganAt, seconds, stepsOf } from "./setup";

/** A project that comes up for the first time, live. */
export function SetUp({ project, events, may }: { project: Project; events: ProjectEvent[]; may: boolean }) {
  const now = useSeconds(true);
  const [asks, setAsks] = useState(false);
  const operation = useOperations(project.ref).data?.find(
    ({ kind, state }) =>
      kind === OperationKind.CREATE_PROJECT && [OperationState.PENDING, OperationState.RUNNING].includes(state),
  );
  const cancel = useCancelOperation(project.ref);
  const steps = stepsOf(project.services, events);
  const began = beganAt(project, events);
  const share = steps.length > 0 ? steps.reduce((sum, step) => sum + step.share, 0) / steps.length : 0;
  useEffect(() => {
    document.title = `${percent(share)} · ${project.name} · Supalove`;
  }, [share, project.name]);
  const { name } = project;
  return (
    <div className="mx-auto w-full max-w-292 px-4 pt-5 pb-16 md:px-8 md:pt-8">
      <SetUpHead
        project={project}
        steps={steps}
        elapsed={Math.max(0, now - (began ?? now))}
        onCancel={may && operation ? () => setAsks(true) : undefined}
      />
      <div className="mt-4 grid items-start gap-4 md:mt-6 md:gap-6 lg:grid-cols-[minmax(0,1fr)_23rem]">
        <SetUpSteps steps={steps} release={project.release} now={now} />
        <div className="flex min-w-0 flex-col gap-4 md:gap-6">
          {may && (
            <Card className="min-w-0">
              <CardHead title={say.password} />
              <div className="px-4 py-3 text-13">
                <Secret what="database password" reveal={async () => (await revealSecrets(project.ref)).dbPassword} />
                <p className="mt-2 text-12 text-ink-3">{say.passwordHint}</p>
              </div>
            </Card>
          )}
          <SetUpEvents events={events} began={began} />
        </div>
      </div>
      <Confirm
        open={asks}
        onClose={() => setAsks(false)}
        title={say.cancelTitle(name)}
        description={say.cancelWhat(name)}
        action={say.cancelSetup}
        danger
        busy={cancel.isPending}
        onConfirm={() =>
          operation &&
          cancel.mutate(operation.id, {
            onSuccess: () => toast(say.cancelled(name)),
            onError: (error) => toast(told(explain(error))),
            onSettled: () => setAsks(false),
          })
        }
      />
    </div>
  );
}

/** Says once that a set-up which was seen under way has ended well. */
export function useSaysUp(project: Project | undefined, settingUp: boolean, healthy: boolean): void {
  const seen = useRef<string>(undefined);
  useEffect(() => {
    if (!project) return;
    if (settingUp) seen.current = project.ref;
    else if (healthy && seen.current === project.ref) {
      seen.current = undefined;
      toast(say.isUp(project.name, seconds(Date.now() - (millis(project.createTime) ?? Date.now()))));
    }
  }, [project, settingUp, healthy]);
}
