/** What projects reserve of a cluster or a node, as its pages show it. */

import type { NodeResources } from "@/gen/supalove/v1/cluster_pb";
import { bytesOf } from "./format";
import { grouped } from "./words";

export interface Reserved {
  id: "cpu" | "memory" | "disk" | "slots";
  label: string;
  used: number;
  limit: number;
  /** "28.4 of 64 cores". */
  text: string;
}

const MIB = 1024 * 1024;

type Amounts = Pick<NodeResources, "cpuMillis" | "memoryMib" | "diskMib" | "slots">;

export function reservedOf(used: Amounts | undefined, capacity: Amounts | undefined): Reserved[] {
  const cpu = [used?.cpuMillis ?? 0, capacity?.cpuMillis ?? 0] as const;
  const memory = [used?.memoryMib ?? 0, capacity?.memoryMib ?? 0] as const;
  const disk = [Number(used?.diskMib ?? 0), Number(capacity?.diskMib ?? 0)] as const;
  const slots = [used?.slots ?? 0, capacity?.slots ?? 0] as const;
  const cores = (millis: number) => String(Number((millis / 1000).toFixed(1)));
  return [
    { id: "cpu", label: "CPU", used: cpu[0], limit: cpu[1], text: `${cores(cpu[0])} of ${cores(cpu[1])} cores` },
    { id: "memory", label: "Memory", used: memory[0], limit: memory[1], text: bytesOf(memory[0] * MIB, memory[1] * MIB) },
    { id: "disk", label: "Disk", used: disk[0], limit: disk[1], text: bytesOf(disk[0] * MIB, disk[1] * MIB) },
    {
      id: "slots",
      label: "Project slots",
      used: slots[0],
      limit: slots[1],
      text: `${grouped(slots[0])} of ${grouped(slots[1])}`,
    },
  ];
}

/** Used of the limit, at most 1; something of nothing is full. */
export const shareOf = (used: number, limit: number): number => (limit > 0 ? Math.min(1, used / limit) : used > 0 ? 1 : 0);
