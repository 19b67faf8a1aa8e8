"use client";

import type { AuditEvent } from "@/gen/supalove/v1/audit_pb";
import { millis } from "@/lib/time";
import { type Column, RelativeTime, State, Table } from "@/ui";
import { messages as say } from "./messages";
import { actOf, outcomeShown } from "./words";

interface Props {
  events: AuditEvent[] | undefined;
  /** Name of an actor, where it is known. */
  nameOf: (actor: string) => string | undefined;
  onOpen: (event: AuditEvent) => void;
}

export function EventList({ events, nameOf, onOpen }: Props) {
  const columns: Column<AuditEvent>[] = [
    {
      id: "act",
      head: say.act,
      className: "md:w-1/4",
      cell: (event) => (
        <div className="min-w-0">
          <button
            type="button"
            onClick={() => onOpen(event)}
            className="block max-w-full truncate rounded-1 text-left font-medium hover:underline"
          >
            {actOf(event.method)}
          </button>
          <div className="truncate text-12 text-ink-3 md:hidden">
            {nameOf(event.actor) ?? event.actor}, <RelativeTime time={millis(event.time)} />
          </div>
        </div>
      ),
    },
    {
      id: "target",
      head: say.target,
      wide: true,
      className: "max-w-0 md:w-1/4",
      cell: ({ target }) => <div className="code truncate text-12 text-ink-2">{target || "–"}</div>,
    },
    {
      id: "who",
      head: say.who,
      wide: true,
      className: "max-w-0 md:w-1/5",
      cell: ({ actor }) => {
        const name = nameOf(actor);
        return <div className={name ? "truncate" : "code truncate text-12 text-ink-2"}>{name ?? actor}</div>;
      },
    },
    { id: "outcome", head: say.outcome, cell: ({ outcome }) => <State plain of={outcomeShown(outcome)} /> },
    {
      id: "time",
      head: "When",
      wide: true,
      right: true,
      cell: ({ time }) => (
        <span className="text-ink-2">
          <RelativeTime time={millis(time)} />
        </span>
      ),
    },
  ];
  return <Table caption={say.caption} columns={columns} rows={events} rowKey={({ id }) => id} expected={10} />;
}
