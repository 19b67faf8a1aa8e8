"use client";

import { useQuery } from "@tanstack/react-query";
import { standingOn } from "../standing";

/** Read anew whenever somebody is about to decide. */
export function useStanding(nodeId: string, act: "remove" | "forget") {
  return useQuery({
    queryKey: ["standing", nodeId, act],
    queryFn: ({ signal }) => standingOn(nodeId, act, signal),
    staleTime: 0,
    gcTime: 0,
    retry: false,
  });
}
