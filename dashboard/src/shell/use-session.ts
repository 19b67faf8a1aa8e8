"use client";

import { useSyncExternalStore } from "react";
import { onSession, type SessionState, sessionState } from "@/api/session";

const STARTING = (): SessionState => "starting";

export function useSession(): SessionState {
  return useSyncExternalStore(onSession, sessionState, STARTING);
}

const never = () => () => {};

/** False on the server and at the first render: the exported page does not know its path. */
export function useMounted(): boolean {
  return useSyncExternalStore(
    never,
    () => true,
    () => false,
  );
}
