"use client";

import { Dialog } from "@base-ui/react/dialog";
import { Menu } from "lucide-react";
import { usePathname } from "next/navigation";
import { useEffect, useState } from "react";
import { IconButton } from "@/ui";
import { Sidebar } from "./sidebar";

/** On phones the sidebar is a drawer. */
export function MobileNav() {
  const [open, setOpen] = useState(false);
  const pathname = usePathname();
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new page closes the drawer
  useEffect(() => setOpen(false), [pathname]);
  return (
    <Dialog.Root open={open} onOpenChange={setOpen}>
      <Dialog.Trigger render={<IconButton label="Open navigation" icon={Menu} className="-ml-2 md:hidden" />} />
      <Dialog.Portal>
        <Dialog.Backdrop className="fixed inset-0 z-40 bg-scrim transition-opacity duration-(--slow) data-[ending-style]:opacity-0 data-[starting-style]:opacity-0" />
        <Dialog.Popup className="fixed inset-y-0 left-0 z-40 flex w-70 flex-col bg-canvas px-3 pt-2 pb-3 text-13 shadow-high outline-none transition-[opacity,translate] duration-(--slow) ease-out data-[ending-style]:-translate-x-2 data-[ending-style]:opacity-0 data-[starting-style]:-translate-x-2 data-[starting-style]:opacity-0">
          <Dialog.Title className="sr-only">Navigation</Dialog.Title>
          <Sidebar />
        </Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  );
}
