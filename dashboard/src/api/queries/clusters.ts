"use client";

import { useQueries, useQuery } from "@tanstack/react-query";
import { clusters, leftovers } from "../clients";
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

/** The private clusters of an organization. */
export function useOrganizationClusters(organization: string) {
  return useQuery({
    queryKey: keys.organizationClusters(organization),
    enabled: organization !== "",
    queryFn: ({ signal }) =>
      allPages(async (pageToken) => {
        const page = await clusters.listClusters({ organization, pageSize: 100, pageToken }, { signal });
        return { items: page.clusters, next: page.nextPageToken };
      }),
  });
}

/** One cluster, by its id or name. */
export function useCluster(cluster: string) {
  return useQuery({
    queryKey: keys.cluster(cluster),
    enabled: cluster !== "",
    queryFn: async ({ signal }) => (await clusters.getCluster({ cluster }, { signal })).cluster!,
  });
}

/** The nodes of a cluster, revoked ones too. */
export function useNodes(cluster: string) {
  return useQuery({
    queryKey: keys.nodes(cluster),
    enabled: cluster !== "",
    queryFn: ({ signal }) => readNodes(cluster, signal),
  });
}

export function readNodes(cluster: string, signal?: AbortSignal) {
  return allPages(async (pageToken) => {
    const page = await clusters.listNodes({ cluster, pageSize: 100, pageToken }, { signal });
    return { items: page.nodes, next: page.nextPageToken };
  });
}

/** What is wrong with the nodes that the caller may see, or with those of one cluster. */
export function useAlarms(cluster = "") {
  return useQuery({
    queryKey: keys.alarmsOf(cluster),
    queryFn: ({ signal }) =>
      allPages(async (pageToken) => {
        const page = await clusters.listAlarms({ cluster, pageSize: 100, pageToken }, { signal });
        return { items: page.alarms, next: page.nextPageToken };
      }),
  });
}

/** What nodes have of projects that no placement puts there. */
export function useLeftovers(nodes: string[]) {
  return useQueries({
    queries: nodes.map((nodeId) => ({
      queryKey: keys.leftovers(nodeId),
      queryFn: ({ signal }: { signal: AbortSignal }) =>
        allPages(async (pageToken) => {
          const page = await leftovers.listLeftovers({ nodeId, pageSize: 100, pageToken }, { signal });
          return { items: page.leftovers, next: page.nextPageToken };
        }),
    })),
    combine: (results) => ({
      rows: results.flatMap(({ data }) => data ?? []),
      error: results.find(({ error, data }) => error && !data)?.error,
    }),
  });
}
