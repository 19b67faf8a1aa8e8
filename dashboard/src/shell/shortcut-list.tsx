"use client";

import { Dialog, Kbd } from "@/ui";
import { LETTERS, modifier } from "./keys";
import { ORGANIZATION, PROJECT } from "./nav";
import { closeShortcuts } from "./shortcuts-state";

export function ShortcutList({ letters }: { letters: boolean }) {
  const labels = new Set([...ORGANIZATION, ...PROJECT].flatMap(({ items }) => items).map(({ label }) => label));
  const pages = Object.entries(LETTERS)
    .filter(([, label]) => labels.has(label))
    .map(([letter, label]): [string, string[]] => [label, [`G ${letter.toUpperCase()}`]]);
  const rows: [string, string[]][] = [
    ["Search or jump to", [modifier("K"), "/"]],
    ["Fold the sidebar", [modifier("\\")]],
    ["Show the shortcuts", ["?"]],
    ["Close", ["Esc"]],
    ...pages,
  ];
  return (
    <Dialog
      open
      onClose={closeShortcuts}
      title="Keyboard shortcuts"
      description={letters ? undefined : "Single letters are turned off in your account, under appearance."}
    >
      <dl className="grid grid-cols-[minmax(0,1fr)_auto] gap-y-2 pb-4 text-13">
        {rows.map(([what, keys]) => (
          <div key={what} className="contents">
            <dt>{what}</dt>
            <dd className="flex gap-1">
              {keys.map((key) => (
                <Kbd key={key}>{key}</Kbd>
              ))}
              <span className="sr-only">{keys.join(" or ")}</span>
            </dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
