"use client";

import type { FormEventHandler, ReactNode } from "react";
import { Heart } from "@/ui/heart";
import { useMounted } from "./use-session";

const SERVICES = ["postgres", "api", "auth", "realtime", "storage", "functions", "gateway"];

/** The frame of the pages for who is not signed in: the form, and the heart beside it. */
export function Plain({ children }: { children: ReactNode }) {
  return (
    <div className="grid min-h-dvh bg-surface md:grid-cols-2">
      <main id="main" className="flex flex-col px-5 py-6 md:px-10 md:py-8">
        <div className="flex items-center gap-2.5 text-16 font-semibold tracking-title">
          <Heart />
          Supalove
        </div>
        <div className="mx-auto mt-16 mb-auto w-full max-w-100 md:my-auto md:max-w-90">{children}</div>
      </main>
      <aside
        aria-hidden="true"
        className="relative m-2 flex flex-col items-center justify-center gap-14 overflow-hidden rounded-4 bg-art max-md:hidden"
      >
        <Heart className="w-[min(44%,20rem)]" breathes />
        <ol className="flex flex-wrap justify-center gap-x-5 gap-y-1 px-10 font-mono text-12 leading-5 font-medium tracking-mono text-art-text">
          {SERVICES.map((name) => (
            <li key={name}>{name}</li>
          ))}
        </ol>
      </aside>
    </div>
  );
}

/** The heading of such a page. */
export function PlainHead({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div>
      <h1 className="text-24 font-semibold tracking-title">{title}</h1>
      {children && <p className="mt-1 text-14 text-ink-2">{children}</p>}
    </div>
  );
}

/**
 * Its form. Before the scripts have come, a browser would send it by itself, with the password in the address: so it cannot be
 * sent until then.
 */
export function PlainForm({ onSubmit, children }: { onSubmit: FormEventHandler; children: ReactNode }) {
  const mounted = useMounted();
  return (
    <form method="post" onSubmit={onSubmit} noValidate>
      <fieldset disabled={!mounted} className="grid gap-5">
        {children}
      </fieldset>
    </form>
  );
}
