"use client";

import { CircleAlert, Eye, EyeOff, type LucideIcon } from "lucide-react";
import { type ComponentProps, createContext, type ReactNode, useContext, useId, useState } from "react";
import { cx } from "./cx";
import { Icon } from "./icon";

/** What a field hands to its input: id, and the ids of hint or error. */
const Described = createContext<{ id?: string; describedBy?: string; invalid?: boolean }>({});

interface FieldProps {
  label: string;
  /** Below the input; an error replaces it. */
  hint?: ReactNode;
  error?: string;
  /** At the right of the label. */
  aside?: ReactNode;
  hideLabel?: boolean;
  children: ReactNode;
  className?: string;
}

/** Label, input, and below it the hint or what is wrong. */
export function Field({ label, hint, error, aside, hideLabel, children, className }: FieldProps) {
  const id = useId();
  const below = error || hint ? `${id}-below` : undefined;
  return (
    <div className={className}>
      <div className={cx("mb-1.5 flex items-baseline justify-between gap-3", hideLabel && "sr-only")}>
        <label htmlFor={id} className="text-13 font-medium">
          {label}
        </label>
        {aside}
      </div>
      <Described value={{ id, describedBy: below, invalid: Boolean(error) }}>{children}</Described>
      {error ? (
        <p id={below} className="mt-1.5 flex gap-1.5 text-12 text-bad">
          <Icon of={CircleAlert} small className="mt-px" />
          {error}
        </p>
      ) : (
        hint && (
          <p id={below} className="mt-1.5 text-12 text-ink-3">
            {hint}
          </p>
        )
      )}
    </div>
  );
}

const BOX =
  "flex min-w-0 items-center gap-2 rounded-2 border border-control bg-surface text-ink has-[:focus-visible]:border-transparent has-[:focus-visible]:outline-2 has-[:focus-visible]:outline-offset-1 has-[:focus-visible]:outline-ring has-[[aria-invalid=true]]:border-bad-dot";
const INNER =
  "w-full min-w-0 bg-transparent text-16 outline-none placeholder:text-ink-3 placeholder:opacity-100 disabled:text-ink-3";

type InputProps = Omit<ComponentProps<"input">, "size"> & { icon?: LucideIcon; large?: boolean; trailing?: ReactNode };

/** An input; within a `Field` it is labelled and described by it. */
export function Input({ icon, large, trailing, className, ...rest }: InputProps) {
  const { id, describedBy, invalid } = useContext(Described);
  return (
    <div className={cx(BOX, large ? "h-10 px-3" : "h-10 px-2.5 md:h-8", className)}>
      {icon && <Icon of={icon} className="text-ink-3" />}
      <input
        id={id}
        aria-describedby={describedBy}
        aria-invalid={invalid || undefined}
        {...rest}
        className={cx(INNER, large ? "md:text-14" : "md:text-13")}
      />
      {trailing}
    </div>
  );
}

/** A password that can be looked at. */
export function PasswordInput(props: Omit<InputProps, "type" | "trailing">) {
  const [visible, setVisible] = useState(false);
  return (
    <Input
      {...props}
      type={visible ? "text" : "password"}
      trailing={
        <button
          type="button"
          aria-label={visible ? "Hide password" : "Show password"}
          onClick={() => setVisible(!visible)}
          className="-mr-1.5 inline-flex size-7 shrink-0 items-center justify-center rounded-2 text-ink-3 hover:bg-hover hover:text-ink"
        >
          <Icon of={visible ? EyeOff : Eye} />
        </button>
      }
    />
  );
}

export function TextArea({ className, ...rest }: ComponentProps<"textarea">) {
  const { id, describedBy, invalid } = useContext(Described);
  return (
    <div className={cx(BOX, "px-2.5 py-1.5")}>
      <textarea
        id={id}
        aria-describedby={describedBy}
        aria-invalid={invalid || undefined}
        {...rest}
        className={cx(INNER, "min-h-20 resize-y md:text-13", className)}
      />
    </div>
  );
}

/** What is wrong with a form as a whole. */
export function FormError({ children }: { children: ReactNode }) {
  if (!children) return null;
  return (
    <p role="alert" className="flex gap-2 rounded-2 bg-bad-soft px-3 py-2.5 text-13 text-bad">
      <Icon of={CircleAlert} className="mt-0.5" />
      <span>{children}</span>
    </p>
  );
}
