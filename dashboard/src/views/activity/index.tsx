"use client";

import { Activity } from "lucide-react";
import { useMemo, useState } from "react";
import { explain, told } from "@/api/errors";
import { useWatch } from "@/api/live/use-watch";
import { useCancelOperation } from "@/api/mutations/project";
import { useOrganization } from "@/api/queries/organizations";
import { useOperations, useProjectEvents } from "@/api/queries/project";
import { useProject } from "@/api/queries/projects";
import { type Operation, OperationKind } from "@/gen/supalove/v1/operation_pb";
import { eventShown } from "@/lib/events";
import { mayOperate } from "@/lib/roles";
import { useRef } from "@/lib/routes";
import { Button, Card, Confirm, EmptyState, ErrorState, Page, RelativeTime, Skeleton, StateGlyph, toast } from "@/ui";
import { type Entry, lineOf } from "./line";
import { kindName, messages as say } from "./messages";
import { OperationRow } from "./operation-row";

const PAGE = 50;

export function ActivityPage() {
  const ref = useRef();
  useWatch({ case: "projectRef", value: ref });
  const { data: project } = useProject(ref);
  const operations = useOperations(ref);
  const events = useProjectEvents(ref);
  const may = mayOperate(useOrganization(project?.organization ?? "").data?.role);
  const [shown, setShown] = useState(PAGE);
  const [cancels, setCancels] = useState<Operation>();
  const cancel = useCancelOperation(ref);
  const line = useMemo(
    () => operations.data && events.data && lineOf(operations.data, events.data),
    [operations.data, events.data],
  );
  const failed = operations.error ?? events.error;
  const name = project?.name ?? ref;
  return (
    <Page title={say.title} description={say.what} tab={`${say.title} · ${name}`}>
      {!line && failed ? (
        <ErrorState
          title={say.failed}
          error={failed}
          onRetry={() => void Promise.all([operations.refetch(), events.refetch()])}
        />
      ) : !line ? (
        <Card className="flex flex-col gap-5 p-4">
          <div aria-busy="true" className="flex flex-col gap-5">
            {["a", "b", "c", "d"].map((key) => (
              <Skeleton key={key} className="h-5" />
            ))}
          </div>
        </Card>
      ) : line.length === 0 ? (
        <EmptyState title={say.empty} icon={Activity} />
      ) : (
        <Card>
          <ul aria-label={say.title}>
            {line.slice(0, shown).map((entry) => (
              <Row key={entry.id} entry={entry} onCancel={may ? setCancels : undefined} />
            ))}
          </ul>
        </Card>
      )}
      {line && line.length > shown && (
        <Button className="mt-4" onClick={() => setShown(shown + PAGE)}>
          {say.older}
        </Button>
      )}
      <Confirm
        open={cancels !== undefined}
        onClose={() => setCancels(undefined)}
        title={cancels ? say.cancelTitle(kindName(cancels.kind), name) : ""}
        description={cancels?.kind === OperationKind.CREATE_PROJECT ? say.cancelCreate(name) : say.cancelStart(name)}
        action={cancels ? say.cancelTitle(kindName(cancels.kind), name) : ""}
        danger={cancels?.kind === OperationKind.CREATE_PROJECT}
        busy={cancel.isPending}
        onConfirm={() =>
          cancels &&
          cancel.mutate(cancels.id, {
            onSuccess: () => toast(say.cancelled),
            onError: (error) => toast(told(explain(error))),
            onSettled: () => setCancels(undefined),
          })
        }
      />
    </Page>
  );
}

function Row({ entry, onCancel }: { entry: Entry; onCancel: ((operation: Operation) => void) | undefined }) {
  if (entry.kind === "operation") return <OperationRow operation={entry.operation} steps={entry.steps} onCancel={onCancel} />;
  const shown = eventShown(entry.event);
  return (
    <li className="flex items-start gap-3 border-b border-line px-4 py-3 text-13 last:border-b-0">
      <span className="flex h-5 w-4 items-center justify-center">
        <StateGlyph of={shown} />
      </span>
      <span className="min-w-0 flex-1 wrap-anywhere">{shown.word}</span>
      <span className="shrink-0 text-ink-3">
        <RelativeTime time={entry.time} />
      </span>
    </li>
  );
}
