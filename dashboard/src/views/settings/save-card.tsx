"use client";

import type { FormEventHandler, ReactNode } from "react";
import { Button, Card } from "@/ui";
import { messages as say } from "./messages";

/** A card of fields that are saved together. */
export function SaveCard({
  onSubmit,
  dirty,
  busy,
  action = say.save,
  aside,
  children,
}: {
  onSubmit: FormEventHandler;
  dirty: boolean;
  busy: boolean;
  action?: string;
  aside?: ReactNode;
  children: ReactNode;
}) {
  return (
    <Card>
      <form onSubmit={onSubmit} noValidate>
        <div className="flex flex-col gap-5 p-4 md:p-5">{children}</div>
        <div className="flex flex-wrap items-center justify-end gap-2 border-t border-line px-4 py-3 md:px-5">
          <p className="min-w-0 flex-1 text-12 text-ink-3">{dirty ? say.unsaved : say.unchanged}</p>
          {aside}
          <Button type="submit" look="primary" busy={busy} disabled={!dirty} className="disabled:opacity-50">
            {action}
          </Button>
        </div>
      </form>
    </Card>
  );
}
