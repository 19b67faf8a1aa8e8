"use client";

import { usePathname, useSearchParams } from "next/navigation";
import { useCallback } from "react";

/** A part of the page's state that lives in the address: a tab, a filter, a sort. The default is not written. */
export function useQueryParam(name: string, otherwise = ""): [string, (value: string) => void] {
  const params = useSearchParams();
  const pathname = usePathname();
  const value = params.get(name) ?? otherwise;
  const set = useCallback(
    (next: string) => {
      const all = new URLSearchParams(location.search);
      if (next === otherwise) all.delete(name);
      else all.set(name, next);
      const query = all.toString();
      history.replaceState(null, "", query ? `${pathname}?${query}` : pathname);
    },
    [name, otherwise, pathname],
  );
  return [value, set];
}
