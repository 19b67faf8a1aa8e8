import type { Need } from "@/lib/states";
import { count, list } from "@/lib/words";

export const messages = {
  title: "Projects",
  create: "New project",
  find: "Find a project",
  anyState: "Any state",
  view: "View",
  grid: "Grid",
  list: "List",
  failed: "Projects could not be loaded",
  emptyTitle: "Create your first project",
  empty: "A project is a PostgreSQL database with API, sign-in, files and functions around it.",
  emptyRefused: "Owners, administrators and developers can create projects here.",
  noMatch: (typed: string) => (typed ? `No project is called “${typed}”` : "No project is in this state"),
  clear: "Clear the filter",
  gone: "This organization does not exist, or you are not a member",
  toYours: "Your organizations",
  start: "Start",
  stop: "Stop",
  restore: "Restore",
  copyRef: "Copy reference",
  stopTitle: (name: string) => `Stop ${name}`,
  stopWhat: (name: string) => `${name} stops answering. Its data, address and keys stay.`,
  kept: (until: string) => `Data is kept until ${until}`,
  thenGone: "Then it is gone for good",
  dataKept: "Data and address are kept",
  starting: (name: string) => `${name} is starting`,
  stopping: (name: string) => `${name} is stopping`,
  restoring: (name: string) => `${name} is being restored`,
  services: (ready: number, all: number) => `${ready} of ${all} services`,
};

const NEEDS: [Need, (number: number) => string][] = [
  ["fine", (number) => `${number} healthy`],
  ["busy", (number) => `${number} under way`],
  ["trouble", (number) => (number === 1 ? "1 needs a look" : `${number} need a look`)],
  ["stopped", (number) => `${number} stopped`],
];

/** "5 healthy, 1 under way and 1 needs a look. 7 of 20 projects on the Pro plan." */
export function summary(needs: Need[], used: number, limit: number, plan: string): string {
  const parts = NEEDS.map(([need, say]) => [needs.filter((one) => one === need).length, say] as const)
    .filter(([number]) => number > 0)
    .map(([number, say]) => say(number));
  const quota = `${used} of ${count(limit, "project")}${plan ? ` on the ${plan} plan` : ""}.`;
  const text = list(parts);
  return text ? `${text[0]!.toUpperCase()}${text.slice(1)}. ${quota}` : quota;
}
