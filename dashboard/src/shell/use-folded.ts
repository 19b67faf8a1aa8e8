"use client";

import { useStored } from "@/lib/stored";

/** Whether the sidebar is folded to its icons; kept per browser. */
export function useFolded(): [boolean, (folded: boolean) => void] {
  const [value, set] = useStored("sidebar", "open");
  return [value === "folded", (folded) => set(folded ? "folded" : "open")];
}
