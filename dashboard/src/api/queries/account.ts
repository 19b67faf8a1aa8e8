"use client";

import { useQuery } from "@tanstack/react-query";
import { auth, personalAccessTokens } from "../clients";
import { keys } from "../keys";

export function useSessions() {
  return useQuery({
    queryKey: keys.sessions,
    queryFn: async ({ signal }) => (await auth.listSessions({}, { signal })).sessions,
  });
}

export function useTokens() {
  return useQuery({
    queryKey: keys.tokens,
    queryFn: async ({ signal }) => (await personalAccessTokens.listPersonalAccessTokens({}, { signal })).personalAccessTokens,
  });
}

/** Who may sign up, and whether the platform sends mail. */
export function usePolicy() {
  return useQuery({
    queryKey: keys.policy,
    staleTime: 10 * 60_000,
    queryFn: ({ signal }) => auth.getSignUpPolicy({}, { signal }),
  });
}
