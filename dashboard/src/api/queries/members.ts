"use client";

import { useQuery } from "@tanstack/react-query";
import { invitations, organizations } from "../clients";
import { keys } from "../keys";
import { allPages } from "../pages";

export function useMembers(slug: string) {
  return useQuery({
    queryKey: keys.members(slug),
    enabled: slug !== "",
    queryFn: ({ signal }) =>
      allPages(async (pageToken) => {
        const page = await organizations.listMembers({ organization: slug, pageSize: 100, pageToken }, { signal });
        return { items: page.members, next: page.nextPageToken };
      }),
  });
}

/** Open invitations, expired ones too; for owners and administrators. */
export function useInvitations(slug: string, may: boolean) {
  return useQuery({
    queryKey: keys.invitations(slug),
    enabled: slug !== "" && may,
    queryFn: ({ signal }) =>
      allPages(async (pageToken) => {
        const page = await invitations.listInvitations({ organization: slug, pageSize: 100, pageToken }, { signal });
        return { items: page.invitations, next: page.nextPageToken };
      }),
  });
}
