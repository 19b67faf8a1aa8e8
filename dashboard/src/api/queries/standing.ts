"use client";

import { useQuery } from "@tanstack/react-query";
import { clusters } from "../clients";

/** Which projects stand on a node. Read anew whenever somebody is about to decide. */
export function useStanding(nodeId: string) {
  return useQuery({
    queryKey: ["standing", nodeId],
    queryFn: async ({ signal }) => (await clusters.getNode({ nodeId }, { signal })).projects,
    staleTime: 0,
    gcTime: 0,
    retry: false,
  });
}
