"use client";

import dynamic from "next/dynamic";
import { usePathname, useRouter } from "next/navigation";
import { useEffect, useRef } from "react";
import { placeOf } from "@/lib/routes";
import { useStored } from "@/lib/stored";
import { isModified, LETTERS } from "./keys";
import { groupsOf, hrefOf } from "./nav";
import { closePalette, openPalette, usePaletteOpen } from "./palette-state";
import { openShortcuts, useShortcutsOpen } from "./shortcuts-state";
import { useFolded } from "./use-folded";

const ShortcutList = dynamic(() => import("./shortcut-list").then((module) => module.ShortcutList), { ssr: false });

/** How long the letter after G may take. */
const PAUSE = 1_200;

/** The keys that act everywhere, and their list. */
export function Shortcuts() {
  const router = useRouter();
  const pathname = usePathname();
  const [folded, setFolded] = useFolded();
  const [letters] = useStored("letters", "on");
  const palette = usePaletteOpen();
  const listed = useShortcutsOpen();
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
  return listed ? <ShortcutList letters={letters === "on"} /> : null;
}

/** Single letters act outside of fields and dialogs only. */
function isFree(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return true;
  return !target.closest('input, textarea, select, [contenteditable="true"], [role="dialog"], [role="menu"], [role="listbox"]');
}
