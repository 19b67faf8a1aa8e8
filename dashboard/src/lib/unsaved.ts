"use client";

import { useEffect, useId } from "react";

const dirty = new Set<string>();

/** Whether a form of the page has something unsaved. */
export const isUnsaved = (): boolean => dirty.size > 0;

/** Makes links, and the browser before it closes the page, ask as long as the form has something unsaved. */
export function useUnsaved(isDirty: boolean): void {
  const id = useId();
  useEffect(() => {
    if (!isDirty) return;
    const ask = (event: BeforeUnloadEvent) => event.preventDefault();
    dirty.add(id);
    addEventListener("beforeunload", ask);
    return () => {
      dirty.delete(id);
      removeEventListener("beforeunload", ask);
    };
  }, [id, isDirty]);
}
