"use client";

import { useQuery, useQueryClient } from "@tanstack/react-query";
import type { Project } from "@/gen/supalove/v1/project_pb";
import { projects } from "../clients";
import { keys } from "../keys";
import { allPages } from "../pages";

/** All projects of an organization, deleted ones too, newest first. */
export function useProjects(slug: string) {
  return useQuery({
    queryKey: keys.projects(slug),
    enabled: slug !== "",
    queryFn: ({ signal }) =>
      allPages(async (pageToken) => {
        const page = await projects.listProjects(
          { organization: slug, pageSize: 100, pageToken, showDeleted: true },
          { signal },
        );
        return { items: page.projects, next: page.nextPageToken };
      }),
  });
}

/** One project; shown at once if a list has it. */
export function useProject(ref: string) {
  const cache = useQueryClient();
  return useQuery<Project>({
    queryKey: keys.project(ref),
    enabled: ref !== "",
    queryFn: async ({ signal }) => (await projects.getProject({ projectRef: ref }, { signal })).project!,
    placeholderData: (): Project | undefined =>
      cache
        .getQueriesData<Project[]>({ queryKey: keys.allProjects })
        .flatMap(([, list]) => list ?? [])
        .find((project) => project.ref === ref),
  });
}

/** The projects of all organizations of the caller, for the search. */
export function useAllProjects() {
  return useQuery({
    queryKey: keys.allProjects,
    queryFn: ({ signal }) =>
      allPages(async (pageToken) => {
        const page = await projects.listProjects({ pageSize: 100, pageToken }, { signal });
        return { items: page.projects, next: page.nextPageToken };
      }),
  });
}
