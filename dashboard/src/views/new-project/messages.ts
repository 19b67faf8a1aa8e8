import { cores, mebibytes } from "@/lib/format";
import { count, list } from "@/lib/words";

export const messages = {
  title: "New project",
  what: "A PostgreSQL database with an API, sign-in, files and functions around it.",
  name: "Name",
  nameHint: "As your members know it. Unique in the organization; you can change it later.",
  nameEmpty: "Enter a name.",
  nameLong: "At most 80 characters.",
  cluster: "Cluster",
  clusterHint: "It stays where it is created.",
  size: "Size",
  sizeHint: "You can change it later; the services whose limits change restart.",
  notInPlan: (plans: string[]) => (plans.length > 0 ? `Needs the plan ${list(plans)}` : "In no plan"),
  gives: (size: { cpuMillis: number; diskMib: number; connections: number }) =>
    `${cores(size.cpuMillis)}, ${mebibytes(size.diskMib)} of disk, ${size.connections} connections`,
  create: (name: string) => (name ? `Create ${name}` : "Create project"),
  cancel: "Cancel",
  summary: "What it reserves",
  asking: "Looking for room",
  room: (nodes: number) => `Room on ${count(nodes, "node")}`,
  someRoom: "Has room",
  noRoom: "No room now.",
  waits: "You can create it nevertheless: it waits until there is room.",
  used: (used: number, limit: number) => `${used} of ${count(limit, "project")} in use.`,
  full: (limit: number, plan: string) => `All ${count(limit, "project")} of the ${plan} plan are in use.`,
  fullRemedy: "Delete a project that nobody needs, or ask for another plan. Deleted ones count until their data is gone.",
  refused: "You can look, but not create projects here",
  refusedWho: "Your role is read only. Owners, administrators and developers create projects.",
  back: "Back to the projects",
  unsure: "The platform did not answer, so we do not know whether the project was created.",
  check: "Check",
  failed: "The clusters and sizes could not be loaded",
};

/** "256 MB of memory, 0.15 cores and 1 GB of disk". */
export function reserved({
  memoryMib,
  cpuMillis,
  diskMib,
}: {
  memoryMib: number;
  cpuMillis: number;
  diskMib: number | bigint;
}) {
  return `${mebibytes(memoryMib)} of memory, ${cores(cpuMillis)} and ${mebibytes(diskMib)} of disk`;
}
