"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { Leftover } from "@/gen/supalove/v1/leftover_pb";
import { clusters, leftovers } from "../clients";
import { keys } from "../keys";
import { uuid } from "../uuid";

/** Fetches again what an act on a node may have changed. */
function useStale() {
  const cache = useQueryClient();
  return () => {
    for (const key of [["nodes"], ["leftovers"], keys.clusters, keys.alarms]) {
      void cache.invalidateQueries({ queryKey: key });
    }
  };
}

function useNodeAct<Which>(run: (which: Which) => Promise<unknown>) {
  const stale = useStale();
  return useMutation({ mutationFn: run, onSettled: stale });
}

export const useCordonNode = () => useNodeAct((nodeId: string) => clusters.cordonNode({ nodeId }));
export const useUncordonNode = () => useNodeAct((nodeId: string) => clusters.uncordonNode({ nodeId }));
export const useDrainNode = () => useNodeAct((nodeId: string) => clusters.drainNode({ nodeId }));

/** The projects that stand on the node must all be named. */
interface WithProjects {
  nodeId: string;
  projects: string[];
}
export const useRemoveNode = () =>
  useNodeAct(({ nodeId, projects }: WithProjects) => clusters.removeNode({ nodeId, abandonProjects: projects }));
export const useForgetNode = () =>
  useNodeAct(({ nodeId, projects }: WithProjects) => clusters.forgetNode({ nodeId, lostProjects: projects }));

export const useAdoptLeftover = () =>
  useNodeAct(({ nodeId, projectRef }: Pick<Leftover, "nodeId" | "projectRef">) =>
    leftovers.adoptLeftover({ nodeId, projectRef }),
  );
export const useDeleteLeftover = () =>
  useNodeAct(({ nodeId, projectRef }: Pick<Leftover, "nodeId" | "projectRef">) =>
    leftovers.deleteLeftover({ nodeId, projectRef }),
  );

export interface NewCluster {
  name: string;
  region: string;
  /** Slug of its owner; empty for a shared one. */
  organization: string;
}
export const useCreateCluster = () =>
  useNodeAct(({ name, region, organization }: NewCluster) =>
    clusters.createCluster({ name, region, organization, requestId: uuid() }),
  );
export const useDeleteCluster = () => useNodeAct((cluster: string) => clusters.deleteCluster({ cluster }));
