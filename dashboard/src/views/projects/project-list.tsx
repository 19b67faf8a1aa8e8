"use client";

import type { Project } from "@/gen/supalove/v1/project_pb";
import { barsOf } from "@/lib/heart-bars";
import { paths } from "@/lib/routes";
import { projectShown } from "@/lib/states";
import { Card, Heart, Link, State, VirtualRows } from "@/ui";
import { besideState } from "./project-card";
import { ProjectMenu } from "./project-menu";
import type { ProjectActs, ProjectExtras } from "./types";

const ROW = 52;
const MANY = 60;
const COLUMNS =
  "grid h-13 items-center gap-3 grid-cols-[minmax(0,1fr)_auto_auto] md:grid-cols-[minmax(0,1fr)_15rem_minmax(0,18rem)_auto]";

interface Props {
  projects: Project[];
  extrasOf: (project: Project) => ProjectExtras;
  acts: ProjectActs | undefined;
}

/** One line a project: a list, since each row is one link. */
export function ProjectList({ projects, extrasOf, acts }: Props) {
  const row = (project: Project) => (
    <div className="relative border-b border-line px-4 text-13 hover:bg-row-hover">
      <div className={COLUMNS}>
        <div className="flex min-w-0 items-center gap-3">
          <Heart bars={barsOf(project)} className="w-6" />
          <div className="min-w-0">
            <Link
              href={paths.project(project.ref)}
              className="block truncate font-medium after:absolute after:inset-0 after:-outline-offset-2"
            >
              {project.name}
            </Link>
            <span className="code block truncate text-12 text-ink-3">{project.ref}</span>
          </div>
        </div>
        <div className="flex min-w-0 items-center gap-2">
          <State of={projectShown(project)} />
          <span className="num truncate text-12 text-ink-3 max-md:hidden">{besideState(project)}</span>
        </div>
        <div className="num min-w-0 truncate text-ink-3 max-md:hidden">
          {[extrasOf(project).where, extrasOf(project).use].filter(Boolean).join(" · ")}
        </div>
        <ProjectMenu project={project} acts={acts} className="relative" />
      </div>
    </div>
  );
  return (
    <Card className="overflow-hidden [&_:last-child>.border-b]:border-b-0">
      {projects.length <= MANY ? (
        projects.map((project) => <div key={project.ref}>{row(project)}</div>)
      ) : (
        <VirtualRows rows={projects.length} height={ROW + 1} row={(index) => row(projects[index]!)} />
      )}
    </Card>
  );
}
