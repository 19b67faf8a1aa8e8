/** The services of a project: their icon and what each is for. */

import { Braces, Database, Folder, type LucideIcon, Radio, Route, Server, Users, Zap } from "lucide-react";

const SERVICES: Record<string, { icon: LucideIcon; what: string }> = {
  postgres: { icon: Database, what: "PostgreSQL, your data" },
  api: { icon: Braces, what: "REST from your schema" },
  auth: { icon: Users, what: "Sign-up and sign-in" },
  realtime: { icon: Radio, what: "Changes over WebSocket" },
  storage: { icon: Folder, what: "Files and images" },
  functions: { icon: Zap, what: "Your code, in Deno" },
  gateway: { icon: Route, what: "One address for all services" },
};

const ORDER = Object.keys(SERVICES);

export const serviceIcon = (name: string): LucideIcon => SERVICES[name]?.icon ?? Server;
export const serviceWhat = (name: string): string => SERVICES[name]?.what ?? "";

/** The database first, the gateway last. */
export function inOrder<Item extends { name: string }>(services: Item[]): Item[] {
  const place = ({ name }: Item) => (ORDER.indexOf(name) + ORDER.length + 1) % (ORDER.length + 1);
  return [...services].sort((one, other) => place(one) - place(other) || one.name.localeCompare(other.name));
}
