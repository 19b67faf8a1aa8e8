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
