"use client";

import type { ReactNode } from "react";
import { Select } from "./choose";
import { cx } from "./cx";

interface Item {
  value: string;
  label: string;
}

interface Props {
  /** Names the navigation: "Account sections". */
  label: string;
  items: Item[];
  value: string;
  onChange: (value: string) => void;
  children: ReactNode;
}

/** A page in sections: their list at the left, on phones a choice above. */
export function Sections({ label, items, value, onChange, children }: Props) {
  return (
    <div className="grid gap-5 md:grid-cols-[11rem_minmax(0,1fr)] md:gap-10">
      <div className="md:hidden">
        <Select
          label={label}
          value={value}
          options={items.map((item) => ({ value: item.value, label: item.label }))}
          onChange={onChange}
          wide
        />
      </div>
      <nav aria-label={label} className="max-md:hidden">
        <ul className="sticky top-20 flex flex-col gap-px text-13">
          {items.map((item) => (
            <li key={item.value}>
              <a
                href={`?s=${item.value}`}
                aria-current={item.value === value ? "page" : undefined}
                onClick={(event) => {
                  if (event.metaKey || event.ctrlKey || event.shiftKey) return;
                  event.preventDefault();
                  onChange(item.value);
                }}
                className={cx(
                  "flex h-8 items-center rounded-2 px-2.5 font-medium",
                  item.value === value ? "bg-hover text-ink" : "text-ink-2 hover:bg-hover hover:text-ink",
                )}
              >
                {item.label}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <div className="min-w-0">{children}</div>
    </div>
  );
}

/** A form's card: what it changes, its fields, and at its foot what saving does, with the button. */
export function FormCard({
  title,
  description,
  children,
  foot,
  action,
}: {
  title: string;
  description?: ReactNode;
  children?: ReactNode;
  foot?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <section className="rounded-3 border border-line bg-surface not-first:mt-5">
      <div className="flex flex-col gap-4 p-4 md:p-5">
        <div>
          <h2 className="text-14 font-semibold tracking-name">{title}</h2>
          {description && <p className="mt-1 text-13 text-ink-2">{description}</p>}
        </div>
        {children}
      </div>
      {(foot || action) && (
        <div className="flex flex-wrap items-center gap-3 border-t border-line px-4 py-3 text-13 text-ink-2 md:px-5">
          <div className="min-w-0 flex-1">{foot}</div>
          {action}
        </div>
      )}
    </section>
  );
}
