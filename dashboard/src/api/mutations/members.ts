"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { Member, Role } from "@/gen/supalove/v1/organization_pb";
import { invitations, organizations } from "../clients";
import { keys } from "../keys";

/** Fetches again what an act on the people of an organization may have changed. */
function useStale(slug: string) {
  const cache = useQueryClient();
  return () => {
    for (const key of [keys.members, keys.invitations, keys.organization, keys.entitlements]) {
      void cache.invalidateQueries({ queryKey: key(slug) });
    }
  };
}

/** The new role is shown at once; a refusal takes it back. */
export function useUpdateMember(slug: string) {
  const cache = useQueryClient();
  const stale = useStale(slug);
  return useMutation({
    mutationFn: ({ member, role }: { member: Member; role: Role }) =>
      organizations.updateMember({ organization: slug, userId: member.userId, role }),
    onMutate: ({ member, role }) => {
      const before = cache.getQueryData<Member[]>(keys.members(slug));
      cache.setQueryData<Member[]>(keys.members(slug), (list) =>
        list?.map((known) => (known.userId === member.userId ? { ...known, role } : known)),
      );
      return before;
    },
    onError: (_error, _which, before) => cache.setQueryData(keys.members(slug), before),
    onSettled: stale,
  });
}

export function useRemoveMember(slug: string) {
  const stale = useStale(slug);
  return useMutation({
    mutationFn: ({ userId }: Member) => organizations.removeMember({ organization: slug, userId }),
    onSettled: stale,
  });
}

export function useLeaveOrganization(slug: string) {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: () => organizations.leaveOrganization({ organization: slug }),
    onSuccess: () => cache.invalidateQueries({ queryKey: keys.organizations }),
  });
}

export function useResendInvitation(slug: string) {
  const stale = useStale(slug);
  return useMutation({
    mutationFn: (invitationId: string) => invitations.resendInvitation({ organization: slug, invitationId }),
    onSettled: stale,
  });
}

export function useRevokeInvitation(slug: string) {
  const stale = useStale(slug);
  return useMutation({
    mutationFn: (invitationId: string) => invitations.revokeInvitation({ organization: slug, invitationId }),
    onSettled: stale,
  });
}

/** Who was invited, with the token of the link if the platform sends no mail; and who was not, with the error. */
export interface Invited {
  email: string;
  token: string;
  error?: unknown;
}

/** One call each: what is refused for one address does not keep the others from their invitation. */
export function useInvite(slug: string) {
  const stale = useStale(slug);
  return useMutation({
    mutationFn: async ({ emails, role }: { emails: string[]; role: Role }) => {
      const invited: Invited[] = [];
      for (const email of emails) {
        try {
          const { token } = await invitations.createInvitation({ organization: slug, email, role });
          invited.push({ email, token });
        } catch (error) {
          invited.push({ email, token: "", error });
        }
      }
      return invited;
    },
    onSettled: stale,
  });
}
