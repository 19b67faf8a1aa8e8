/** Names of keys on this machine. */

const isApple = (): boolean => typeof navigator !== "undefined" && /Mac|iPhone|iPad/.test(navigator.userAgent);

/** "⌘ K" or "Ctrl K". */
export function modifier(key: string): string {
  return isApple() ? `⌘ ${key}` : `Ctrl ${key}`;
}

/** Whether the modifier of shortcuts is down. */
export function isModified(event: KeyboardEvent): boolean {
  return isApple() ? event.metaKey : event.ctrlKey;
}

/** After G: the page of this name in the space where one is. */
export const LETTERS: Record<string, string> = {
  p: "Projects",
  o: "Overview",
  l: "Logs",
  m: "Metrics",
  s: "Settings",
  a: "Activity",
  n: "Members",
};
