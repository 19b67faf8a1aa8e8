"use client";

import { Dialog } from "@base-ui/react/dialog";
import { CommandList } from "@/ui";
import { closePalette, usePaletteOpen } from "./palette-state";
import { useSearch } from "./use-search";

/** ⌘K: pages, projects, organizations, acts. */
export function Palette() {
  const open = usePaletteOpen();
  return (
    <Dialog.Root open={open} onOpenChange={(next) => !next && closePalette()}>
      <Dialog.Portal>
        <Dialog.Backdrop className="fixed inset-0 z-50 bg-scrim transition-opacity duration-(--mid) data-[ending-style]:opacity-0 data-[starting-style]:opacity-0" />
        <Dialog.Popup className="floating fixed inset-x-0 top-0 z-50 flex max-h-dvh flex-col overflow-hidden bg-raised shadow-high outline-none transition-opacity duration-(--mid) data-[ending-style]:opacity-0 data-[starting-style]:opacity-0 md:inset-x-auto md:top-[12vh] md:left-1/2 md:max-h-[66vh] md:w-150 md:-translate-x-1/2 md:rounded-4">
          <Dialog.Title className="sr-only">Search or jump to</Dialog.Title>
          <Found />
        </Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

function Found() {
  const commands = useSearch();
  return (
    <CommandList
      large
      label="Search"
      placeholder="Search projects, pages and actions"
      commands={commands}
      empty={(typed) => `Nothing is found for “${typed}”.`}
      onDone={closePalette}
    />
  );
}
