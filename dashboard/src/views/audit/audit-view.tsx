"use client";

import { durationMs } from "@bufbuild/protobuf/wkt";
import { Download, ScrollText } from "lucide-react";
import { useRouter, useSearchParams } from "next/navigation";
import { useEffect, useMemo, useState } from "react";
import { explain, told } from "@/api/errors";
import { exportAuditEvents, type Scope, useAuditEvents } from "@/api/queries/audit";
import type { AuditEvent } from "@/gen/supalove/v1/audit_pb";
import { Button, EmptyState, ErrorState, Field, Input, Menu, MenuItem, Notice, Page, Select, Skeleton, toast } from "@/ui";
import { EventDrawer } from "./event-drawer";
import { EventList } from "./event-list";
import { filterOf, isFiltered, NO_FILTER, type Shape, searchOf, shapeOf } from "./filter";
import { messages as say } from "./messages";

interface Props {
  scope: Scope;
  /** Title of the tab. */
  tab: string;
  /** Who may be chosen, and how they are called. */
  people: { id: string; name: string }[];
}

/** The log of an organization or of the platform. Its filter is in the address. */
export function AuditView({ scope, tab, people }: Props) {
  const router = useRouter();
  const shape = shapeOf(useSearchParams().toString());
  const [opened, setOpened] = useState<AuditEvent>();
  // Of the filter's first use: a range that moves with the clock would never be the same query twice.
  const key = searchOf(shape);
  const filter = useMemo(() => filterOf(shapeOf(key), Date.now()), [key]);
  const events = useAuditEvents(scope, filter, { key });
  const names = useMemo(() => new Map(people.map(({ id, name }) => [id, name])), [people]);
  const rows = events.data?.pages.flatMap((page) => page.events);
  const retention = events.data?.pages[0]?.retention;
  const set = (next: Partial<Shape>) => router.replace(searchOf({ ...shape, ...next }) || "?", { scroll: false });
  return (
    <Page
      title={say.title}
      tab={tab}
      description={retention ? say.kept(durationMs(retention)) : <Skeleton className="h-5 w-80" />}
      actions={<Export scope={scope} filter={filter} />}
    >
      <div className="mb-4 grid grid-cols-2 gap-2 md:flex md:flex-wrap">
        <TypedFilter
          label={say.act}
          placeholder={say.actPlaceholder}
          value={shape.method}
          onSet={(method) => set({ method })}
        />
        <TypedFilter
          label={say.target}
          placeholder={say.targetPlaceholder}
          value={shape.target}
          onSet={(target) => set({ target })}
        />
        {people.length > 0 && (
          <Select
            label={say.who}
            value={shape.actor}
            onChange={(actor) => set({ actor })}
            options={[{ value: "", label: say.anyone }, ...people.map(({ id, name }) => ({ value: id, label: name }))]}
          />
        )}
        <Select
          label={say.outcome}
          value={shape.outcome}
          onChange={(outcome) => set({ outcome })}
          options={[
            { value: "", label: say.any },
            { value: "OK", label: say.done },
            { value: "PermissionDenied", label: say.denied },
          ]}
        />
        <Select
          label={say.range}
          value={shape.range}
          onChange={(range) => set({ range })}
          options={[
            { value: "", label: say.ever },
            ...[1, 7, 30].map((days) => ({ value: String(days), label: say.days(days) })),
          ]}
        />
        {isFiltered(shape) && (
          <Button look="ghost" onClick={() => set(NO_FILTER)}>
            {say.clear}
          </Button>
        )}
      </div>
      {events.error && !rows ? (
        <ErrorState title={say.failed} error={events.error} onRetry={() => void events.refetch()} />
      ) : rows?.length === 0 ? (
        <EmptyState
          title={say.none}
          icon={ScrollText}
          action={isFiltered(shape) && <Button onClick={() => set(NO_FILTER)}>{say.clear}</Button>}
        >
          {say.noneWhat}
        </EmptyState>
      ) : (
        <EventList events={rows} nameOf={(actor) => names.get(actor)} onOpen={setOpened} />
      )}
      {events.hasNextPage && (
        <div className="mt-4 flex justify-center">
          <Button busy={events.isFetchingNextPage} onClick={() => void events.fetchNextPage()}>
            {say.older}
          </Button>
        </div>
      )}
      {opened && <EventDrawer event={opened} name={names.get(opened.actor)} onClose={() => setOpened(undefined)} />}
    </Page>
  );
}

/** Filters when it is left or Enter is pressed: the server compares whole words. */
function TypedFilter({
  label,
  placeholder,
  value,
  onSet,
}: {
  label: string;
  placeholder: string;
  value: string;
  onSet: (value: string) => void;
}) {
  const [typed, setTyped] = useState(value);
  useEffect(() => setTyped(value), [value]);
  const take = () => typed.trim() !== value && onSet(typed.trim());
  return (
    <Field label={label} hideLabel className="max-md:col-span-2 md:w-56">
      <Input
        placeholder={placeholder}
        value={typed}
        autoComplete="off"
        autoCapitalize="off"
        spellCheck={false}
        onChange={(event) => setTyped(event.target.value)}
        onBlur={take}
        onKeyDown={(event) => event.key === "Enter" && take()}
      />
    </Field>
  );
}

function Export({ scope, filter }: { scope: Scope; filter: ReturnType<typeof filterOf> }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const run = async (form: "csv" | "jsonl") => {
    setBusy(true);
    setProblem("");
    try {
      save(await exportAuditEvents(scope, filter, form), `audit-${scope || "platform"}.${form}`);
      toast(say.exported);
    } catch (error) {
      setProblem(`${say.exportFailed} ${told(explain(error))}`);
    } finally {
      setBusy(false);
    }
  };
  return (
    <div className="flex flex-col items-end gap-2">
      <Menu
        trigger={
          <Button icon={Download} busy={busy} className="max-md:w-full">
            {say.export}
          </Button>
        }
      >
        <MenuItem onSelect={() => void run("csv")}>{say.csv}</MenuItem>
        <MenuItem onSelect={() => void run("jsonl")}>{say.jsonl}</MenuItem>
      </Menu>
      {problem && (
        <div role="alert">
          <Notice kind="bad">{problem}</Notice>
        </div>
      )}
    </div>
  );
}

function save(file: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  // The browser has taken the file by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
