/** What tabs and the hub of the live stream say to each other. */

/** One object to watch, as `WatchSubscription.stream`. */
export type Subject =
  | { case: "organization"; value: string }
  | { case: "projectRef"; value: string }
  | { case: "nodeId"; value: string };

/** `now`: do not wait for the next attempt. */
export type ToHub = { kind: "want"; tab: string; subjects: Subject[] } | { kind: "now" };

export type FromHub =
  /** A hub has begun: tell it what you want. */
  | { kind: "hub" }
  /** A WatchResponse. */
  | { kind: "message"; key: string; bytes: Uint8Array }
  | { kind: "stands" }
  | { kind: "broken"; retryAt: number };

export const CHANNEL = "supalove-live";
/** Whoever holds it runs the hub. */
export const HUB_LOCK = "supalove-live";

export const subjectKey = (subject: Subject): string => `${subject.case}:${subject.value}`;
export const tabLock = (tab: string): string => `supalove-tab-${tab}`;
