"use client";

import { useQuery, useQueryClient } from "@tanstack/react-query";
import type { ProjectEvent } from "@/gen/supalove/v1/project_pb";
import { operations, projects } from "../clients";
import { keys } from "../keys";
import { allPages } from "../pages";

/** What the live stream has brought meanwhile stays. */
function joined(read: ProjectEvent[], live: ProjectEvent[]): ProjectEvent[] {
  const last = read.at(-1)?.seq ?? 0n;
  return [...read, ...live.filter(({ seq }) => seq > last)];
}

/** All events that the platform has of a project, oldest first. */
export function useProjectEvents(ref: string) {
  const cache = useQueryClient();
  return useQuery<ProjectEvent[]>({
    queryKey: keys.projectEvents(ref),
    enabled: ref !== "",
    // The live stream alone knows only what came since it began.
    refetchOnMount: "always",
    queryFn: async ({ signal }) => {
      const read = await allPages(async (pageToken) => {
        const page = await projects.listProjectEvents({ projectRef: ref, pageSize: 1000, pageToken }, { signal });
        return { items: page.events, next: page.nextPageToken };
      });
      return joined(read, cache.getQueryData<ProjectEvent[]>(keys.projectEvents(ref)) ?? []);
    },
  });
}

/** The newest hundred operations of a project, newest first. */
export function useOperations(ref: string) {
  return useQuery({
    queryKey: keys.operations(ref),
    enabled: ref !== "",
    queryFn: async ({ signal }) => (await operations.listOperations({ projectRef: ref, pageSize: 100 }, { signal })).operations,
  });
}

/** Addresses and the public key. They change with the project's node and with a rotation of its keys. */
export function useConnectionOf(ref: string, generation: bigint | undefined, nodeId: string | undefined) {
  return useQuery({
    queryKey: [...keys.project(ref), "connection", String(generation), nodeId],
    enabled: ref !== "" && Boolean(nodeId),
    queryFn: async ({ signal }) => {
      const [connection, { anonKey }] = await Promise.all([
        projects.getProjectConnection({ projectRef: ref }, { signal }),
        projects.getProjectApiKeys({ projectRef: ref }, { signal }),
      ]);
      return { ...connection, anonKey };
    },
  });
}
export type ProjectConnection = NonNullable<ReturnType<typeof useConnectionOf>["data"]>;
