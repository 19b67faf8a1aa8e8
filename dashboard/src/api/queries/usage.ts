"use client";

import { useQuery } from "@tanstack/react-query";
import { usage } from "../clients";
import { keys } from "../keys";

/** What the projects of an organization use now and in this month. A minute is the shortest step. */
export function useOrganizationUsage(slug: string) {
  return useQuery({
    queryKey: keys.organizationUsage(slug),
    enabled: slug !== "",
    staleTime: 60_000,
    queryFn: ({ signal }) => usage.getOrganizationUsage({ organization: slug }, { signal }),
  });
}

/** How long the cards' lines reach back. */
const DAY = 24 * 3600;

/** What the projects of an organization have used in the last day, step by step. */
export function useOrganizationDay(slug: string) {
  return useQuery({
    queryKey: keys.organizationDay(slug),
    enabled: slug !== "",
    staleTime: 5 * 60_000,
    queryFn: ({ signal }) => {
      const end = BigInt(Math.floor(Date.now() / 1000));
      const startTime = { seconds: end - BigInt(DAY), nanos: 0 };
      return usage.getOrganizationUsageSeries({ organization: slug, startTime }, { signal });
    },
  });
}
