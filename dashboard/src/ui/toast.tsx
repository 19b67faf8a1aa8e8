"use client";

import { Toast as Base } from "@base-ui/react/toast";
import { CircleCheck, TriangleAlert, X } from "lucide-react";
import { Button, IconButton } from "./button";
import { Icon } from "./icon";

const manager = Base.createToastManager();

interface Options {
  /** Where the API can take it back. */
  undo?: () => void;
}

/** Says what was done: "storefront is stopping". */
export function toast(done: string, { undo }: Options = {}): void {
  manager.add({
    title: done,
    timeout: 5_000,
    actionProps: undo && { children: "Undo", onClick: undo },
  });
}

/** Says what could not be done, for acts without a place of their own: of a form or a dialog it is told there. */
export function toastFailure(what: string): void {
  manager.add({ title: what, type: "failure", priority: "high", timeout: 10_000 });
}

/** Once, around the whole page. */
export function Toasts() {
  return (
    <Base.Provider toastManager={manager} limit={3}>
      <Base.Portal>
        <Base.Viewport className="fixed right-4 bottom-4 left-4 z-60 flex flex-col gap-2 md:right-6 md:bottom-6 md:left-auto md:w-100">
          <List />
        </Base.Viewport>
      </Base.Portal>
    </Base.Provider>
  );
}

function List() {
  const { toasts } = Base.useToastManager();
  return toasts.map((item) => (
    <Base.Root
      key={item.id}
      toast={item}
      className="floating flex min-h-11 items-center gap-2.5 rounded-3 bg-raised py-1.5 pr-2 pl-3.5 text-13 font-medium shadow-float transition-opacity duration-(--mid) data-[ending-style]:opacity-0 data-[starting-style]:opacity-0"
    >
      {item.type === "failure" ? (
        <Icon of={TriangleAlert} className="text-bad-dot" />
      ) : (
        <Icon of={CircleCheck} className="text-ok-dot" />
      )}
      <Base.Title className="min-w-0 flex-1 font-medium wrap-anywhere" />
      {item.actionProps && <Base.Action render={<Button size="small">Undo</Button>} />}
      <Base.Close render={<IconButton small label="Close this message" icon={X} />} />
    </Base.Root>
  ));
}
