"use client";

import { Copy, Play, RotateCcw, Square } from "lucide-react";
import { type Project, ProjectState } from "@/gen/supalove/v1/project_pb";
import { needOf } from "@/lib/states";
import { ActionsMenu, MenuItem, useCopy } from "@/ui";
import { messages as say } from "./messages";
import type { ProjectActs } from "./types";

/** From these a project can be stopped. */
const UP = [ProjectState.ACTIVE_HEALTHY, ProjectState.ACTIVE_UNHEALTHY, ProjectState.PAUSE_FAILED];

export function ProjectMenu({
  project,
  acts,
  className,
}: {
  project: Project;
  acts: ProjectActs | undefined;
  className?: string;
}) {
  const { copy } = useCopy();
  const need = needOf(project);
  return (
    <ActionsMenu of={project.name} className={className}>
      <MenuItem icon={Copy} onSelect={() => void copy(project.ref)}>
        {say.copyRef}
      </MenuItem>
      {acts && UP.includes(project.state) && (
        <MenuItem icon={Square} onSelect={() => acts.stop(project)}>
          {say.stop}
        </MenuItem>
      )}
      {acts && need === "stopped" && (
        <MenuItem icon={Play} onSelect={() => acts.start(project)}>
          {say.start}
        </MenuItem>
      )}
      {acts && need === "deleted" && (
        <MenuItem icon={RotateCcw} onSelect={() => acts.restore(project)}>
          {say.restore}
        </MenuItem>
      )}
    </ActionsMenu>
  );
}
