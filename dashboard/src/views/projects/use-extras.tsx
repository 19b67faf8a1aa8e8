"use client";

import { useMemo } from "react";
import { useClusters } from "@/api/queries/clusters";
import { useOrganizationDay, useOrganizationUsage } from "@/api/queries/usage";
import type { Project } from "@/gen/supalove/v1/project_pb";
import type { GetOrganizationUsageSeriesResponse, UsagePoint } from "@/gen/supalove/v1/usage_pb";
import { bytesOf, percent } from "@/lib/format";
import { Spark } from "@/ui";
import type { ProjectExtras } from "./types";

/** Where projects run and what they use now, from calls of their own: the cards do not wait for them. */
export function useExtras(slug: string): (project: Project) => ProjectExtras {
  const clusters = useClusters().data;
  const used = useOrganizationUsage(slug).data;
  const day = useOrganizationDay(slug).data;
  return useMemo(() => {
    const names = new Map(clusters?.map(({ id, name }) => [id, name]));
    const now = new Map(used?.projects.map((project) => [project.projectRef, project.current]));
    const lines = new Map(day?.projects.map(({ projectRef, points }) => [projectRef, coresOf(points, day)]));
    return (project) => {
      const where = [names.get(project.clusterId), project.size].filter(Boolean).join(" · ");
      const use = now.get(project.ref);
      const { cpuMillis = 0, memoryMib = 0 } = project.resources ?? {};
      if (!use || !cpuMillis || !memoryMib) return { where, use: "" };
      const cpu = percent(Number(use.cpuMillis) / cpuMillis);
      const line = lines.get(project.ref);
      return {
        where,
        use: `${cpu} CPU, ${bytesOf(use.memoryBytes, memoryMib * 1024 * 1024)}`,
        spark: line && line.length > 2 && <Spark values={line} most={cpuMillis / 1000 / 2} />,
      };
    };
  }, [clusters, used, day]);
}

/** Cores in use per step, from the first known step to the last; gaps stay gaps. */
function coresOf(points: UsagePoint[], { step }: GetOrganizationUsageSeriesResponse): (number | undefined)[] {
  const length = Number(step?.seconds ?? 0n);
  if (!length || points.length === 0) return [];
  const place = (point: UsagePoint) => Math.round(Number(point.time?.seconds ?? 0n) / length);
  const first = place(points[0]!);
  const values = new Array<number | undefined>(place(points.at(-1)!) - first + 1).fill(undefined);
  for (const point of points) {
    const covered = Number(point.covered?.seconds ?? 0n);
    if (covered > 0) values[place(point) - first] = point.cpuSeconds / covered;
  }
  return values;
}
