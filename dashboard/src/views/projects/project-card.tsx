"use client";

import { Play, RotateCcw } from "lucide-react";
import type { Project } from "@/gen/supalove/v1/project_pb";
import { ServiceState } from "@/gen/supalove/v1/project_pb";
import { barsOf } from "@/lib/heart-bars";
import { paths } from "@/lib/routes";
import { needOf, projectShown } from "@/lib/states";
import { day, millis } from "@/lib/time";
import { Button, Heart, Link, Progress, State } from "@/ui";
import { messages as say } from "./messages";
import { ProjectMenu } from "./project-menu";
import type { ProjectActs, ProjectExtras } from "./types";

interface Props {
  project: Project;
  extras: ProjectExtras;
  /** Undefined for who may only look. */
  acts: ProjectActs | undefined;
}

export function ProjectCard({ project, extras, acts }: Props) {
  const shown = projectShown(project);
  const need = needOf(project);
  return (
    <article className="relative flex h-41 flex-col rounded-3 border border-line bg-surface p-4 hover:border-line-strong hover:shadow-low">
      <div className="flex items-start gap-3">
        <Heart bars={barsOf(project)} className="mt-0.5 w-7.5" />
        <div className="min-w-0 flex-1">
          <h2 className="truncate text-14 font-semibold tracking-name">
            <Link href={paths.project(project.ref)} className="after:absolute after:inset-0 after:rounded-3">
              {project.name}
            </Link>
          </h2>
          <p className="code truncate text-12 text-ink-3">{project.ref}</p>
        </div>
        <ProjectMenu project={project} acts={acts} className="relative -mt-1 -mr-2" />
      </div>
      <div className="mt-3.5 flex min-h-6 min-w-0 items-center gap-2">
        <State of={shown} />
        <span className="num truncate text-12 text-ink-3">{besideState(project)}</span>
      </div>
      <div className="mt-auto flex min-h-8 items-end gap-3 text-12 text-ink-3">
        <Foot project={project} extras={extras} need={need} acts={acts} />
      </div>
    </article>
  );
}

function Foot({ project, extras, need, acts }: Props & { need: ReturnType<typeof needOf> }) {
  if (need === "deleted") {
    const until = millis(project.purgeTime);
    return (
      <>
        <p className="min-w-0 flex-1">
          {until !== undefined && say.kept(day(until, Date.now()))}
          <br />
          {say.thenGone}
        </p>
        {acts && (
          <Button size="small" icon={RotateCcw} className="relative" onClick={() => acts.restore(project)}>
            {say.restore}
          </Button>
        )}
      </>
    );
  }
  if (need === "stopped") {
    return (
      <>
        <p className="min-w-0 flex-1 truncate">
          {extras.where}
          <br />
          {say.dataKept}
        </p>
        {acts && (
          <Button size="small" icon={Play} className="relative" onClick={() => acts.start(project)}>
            {say.start}
          </Button>
        )}
      </>
    );
  }
  if (need === "busy" && project.services.length > 0) {
    const ready = project.services.filter(({ state }) => state === ServiceState.HEALTHY).length;
    return (
      <div className="min-w-0 flex-1">
        <p className="mb-2 truncate">{extras.where}</p>
        <Progress label={say.services(ready, project.services.length)} share={ready / project.services.length} />
      </div>
    );
  }
  return (
    <>
      <p className="num min-w-0 flex-1 truncate">
        {extras.where}
        <br />
        {extras.use}
      </p>
      {extras.spark}
    </>
  );
}

/** What the state's word does not say: which service, how many are ready, since when. */
export function besideState(project: Project): string {
  const need = needOf(project);
  if (need === "trouble") return project.stateReason;
  if (project.services.length === 0 || need === "deleted" || need === "stopped") return "";
  const ready = project.services.filter(({ state }) => state === ServiceState.HEALTHY).length;
  return say.services(ready, project.services.length);
}
