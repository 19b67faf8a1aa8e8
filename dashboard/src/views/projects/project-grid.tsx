"use client";

import type { Project } from "@/gen/supalove/v1/project_pb";
import { useColumns, VirtualRows } from "@/ui";
import { ProjectCard } from "./project-card";
import type { ProjectActs, ProjectExtras } from "./types";

/** From so many on, only the cards in sight exist. */
const MANY = 60;
const CARD = 164;
const GAP = 16;

interface Props {
  projects: Project[];
  extrasOf: (project: Project) => ProjectExtras;
  acts: ProjectActs | undefined;
}

export function ProjectGrid({ projects, extrasOf, acts }: Props) {
  const { box, columns } = useColumns(336, GAP);
  const card = (project: Project) => <ProjectCard key={project.ref} project={project} extras={extrasOf(project)} acts={acts} />;
  if (projects.length <= MANY) {
    return (
      <div className="grid grid-cols-[repeat(auto-fill,minmax(min(21rem,100%),1fr))] gap-3 md:gap-4">{projects.map(card)}</div>
    );
  }
  return (
    <div ref={box}>
      <VirtualRows
        rows={Math.ceil(projects.length / columns)}
        height={CARD + GAP}
        row={(index) => (
          <div className="grid gap-4" style={{ gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))` }}>
            {projects.slice(index * columns, (index + 1) * columns).map(card)}
          </div>
        )}
      />
    </div>
  );
}
