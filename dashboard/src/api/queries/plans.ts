"use client";

import { useQuery } from "@tanstack/react-query";
import { plans } from "../clients";
import { keys } from "../keys";

/** They change when the operator edits them. */
const SELDOM = 10 * 60_000;

export function usePlans() {
  return useQuery({
    queryKey: keys.plans,
    staleTime: SELDOM,
    queryFn: async ({ signal }) => (await plans.listPlans({}, { signal })).plans,
  });
}

export function useSizes() {
  return useQuery({
    queryKey: keys.sizes,
    staleTime: SELDOM,
    queryFn: async ({ signal }) => (await plans.listProjectSizes({}, { signal })).sizes,
  });
}
