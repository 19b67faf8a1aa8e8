"use client";

import { useEffect, useSyncExternalStore } from "react";

let crumb = "";
const listeners = new Set<() => void>();

/** The last part of the breadcrumb, set by a page that is below one of the sidebar's: "New project", a node's name. */
export function useSetCrumb(label: string): void {
  useEffect(() => {
    set(label);
    return () => set("");
  }, [label]);
}

export function useCrumb(): string {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => crumb,
    () => "",
  );
}

function set(label: string): void {
  crumb = label;
  for (const listener of listeners) listener();
}
