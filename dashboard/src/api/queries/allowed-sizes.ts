"use client";

import { useQuery } from "@tanstack/react-query";
import { Entitlement } from "@/gen/supalove/v1/plan_pb";
import { plans } from "../clients";
import { keys } from "../keys";

/** Names of the sizes that an organization's projects may have, overrides included. */
export function useAllowedSizes(slug: string) {
  return useQuery({
    queryKey: [...keys.entitlements(slug), "sizes"],
    enabled: slug !== "",
    queryFn: async ({ signal }) => {
      const { entitlements } = await plans.getEntitlements({ organization: slug }, { signal });
      const sizes = entitlements?.entitlements.find(({ entitlement }) => entitlement === Entitlement.PROJECT_SIZES);
      return sizes?.limit?.kind.case === "sizes" ? sizes.limit.kind.value.names : [];
    },
  });
}
