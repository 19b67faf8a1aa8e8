"use client";

import { useCallback, useSyncExternalStore } from "react";

/**
 * How somebody likes the interface, kept in this browser: theme, grid or list, folded sidebar. Never anything secret, and
 * nothing of the platform's data.
 */
export type Preference = "theme" | "projects-view" | "sidebar" | "letters" | "last-organization" | "recent-projects";

const listeners = new Set<() => void>();

export function stored(name: Preference): string | undefined {
  try {
    return localStorage.getItem(`supalove-${name}`) ?? undefined;
  } catch {
    return undefined;
  }
}

export function store(name: Preference, value: string): void {
  try {
    localStorage.setItem(`supalove-${name}`, value);
  } catch {
    // A browser that keeps nothing shows the defaults next time.
  }
  for (const listener of listeners) listener();
}

export function useStored(name: Preference, otherwise: string): [string, (value: string) => void] {
  const value = useSyncExternalStore(
    subscribe,
    () => stored(name) ?? otherwise,
    () => otherwise,
  );
  return [value, useCallback((next: string) => store(name, next), [name])];
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  addEventListener("storage", listener);
  return () => {
    listeners.delete(listener);
    removeEventListener("storage", listener);
  };
}
