"use client";

import { useQueries } from "@tanstack/react-query";
import type { Cluster } from "@/gen/supalove/v1/cluster_pb";
import { projects } from "../clients";

/** Where a new project of this size would be placed, for each cluster. It changes with every project, so it is not kept. */
export function usePlacements(organization: string, clusters: Cluster[], size: string) {
  return useQueries({
    queries: clusters.map(({ id }) => ({
      queryKey: ["placement", organization, id, size],
      enabled: size !== "",
      staleTime: 0,
      queryFn: ({ signal }: { signal: AbortSignal }) =>
        projects.explainPlacement({ organization, cluster: id, size }, { signal }),
    })),
  });
}
