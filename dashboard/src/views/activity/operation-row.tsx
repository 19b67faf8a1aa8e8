"use client";

import type { Operation } from "@/gen/supalove/v1/operation_pb";
import { OperationState } from "@/gen/supalove/v1/operation_pb";
import type { ProjectEvent } from "@/gen/supalove/v1/project_pb";
import { eventShown } from "@/lib/events";
import { operationShown } from "@/lib/states";
import { exact, inWords, millis } from "@/lib/time";
import { sentence } from "@/lib/words";
import { Button, RelativeTime, StateGlyph } from "@/ui";
import { mayCancel } from "./line";
import { kindName, messages as say } from "./messages";

/** An operation: what, how it ended or how far it is, and its steps when it is opened. */
export function OperationRow({
  operation,
  steps,
  onCancel,
}: {
  operation: Operation;
  steps: ProjectEvent[];
  onCancel: ((operation: Operation) => void) | undefined;
}) {
  const { error } = operation;
  const shown = operationShown(operation.state);
  const began = millis(operation.createTime);
  const ended = millis(operation.endTime);
  const running = operation.state === OperationState.RUNNING || operation.state === OperationState.PENDING;
  const told = error ? sentence(error.message) : running ? sentence(operation.statusMessage) : "";
  return (
    <li className="border-b border-line px-4 py-3 text-13 last:border-b-0">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <span className="flex w-4 justify-center">
          <StateGlyph of={shown} />
        </span>
        <span className="font-medium">{kindName(operation.kind)}</span>
        <span className="text-ink-2">{shown.word}</span>
        {ended !== undefined && began !== undefined && (
          <span className="num text-12 text-ink-3 max-md:hidden">{say.took(inWords(ended - began))}</span>
        )}
        <span className="ml-auto flex items-center gap-2 text-ink-3">
          {onCancel && mayCancel(operation) && (
            <Button size="small" onClick={() => onCancel(operation)}>
              {say.cancel}
            </Button>
          )}
          <RelativeTime time={began} />
        </span>
      </div>
      {told && <p className="mt-1 pl-7 text-ink-2 wrap-anywhere">{told}</p>}
      {(steps.length > 0 || (error && error.logTail.length > 0)) && (
        <details className="mt-1 pl-7">
          <summary className="w-fit cursor-pointer rounded-1 text-12 text-ink-3 hover:text-ink">
            {steps.length > 0 ? say.steps(steps.length) : say.details}
          </summary>
          <ol className="mt-2 flex flex-col gap-1">
            {steps.map((step) => (
              <Step key={String(step.seq)} step={step} began={began} />
            ))}
          </ol>
          {error && error.logTail.length > 0 && (
            <>
              <p className="mt-3 mb-1 text-12 font-medium">{say.lastLines(error.service)}</p>
              <pre className="code max-h-64 overflow-auto rounded-2 border border-line bg-sunken p-3 whitespace-pre-wrap wrap-anywhere">
                {error.logTail.join("\n")}
              </pre>
            </>
          )}
        </details>
      )}
    </li>
  );
}

function Step({ step, began }: { step: ProjectEvent; began: number | undefined }) {
  const time = millis(step.time);
  const shown = eventShown(step);
  return (
    <li className="flex gap-3 text-12">
      <span className="num w-14 shrink-0 text-ink-3" title={time === undefined ? undefined : exact(time)}>
        {time !== undefined && began !== undefined && inWords(Math.max(0, time - began))}
      </span>
      <span className="flex h-4 items-center">
        <StateGlyph of={shown} />
      </span>
      <span className="min-w-0 flex-1 text-ink-2 wrap-anywhere">{shown.word}</span>
    </li>
  );
}
