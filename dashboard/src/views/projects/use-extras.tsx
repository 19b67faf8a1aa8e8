"use client";

import { useClusters } from "@/api/queries/clusters";
import { useOrganizationUsage } from "@/api/queries/usage";
import type { Project } from "@/gen/supalove/v1/project_pb";
import { bytesOf, percent } from "@/lib/format";
import type { ProjectExtras } from "./types";

/** Where projects run and what they use now, from calls of their own: the cards do not wait for them. */
export function useExtras(slug: string): (project: Project) => ProjectExtras {
  const clusters = useClusters().data;
  const used = useOrganizationUsage(slug).data;
  const names = new Map(clusters?.map(({ id, name }) => [id, name]));
  const now = new Map(used?.projects.map((project) => [project.projectRef, project.current]));
  return (project) => {
    const where = [names.get(project.clusterId), project.size].filter(Boolean).join(" · ");
    const use = now.get(project.ref);
    const { cpuMillis = 0, memoryMib = 0 } = project.resources ?? {};
    if (!use || !cpuMillis || !memoryMib) return { where, use: "" };
    const cpu = percent(Number(use.cpuMillis) / cpuMillis);
    return { where, use: `${cpu} CPU, ${bytesOf(use.memoryBytes, memoryMib * 1024 * 1024)}` };
  };
}
