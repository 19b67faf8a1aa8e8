"use client";

import { usePathname, useRouter } from "next/navigation";
import { useEffect, useRef } from "react";
import { placeOf } from "@/lib/routes";
import { useStored } from "@/lib/stored";
import { Dialog, Kbd } from "@/ui";
import { isModified, modifier } from "./keys";
import { groupsOf, hrefOf } from "./nav";
import { closePalette, openPalette, usePaletteOpen } from "./palette-state";
import { closeShortcuts, openShortcuts, useShortcutsOpen } from "./shortcuts-state";
import { useFolded } from "./use-folded";

/** After G: the page of this name in the space where one is. */
const LETTERS: Record<string, string> = {
  p: "Projects",
  o: "Overview",
  l: "Logs",
  m: "Metrics",
  s: "Settings",
  a: "Activity",
  n: "Members",
};
/** How long the letter after G may take. */
const PAUSE = 1_200;

/** The keys that act everywhere, and their list. */
export function Shortcuts() {
  const router = useRouter();
  const pathname = usePathname();
  const [folded, setFolded] = useFolded();
  const [letters] = useStored("letters", "on");
  const palette = usePaletteOpen();
  const waits = useRef(0);

  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (isModified(event) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        if (palette) closePalette();
        else openPalette();
      } else if (isModified(event) && event.key === "\\") {
        event.preventDefault();
        setFolded(!folded);
      } else if (letters === "on" && !event.metaKey && !event.ctrlKey && !event.altKey && isFree(event.target)) {
        onLetter(event);
      }
    };
    const onLetter = (event: KeyboardEvent) => {
      const key = event.key.toLowerCase();
      if (key === "/") {
        event.preventDefault();
        openPalette();
      } else if (key === "?") openShortcuts();
      else if (key === "g") waits.current = Date.now();
      else if (Date.now() - waits.current < PAUSE) {
        waits.current = 0;
        const place = placeOf(pathname);
        const item = groupsOf(place)
          .flatMap(({ items }) => items)
          .find(({ label }) => label === LETTERS[key]);
        if (item) router.push(hrefOf(place, item.page));
      }
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, [router, pathname, folded, setFolded, letters, palette]);
  return <List letters={letters === "on"} />;
}

/** Single letters act outside of fields and dialogs only. */
function isFree(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return true;
  return !target.closest('input, textarea, select, [contenteditable="true"], [role="dialog"], [role="menu"], [role="listbox"]');
}

function List({ letters }: { letters: boolean }) {
  const open = useShortcutsOpen();
  const rows: [string, string[]][] = [
    ["Search or jump to", [modifier("K"), "/"]],
    ["Fold the sidebar", [modifier("\\")]],
    ["Show the shortcuts", ["?"]],
    ["Close", ["Esc"]],
    ["Projects", ["G P"]],
    ["Members", ["G N"]],
    ["Overview", ["G O"]],
    ["Logs", ["G L"]],
    ["Activity", ["G A"]],
    ["Settings", ["G S"]],
  ];
  return (
    <Dialog
      open={open}
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
