"use client";

import { useQuery } from "@tanstack/react-query";
import { auth, organizations } from "../clients";
import { keys } from "../keys";
import { allPages } from "../pages";

export function useMe() {
  return useQuery({ queryKey: keys.me, queryFn: async ({ signal }) => (await auth.getMe({}, { signal })).user! });
}

/** All organizations of the caller. */
export function useOrganizations() {
  return useQuery({
    queryKey: keys.organizations,
    queryFn: ({ signal }) =>
      allPages(async (pageToken) => {
        const page = await organizations.listOrganizations({ pageSize: 100, pageToken }, { signal });
        return { items: page.organizations, next: page.nextPageToken };
      }),
  });
}

export function useOrganization(slug: string) {
  return useQuery({
    queryKey: keys.organization(slug),
    enabled: slug !== "",
    queryFn: async ({ signal }) => (await organizations.getOrganization({ organization: slug }, { signal })).organization!,
  });
}
