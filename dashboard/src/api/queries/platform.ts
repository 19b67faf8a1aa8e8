"use client";

import { useQuery } from "@tanstack/react-query";
import { platform } from "../clients";
import { keys } from "../keys";

/** What the background jobs last did; for the operator. */
export function useJobs() {
  return useQuery({
    queryKey: keys.jobs,
    queryFn: async ({ signal }) => (await platform.listJobs({}, { signal })).jobs,
  });
}
