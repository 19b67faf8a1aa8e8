"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { organizations } from "../clients";
import { keys } from "../keys";
import { putOrganization } from "../live/feed";

export function useRenameOrganization() {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: ({ slug, name }: { slug: string; name: string }) =>
      organizations.updateOrganization({ organization: slug, name, updateMask: { paths: ["name"] } }),
    onSuccess: ({ organization }) => organization && putOrganization(cache, organization),
  });
}

/** What is cached of it goes with it, so that no page asks for it again. */
export function useDeleteOrganization() {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: (slug: string) => organizations.deleteOrganization({ organization: slug }),
    onSuccess: (_answer, slug) => {
      cache.removeQueries({ queryKey: keys.organization(slug) });
      return cache.invalidateQueries({ queryKey: keys.organizations });
    },
  });
}
