"use client";

import type { ReactNode } from "react";
import { cx } from "./cx";

interface Option<Value extends string> {
  value: Value;
  label: string;
  /** At the right of the label: a number, a tag. */
  aside?: ReactNode;
  hint?: ReactNode;
  disabled?: boolean;
}

/** One of a few that need a sentence each: radio buttons as boxes. */
export function Choice<Value extends string>({
  legend,
  name,
  value,
  options,
  onChange,
  hint,
}: {
  legend: string;
  name: string;
  value: Value;
  options: Option<Value>[];
  onChange: (value: Value) => void;
  hint?: ReactNode;
}) {
  return (
    <fieldset className="min-w-0">
      <legend className="mb-1.5 text-13 font-medium">{legend}</legend>
      <div className="grid gap-2">
        {options.map((option) => (
          <label
            key={option.value}
            className={cx(
              "flex gap-2.5 rounded-2 border px-3 py-2.5 has-[:focus-visible]:outline-2 has-[:focus-visible]:outline-offset-1 has-[:focus-visible]:outline-ring",
              option.value === value ? "border-ink bg-hover" : "border-line-strong",
              option.disabled ? "cursor-not-allowed text-ink-3" : "cursor-pointer hover:bg-hover",
            )}
          >
            <input
              type="radio"
              name={name}
              value={option.value}
              checked={option.value === value}
              disabled={option.disabled}
              onChange={() => onChange(option.value)}
              className="mt-0.5 size-4 shrink-0 accent-primary outline-none"
            />
            <span className="min-w-0 flex-1">
              <span className="flex flex-wrap items-baseline justify-between gap-x-3 text-13">
                <span className={cx("font-medium", !option.disabled && "text-ink")}>{option.label}</span>
                {option.aside && <span className="num text-ink-2">{option.aside}</span>}
              </span>
              {option.hint && <span className="block text-12 text-ink-3">{option.hint}</span>}
            </span>
          </label>
        ))}
      </div>
      {hint && <p className="mt-1.5 text-12 text-ink-3">{hint}</p>}
    </fieldset>
  );
}
