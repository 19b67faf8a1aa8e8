"use client";

import { useQuery } from "@tanstack/react-query";
import { projects } from "../clients";
import { keys } from "../keys";
import { allPages } from "../pages";

export function useProjectSettings(ref: string) {
  return useQuery({
    queryKey: keys.projectSettings(ref),
    enabled: ref !== "",
    queryFn: async ({ signal }) => (await projects.getProjectSettings({ projectRef: ref }, { signal })).settings!,
  });
}

/** Names and digests; nobody can read a value. */
export function useSecrets(ref: string) {
  return useQuery({
    queryKey: keys.secrets(ref),
    enabled: ref !== "",
    queryFn: ({ signal }) =>
      allPages(async (pageToken) => {
        const page = await projects.listSecrets({ projectRef: ref, pageSize: 100, pageToken }, { signal });
        return { items: page.secrets, next: page.nextPageToken };
      }),
  });
}

export function useVariables(ref: string) {
  return useQuery({
    queryKey: keys.variables(ref),
    enabled: ref !== "",
    queryFn: ({ signal }) =>
      allPages(async (pageToken) => {
        const page = await projects.listVariables({ projectRef: ref, pageSize: 100, pageToken }, { signal });
        return { items: page.variables, next: page.nextPageToken };
      }),
  });
}
