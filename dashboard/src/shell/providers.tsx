"use client";

import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { type ReactNode, useEffect, useState } from "react";
import { isFinal } from "@/api/errors";
import { feed } from "@/api/live/feed";
import { sayWishes } from "@/api/live/live";
import { onSession, sessionState } from "@/api/session";
import { Toasts } from "@/ui";

/** The cache of the queries, fed by the live stream; the toasts. */
export function Providers({ children }: { children: ReactNode }) {
  const [cache] = useState(newCache);
  useEffect(() => feed(cache), [cache]);
  useEffect(() => {
    let was = sessionState();
    return onSession(() => {
      const is = sessionState();
      if (was === "lost" && is === "in") {
        sayWishes();
        void cache.invalidateQueries();
      }
      if (is === "out") cache.clear();
      was = is;
    });
  }, [cache]);
  return (
    <QueryClientProvider client={cache}>
      {children}
      <Toasts />
    </QueryClientProvider>
  );
}

function newCache(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        // Live events correct what is shown; this is for what has none.
        staleTime: 30_000,
        gcTime: 10 * 60_000,
        retry: (times, error) => times < 2 && !isFinal(error),
        retryDelay: (times) => 400 * 2 ** times,
        refetchOnWindowFocus: true,
        // Browsers say "offline" of a network without internet, where the platform may well be.
        networkMode: "always",
      },
      mutations: { retry: false, networkMode: "always" },
    },
  });
}
