"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { Project } from "@/gen/supalove/v1/project_pb";
import { operations, projects } from "../clients";
import { keys } from "../keys";
import { uuid } from "../uuid";

/** Deletes the data of a deleted project now, without the rest of its undo window. */
export function usePurgeProject() {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: ({ ref }: Pick<Project, "ref" | "organization">) =>
      projects.deleteProject({ projectRef: ref, undoWindow: { seconds: 0n, nanos: 0 }, requestId: uuid() }),
    onSettled: (_answer, _error, { ref, organization }) => {
      void cache.invalidateQueries({ queryKey: keys.project(ref) });
      void cache.invalidateQueries({ queryKey: keys.projects(organization) });
    },
  });
}

/** Of a creation or a start that is under way. */
export function useCancelOperation(ref: string) {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: (operationId: string) => operations.cancelOperation({ operationId }),
    onSettled: () => {
      void cache.invalidateQueries({ queryKey: keys.operations(ref) });
      void cache.invalidateQueries({ queryKey: keys.project(ref) });
    },
  });
}

/** The secrets of a project. Every call is a row of the audit log. */
export const revealSecrets = (projectRef: string) => projects.revealProjectSecrets({ projectRef });
