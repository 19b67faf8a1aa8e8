import { count, list } from "@/lib/words";

export const messages = {
  title: "Settings",
  description: "The name is shown to all members. The address stays.",
  failed: "The organization could not be loaded",
  general: "General",
  generalWhat: "How the organization is called.",
  name: "Name",
  nameHint: "1 to 80 characters. Nothing restarts.",
  nameNone: "Enter a name.",
  slug: "Address",
  slugHint: "Its id everywhere, in addresses and on the command line. It never changes.",
  save: "Save",
  saved: (name: string) => `The organization is called ${name}`,
  readOnly: "Owners and administrators can change this.",
  danger: "Delete organization",
  dangerWhat: "Only an organization without projects and clusters can be deleted.",
  delete: "Delete organization",
  deleteTitle: (name: string) => `Delete ${name}`,
  deleteWhat: (name: string) =>
    `${name} is gone for good, with its members and invitations. Its audit log stays with the platform. Its address is free again.`,
  deleted: (name: string) => `${name} is deleted`,
  empty: "It has no projects and no clusters of its own.",
  ownersOnly: "Only owners can delete the organization.",
};

/** Why it cannot be deleted yet; empty if it can. */
export function notEmpty(projects: number, clusters: number): string {
  const there = [projects > 0 && count(projects, "project"), clusters > 0 && count(clusters, "private cluster")].filter(
    (part): part is string => Boolean(part),
  );
  if (there.length === 0) return "";
  return `It still has ${list(there)}. Delete ${projects + clusters === 1 ? "it" : "them"} first; a deleted project counts until its undo window ends.`;
}
