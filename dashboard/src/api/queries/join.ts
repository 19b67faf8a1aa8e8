"use client";

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { clusters } from "../clients";
import { keys } from "../keys";
import { readNodes } from "./clusters";

/** A cluster has no stream that tells of a new node: while somebody waits for one, its lists are read again and again. */
const AGAIN = 2_000;

export function useCreateJoinToken(cluster: string) {
  return useMutation({ mutationFn: () => clusters.createJoinToken({ cluster, maxUses: 1 }) });
}

export function useRevokeJoinToken() {
  return useMutation({ mutationFn: (joinTokenId: string) => clusters.revokeJoinToken({ joinTokenId }) });
}

/** How far the host is that joins with the token: how often it was used, and the cluster's nodes. Read only while `waiting`. */
export function useJoining(cluster: string, tokenId: string, waiting: boolean) {
  const cache = useQueryClient();
  return useQuery({
    queryKey: ["joining", cluster, tokenId],
    enabled: tokenId !== "",
    refetchInterval: waiting ? AGAIN : false,
    gcTime: 0,
    queryFn: async ({ signal }) => {
      const [page, nodes] = await Promise.all([
        clusters.listJoinTokens({ cluster, pageSize: 100, showEnded: true }, { signal }),
        readNodes(cluster, signal),
      ]);
      cache.setQueryData(keys.nodes(cluster), nodes);
      return { token: page.joinTokens.find(({ id }) => id === tokenId), nodes };
    },
  });
}
