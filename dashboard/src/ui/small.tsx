/** Small parts without behaviour: tags, keys, avatars, skeletons, cards. */

import type { ReactNode } from "react";
import { initials } from "@/lib/words";
import { cx } from "./cx";

export function Kbd({ children }: { children: ReactNode }) {
  return (
    // biome-ignore lint/a11y/noAriaHiddenOnFocusable: it takes no focus
    <kbd
      aria-hidden="true"
      className="inline-flex h-5 min-w-5 items-center justify-center rounded-1 border border-line bg-surface px-1 font-sans text-12 font-medium text-ink-3 max-md:hidden"
    >
      {children}
    </kbd>
  );
}

export function Tag({ children, brand }: { children: ReactNode; brand?: boolean }) {
  return (
    <span
      className={cx(
        "inline-flex h-5 items-center gap-1 rounded-1 border px-1.5 text-12 font-medium whitespace-nowrap",
        brand ? "border-transparent bg-brand-soft text-brand" : "border-line bg-surface text-ink-2",
      )}
    >
      {children}
    </span>
  );
}

/** Initials; decoration, the name stands beside it. */
export function Avatar({ name, square, ink }: { name: string; square?: boolean; ink?: boolean }) {
  return (
    <span
      aria-hidden="true"
      className={cx(
        "inline-flex size-7 shrink-0 items-center justify-center text-12 font-semibold select-none",
        square ? "rounded-2" : "rounded-full",
        ink ? "bg-primary text-on-primary" : "bg-selected text-ink-2",
      )}
    >
      {initials(name)}
    </span>
  );
}

/** The box of what is loading; give it the size of what comes. It shows after 150 ms. */
export function Skeleton({ className }: { className?: string }) {
  return <span aria-hidden="true" className={cx("late block rounded-1 bg-selected", className)} />;
}

export function Card({ children, className }: { children: ReactNode; className?: string }) {
  return <div className={cx("rounded-3 border border-line bg-surface", className)}>{children}</div>;
}

/** `aside` stands small behind the title: a count. */
export function CardHead({ title, aside, children }: { title: string; aside?: ReactNode; children?: ReactNode }) {
  return (
    <div className="flex min-h-12 items-center gap-2 border-b border-line pr-2 pl-4">
      <h2 className="text-14 font-semibold tracking-name">{title}</h2>
      {aside && <span className="num text-13 text-ink-3">{aside}</span>}
      {children && <div className="ml-auto flex items-center gap-1">{children}</div>}
    </div>
  );
}

export function CardFoot({ children }: { children: ReactNode }) {
  return <div className="flex flex-wrap items-center gap-2 border-t border-line px-4 py-3 text-13 text-ink-2">{children}</div>;
}
