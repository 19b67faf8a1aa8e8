"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type Project, ProjectState } from "@/gen/supalove/v1/project_pb";
import { projects } from "../clients";
import { keys } from "../keys";
import { putProject } from "../live/feed";
import { uuid } from "../uuid";

type Which = Pick<Project, "ref" | "organization">;

/**
 * An act on a project. Its new state is shown at once; the live stream makes it true, and a refusal takes it back.
 *
 * The request id belongs to the press of the button, so that a repetition does nothing twice.
 */
function useAct(run: (projectRef: string, requestId: string) => Promise<unknown>, shown: Partial<Project>) {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: ({ ref }: Which) => run(ref, uuid()),
    onMutate: ({ ref, organization }: Which) => {
      const before =
        cache.getQueryData<Project>(keys.project(ref)) ??
        cache.getQueryData<Project[]>(keys.projects(organization))?.find((project) => project.ref === ref);
      if (before) putProject(cache, { ...before, ...shown });
      return before;
    },
    onError: (_error, _which, before) => {
      if (before) putProject(cache, before);
    },
    onSettled: (_answer, _error, { ref, organization }) => {
      void cache.invalidateQueries({ queryKey: keys.project(ref) });
      void cache.invalidateQueries({ queryKey: keys.projects(organization) });
      void cache.invalidateQueries({ queryKey: keys.operations(ref) });
    },
  });
}

export const useStartProject = () =>
  useAct((projectRef, requestId) => projects.startProject({ projectRef, requestId }), { state: ProjectState.COMING_UP });

export const useStopProject = () =>
  useAct((projectRef, requestId) => projects.stopProject({ projectRef, requestId }), { state: ProjectState.PAUSING });

export const useRestartProject = () =>
  useAct((projectRef, requestId) => projects.restartProject({ projectRef, requestId }), { state: ProjectState.RESTARTING });

/** With the API's own undo window. */
export const useDeleteProject = () =>
  useAct((projectRef, requestId) => projects.deleteProject({ projectRef, requestId }), { state: ProjectState.GOING_DOWN });

export const useUndeleteProject = () =>
  useAct((projectRef, requestId) => projects.undeleteProject({ projectRef, requestId }), {
    state: ProjectState.COMING_UP,
    deleteTime: undefined,
    purgeTime: undefined,
  });
