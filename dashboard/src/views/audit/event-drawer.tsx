"use client";

import type { AuditEvent } from "@/gen/supalove/v1/audit_pb";
import { exact, millis } from "@/lib/time";
import { CopyButton, Drawer, State } from "@/ui";
import { actOf, credentialOf, hex, outcomeShown } from "./words";

/** A row with all its fields. */
export function EventDrawer({ event, name, onClose }: { event: AuditEvent; name: string | undefined; onClose: () => void }) {
  const time = millis(event.time);
  const fields: [string, string][] = [
    ["When", time === undefined ? "" : exact(time)],
    ["Who", name ?? ""],
    ["Actor", event.actor],
    ["Showed", credentialOf(event)],
    ["Token", event.personalAccessTokenId],
    ["Method", event.method],
    ["Object", event.target],
    ["Address", event.clientAddress],
    ["Trace", event.traceId],
    ["Row", event.id],
    ["Place in the chain", event.sequence > 0n ? String(event.sequence) : "Not chained yet"],
    ["Hash", hex(event.chainHash)],
  ];
  return (
    <Drawer open onClose={onClose} title={actOf(event.method)}>
      <div>
        <State of={outcomeShown(event.outcome)} />
      </div>
      <dl className="border-t border-line text-13">
        {fields
          .filter(([, value]) => value)
          .map(([label, value]) => (
            <div key={label} className="flex min-h-10 items-center gap-3 border-b border-line py-1.5 last:border-b-0">
              <dt className="w-32 shrink-0 text-ink-2">{label}</dt>
              <dd className="num min-w-0 flex-1 wrap-anywhere">{value}</dd>
              {CODES.has(label) && <CopyButton value={value} what={label.toLowerCase()} />}
            </div>
          ))}
      </dl>
    </Drawer>
  );
}
const CODES = new Set(["Actor", "Token", "Method", "Object", "Trace", "Row", "Hash"]);
