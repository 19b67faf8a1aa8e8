"use client";

import { useSyncExternalStore } from "react";

let open = false;
const listeners = new Set<() => void>();

export const openPalette = (): void => set(true);
export const closePalette = (): void => set(false);

export function usePaletteOpen(): boolean {
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
