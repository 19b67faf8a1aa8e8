"use client";

import { useEffect, useSyncExternalStore } from "react";
import { type Connection, currentConnection, onConnection, watch } from "./live";
import type { Subject } from "./protocol";

/** Keeps these objects live while the component is there; their queries get every change. Empty values are left out. */
export function useWatch(...subjects: Subject[]): void {
  const wanted = JSON.stringify(subjects.filter(({ value }) => value !== ""));
  useEffect(() => {
    const ends = (JSON.parse(wanted) as Subject[]).map(watch);
    return () => {
      for (const end of ends) end();
    };
  }, [wanted]);
}

const STANDS: Connection = { stands: true };

export function useConnection(): Connection {
  return useSyncExternalStore(onConnection, currentConnection, () => STANDS);
}
