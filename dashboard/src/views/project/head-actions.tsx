"use client";

import { Copy, Play, RotateCcw, RotateCw, Square, Trash2 } from "lucide-react";
import { type Project, ProjectState as State } from "@/gen/supalove/v1/project_pb";
import { ActionsMenu, Button, MenuItem, MenuLine, useCopy } from "@/ui";
import { messages as say } from "./messages";
import type { Acts } from "./use-acts";

/** From which states the API takes which act. */
const STARTS = [State.INACTIVE, State.INIT_FAILED, State.PAUSE_FAILED, State.RESTORE_FAILED];
const STOPS = [State.ACTIVE_HEALTHY, State.ACTIVE_UNHEALTHY, State.COMING_UP, State.RESTARTING, State.UNKNOWN];
const RESTARTS = [State.ACTIVE_HEALTHY, State.ACTIVE_UNHEALTHY, State.UNKNOWN];
const GONE = [State.GOING_DOWN, State.REMOVED];

/** `acts` is undefined for who may only look. */
export function HeadActions({ project, acts }: { project: Project; acts: Acts | undefined }) {
  const { copy } = useCopy();
  const { state } = project;
  const deleted = state === State.GOING_DOWN && project.purgeTime !== undefined;
  return (
    <>
      {acts && STOPS.includes(state) && (
        <Button icon={Square} onClick={acts.stop}>
          {say.stop}
        </Button>
      )}
      {acts && STARTS.includes(state) && (
        <Button look="primary" icon={Play} onClick={acts.start}>
          {state === State.INIT_FAILED ? say.tryAgain : say.start}
        </Button>
      )}
      {acts && deleted && (
        <Button look="primary" icon={RotateCcw} onClick={acts.restore}>
          {say.restore}
        </Button>
      )}
      <ActionsMenu of={project.name} className="max-md:flex-none!">
        <MenuItem icon={Copy} onSelect={() => void copy(project.ref)}>
          {say.copyRef}
        </MenuItem>
        {acts && RESTARTS.includes(state) && (
          <MenuItem icon={RotateCw} onSelect={acts.restart}>
            {say.restart}
          </MenuItem>
        )}
        {acts && !GONE.includes(state) && (
          <>
            <MenuLine />
            <MenuItem icon={Trash2} danger onSelect={acts.remove}>
              {say.remove}
            </MenuItem>
          </>
        )}
        {acts && deleted && (
          <>
            <MenuLine />
            <MenuItem icon={Trash2} danger onSelect={acts.purge}>
              {say.purge}
            </MenuItem>
          </>
        )}
      </ActionsMenu>
    </>
  );
}
