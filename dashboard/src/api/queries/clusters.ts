"use client";

import { useQuery } from "@tanstack/react-query";
import { clusters } from "../clients";
import { keys } from "../keys";
import { allPages } from "../pages";

/** The clusters that the caller may see. */
export function useClusters() {
  return useQuery({
    queryKey: keys.clusters,
    queryFn: ({ signal }) =>
      allPages(async (pageToken) => {
        const page = await clusters.listClusters({ pageSize: 100, pageToken }, { signal });
        return { items: page.clusters, next: page.nextPageToken };
      }),
  });
}
