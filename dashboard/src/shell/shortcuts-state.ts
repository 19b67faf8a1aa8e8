"use client";

import { useSyncExternalStore } from "react";

let open = false;
const listeners = new Set<() => void>();

export const openShortcuts = (): void => set(true);
export const closeShortcuts = (): void => set(false);

export function useShortcutsOpen(): boolean {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => open,
    () => false,
  );
}

function set(next: boolean): void {
  open = next;
  for (const listener of listeners) listener();
}
