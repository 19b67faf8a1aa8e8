"use client";

import type { Operation } from "@/gen/supalove/v1/operation_pb";
import { OperationKind, OperationState } from "@/gen/supalove/v1/operation_pb";
import { type Project, ProjectState as State } from "@/gen/supalove/v1/project_pb";
import { projectShown } from "@/lib/states";
import { exact, inWords, millis } from "@/lib/time";
import { sentence } from "@/lib/words";
import { Notice, RelativeTime, useNow } from "@/ui";
import { ruleName, messages as say } from "./messages";

/** What needs a person, above everything else: a rule that bounds the project, a failure, a deletion with its time. */
export function Trouble({ project, operations }: { project: Project; operations: Operation[] | undefined }) {
  const { kind } = projectShown(project);
  const notices = [
    project.restriction && <Restriction key="restriction" project={project} />,
    project.state === State.INIT_FAILED && <Failure key="failure" project={project} operations={operations} />,
    project.state !== State.INIT_FAILED && (kind === "warn" || kind === "bad") && project.stateReason && (
      <Notice key="reason" kind={kind}>
        {sentence(project.stateReason)}
      </Notice>
    ),
    project.state === State.GOING_DOWN && <Deleted key="deleted" project={project} />,
    project.state === State.REMOVED && <Notice key="removed">{say.removed}</Notice>,
    project.state === State.INACTIVE && <Notice key="stopped">{say.stopped}</Notice>,
    project.knownHoles.length > 0 && (
      <Notice key="holes" kind="warn">
        <p className="font-medium">{say.holes(project.knownHoles.length)}</p>
        {project.knownHoles.map(({ id, text }) => (
          <p key={id}>{sentence(text)}</p>
        ))}
      </Notice>
    ),
  ].filter(Boolean);
  return notices.length > 0 ? <div className="mb-6 flex flex-col gap-2">{notices}</div> : null;
}

function Restriction({ project }: { project: Project }) {
  const { reason, message, remedy, since } = project.restriction!;
  return (
    <Notice kind="warn">
      <p className="font-medium">{ruleName(reason)}</p>
      <p>
        {sentence(message)} {sentence(remedy)}
      </p>
      {since && (
        <p className="text-12 text-ink-2">
          {say.since} <RelativeTime time={millis(since)} />
        </p>
      )}
    </Notice>
  );
}

/** A failed set-up stays on the page: which service, why, and its last lines. */
function Failure({ project, operations }: { project: Project; operations: Operation[] | undefined }) {
  const error = operations?.find(
    ({ kind, state }) =>
      (kind === OperationKind.CREATE_PROJECT || kind === OperationKind.START_PROJECT) && state === OperationState.FAILED,
  )?.error;
  return (
    <Notice kind="bad">
      <p className="font-medium">{say.setupFailed(project.name)}</p>
      <p>{sentence(project.stateReason || error?.message || "")}</p>
      {error && error.logTail.length > 0 && (
        <details className="mt-2">
          <summary className="cursor-pointer font-medium">{say.lastLines(error.service)}</summary>
          <pre className="code mt-2 max-h-64 overflow-auto rounded-2 bg-surface p-3 whitespace-pre-wrap wrap-anywhere">
            {error.logTail.join("\n")}
          </pre>
        </details>
      )}
    </Notice>
  );
}

function Deleted({ project }: { project: Project }) {
  const until = millis(project.purgeTime);
  const now = useNow(until);
  if (until === undefined) return <Notice kind="busy">{say.deletedBeing}</Notice>;
  return (
    <Notice>
      <span className="font-medium">{say.deletedUntil}. </span>
      {say.deletedLeft(inWords(Math.max(0, until - now)), exact(until))}
    </Notice>
  );
}
