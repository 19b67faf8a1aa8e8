"use client";

import { type ReactNode, useEffect, useRef } from "react";
import { cx } from "./cx";

interface PageProps {
  title: string;
  /** One computed sentence that says how it is. */
  description?: ReactNode;
  /** Buttons; the one primary button last. */
  actions?: ReactNode;
  /** Stands before the title: an icon of the object. */
  sign?: ReactNode;
  /** Stands behind the title: a state. */
  beside?: ReactNode;
  /** Forms: 784 px instead of 1104. */
  narrow?: boolean;
  /** Title of the tab: "Projects · Lumen Works"; default: the title. */
  tab?: string;
  children: ReactNode;
}

/** A page in the sheet: its one `h1`, the sentence, the actions, the content. */
export function Page({ title, description, actions, sign, beside, narrow, tab, children }: PageProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${tab ?? title} · Supalove`;
  }, [tab, title]);
  useEffect(() => {
    // Only after a change of the page: at the first load the focus belongs to the browser.
    if (arrived) heading.current?.focus({ preventScroll: true });
    arrived = true;
  }, []);
  return (
    <div className={cx("mx-auto w-full px-4 pt-5 pb-16 md:px-8 md:pt-8", narrow ? "max-w-212" : "max-w-292")}>
      <div className="mb-5 flex flex-wrap items-start gap-3 md:mb-6 md:flex-nowrap md:gap-4">
        {sign}
        <div className="min-w-0 flex-1 basis-60">
          <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
            <h1 ref={heading} tabIndex={-1} className="text-20 font-semibold tracking-title wrap-anywhere">
              {title}
            </h1>
            {beside}
          </div>
          {description && <p className="mt-1 text-14 text-ink-2">{description}</p>}
        </div>
        {actions && <div className="flex shrink-0 gap-2 max-md:w-full max-md:[&>*]:flex-1">{actions}</div>}
      </div>
      {children}
    </div>
  );
}
let arrived = false;

export function Section({
  title,
  actions,
  children,
  first,
}: {
  title: string;
  actions?: ReactNode;
  children: ReactNode;
  /** Without the space above. */
  first?: boolean;
}) {
  return (
    <section className={cx(!first && "mt-8 md:mt-10")}>
      <div className="mb-3 flex min-h-8 items-center gap-3">
        <h2 className="text-14 font-semibold tracking-name">{title}</h2>
        {actions && <div className="ml-auto flex items-center gap-2">{actions}</div>}
      </div>
      {children}
    </section>
  );
}

/** A section of a form: what it is about at the left, its card at the right. */
export function FormSection({ title, description, children }: { title: string; description?: ReactNode; children: ReactNode }) {
  return (
    <section className="grid gap-3 border-line py-6 not-first:border-t first:pt-0 md:grid-cols-[14rem_minmax(0,1fr)] md:gap-8">
      <div>
        <h2 className="text-14 font-semibold tracking-name">{title}</h2>
        {description && <p className="mt-1 text-13 text-ink-2">{description}</p>}
      </div>
      <div className="min-w-0">{children}</div>
    </section>
  );
}
