"use client";

import { useQuery } from "@tanstack/react-query";
import { plans } from "../clients";
import { keys } from "../keys";

/** What an organization may use, and how much of it is in use. */
export function useEntitlements(slug: string) {
  return useQuery({
    queryKey: keys.entitlements(slug),
    enabled: slug !== "",
    queryFn: async ({ signal }) => (await plans.getEntitlements({ organization: slug }, { signal })).entitlements!,
  });
}
