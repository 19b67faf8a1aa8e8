"use client";

import type { ProjectEvent } from "@/gen/supalove/v1/project_pb";
import { eventShown, isStep } from "@/lib/events";
import { paths } from "@/lib/routes";
import { millis } from "@/lib/time";
import { Card, CardHead, LinkButton, RelativeTime, Skeleton, StateGlyph } from "@/ui";
import { messages as say } from "./messages";

const SHOWN = 7;

/** What happened last to the project as a whole. */
export function Recent({ projectRef, events }: { projectRef: string; events: ProjectEvent[] | undefined }) {
  const newest = events
    ?.filter((event) => !isStep(event))
    .slice(-SHOWN)
    .reverse();
  return (
    <Card className="min-w-0">
      <CardHead title={say.recent}>
        <LinkButton look="ghost" size="small" href={paths.project(projectRef, "activity")}>
          {say.allActivity}
        </LinkButton>
      </CardHead>
      {newest ? (
        <ul aria-label={say.recent} className="px-4 py-2">
          {newest.map((event) => {
            const shown = eventShown(event);
            return (
              <li key={String(event.seq)} className="flex gap-3 py-2 text-13">
                <span className="flex h-5 items-center">
                  <StateGlyph of={shown} />
                </span>
                <span className="min-w-0 flex-1 wrap-anywhere">{shown.word}</span>
                <span className="shrink-0 text-ink-3">
                  <RelativeTime time={millis(event.time)} />
                </span>
              </li>
            );
          })}
          {newest.length === 0 && <li className="py-2 text-13 text-ink-3">{say.noEvents}</li>}
        </ul>
      ) : (
        <div aria-busy="true" className="flex flex-col gap-4 p-4">
          <Skeleton className="h-4" />
          <Skeleton className="h-4 w-3/4" />
          <Skeleton className="h-4 w-5/6" />
        </div>
      )}
    </Card>
  );
}
