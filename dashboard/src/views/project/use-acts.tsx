"use client";

import { type ReactNode, useState } from "react";
import { explain, told } from "@/api/errors";
import { usePurgeProject } from "@/api/mutations/project";
import {
  useDeleteProject,
  useRestartProject,
  useStartProject,
  useStopProject,
  useUndeleteProject,
} from "@/api/mutations/projects";
import type { Project } from "@/gen/supalove/v1/project_pb";
import { day } from "@/lib/time";
import { Confirm, ConfirmByName, toast } from "@/ui";
import { messages as say } from "./messages";

/** The undo window of the API. */
const WINDOW = 7 * 24 * 60 * 60 * 1000;

export interface Acts {
  start: () => void;
  restore: () => void;
  /** These ask first. */
  stop: () => void;
  restart: () => void;
  remove: () => void;
  purge: () => void;
}

/** What somebody can do with a project, and the dialogs that ask. */
export function useActs(project: Project): { acts: Acts; dialogs: ReactNode } {
  const [asks, setAsks] = useState<"stop" | "restart" | "remove" | "purge">();
  const start = useStartProject();
  const stop = useStopProject();
  const restart = useRestartProject();
  const remove = useDeleteProject();
  const restore = useUndeleteProject();
  const purge = usePurgeProject();
  const { name } = project;
  const close = () => setAsks(undefined);
  const said = (text: string, undo?: () => void) => ({
    onSuccess: () => toast(text, { undo }),
    onError: (error: unknown) => toast(told(explain(error))),
    onSettled: close,
  });
  const acts: Acts = {
    start: () => start.mutate(project, said(say.starting(name))),
    restore: () => restore.mutate(project, said(say.restoring(name))),
    stop: () => setAsks("stop"),
    restart: () => setAsks("restart"),
    remove: () => setAsks("remove"),
    purge: () => setAsks("purge"),
  };
  const dialogs = (
    <>
      <Confirm
        open={asks === "stop"}
        onClose={close}
        title={say.stopTitle(name)}
        description={say.stopWhat(name)}
        action={say.stopTitle(name)}
        busy={stop.isPending}
        onConfirm={() => stop.mutate(project, said(say.stopping(name)))}
      />
      <Confirm
        open={asks === "restart"}
        onClose={close}
        title={say.restartTitle(name)}
        description={say.restartWhat(name)}
        action={say.restartTitle(name)}
        busy={restart.isPending}
        onConfirm={() => restart.mutate(project, said(say.restarting(name)))}
      />
      <ConfirmByName
        open={asks === "remove"}
        onClose={close}
        name={name}
        what="project"
        title={say.deleteTitle(name)}
        description={say.deleteWhat(name, day(Date.now() + WINDOW, Date.now()))}
        action={say.deleteTitle(name)}
        busy={remove.isPending}
        onConfirm={() => remove.mutate(project, said(say.deleting(name), acts.restore))}
      />
      <ConfirmByName
        open={asks === "purge"}
        onClose={close}
        name={name}
        what="project"
        title={say.purgeTitle(name)}
        description={say.purgeWhat(name)}
        action={say.purge}
        busy={purge.isPending}
        onConfirm={() => purge.mutate(project, said(say.purging(name)))}
      />
    </>
  );
  return { acts, dialogs };
}
