"use client";

import { Select as Base } from "@base-ui/react/select";
import { Switch as BaseSwitch } from "@base-ui/react/switch";
import { Check, ChevronDown, type LucideIcon } from "lucide-react";
import { type ReactNode, useId } from "react";
import { cx } from "./cx";
import { Icon } from "./icon";

interface Option<Value extends string> {
  value: Value;
  label: string;
  hint?: string;
}

/** One of a few. */
export function Select<Value extends string>({
  label,
  value,
  options,
  onChange,
  plain,
  wide,
}: {
  /** For readers; a visible label stands beside it or is the value itself. */
  label: string;
  value: Value;
  options: Option<Value>[];
  onChange: (value: Value) => void;
  /** Without a border, in tables. */
  plain?: boolean;
  wide?: boolean;
}) {
  return (
    <Base.Root items={options} value={value} onValueChange={(next) => next !== null && onChange(next as Value)} modal={false}>
      <Base.Trigger
        aria-label={label}
        className={cx(
          "inline-flex items-center gap-1.5 rounded-2 border text-13 font-medium whitespace-nowrap hover:bg-hover",
          plain
            ? "-ml-2 h-8 border-transparent pr-1 pl-2 text-ink-2 md:h-7"
            : "h-10 border-line-strong bg-surface pr-2 pl-3 shadow-low md:h-8",
          wide && "w-full justify-between",
        )}
      >
        <Base.Value />
        <Base.Icon render={<span className="text-ink-3" />}>
          <Icon of={ChevronDown} small />
        </Base.Icon>
      </Base.Trigger>
      <Base.Portal>
        <Base.Positioner sideOffset={4} alignItemWithTrigger={false} className="z-50 outline-none">
          <Base.Popup className="floating max-h-80 min-w-(--anchor-width) overflow-y-auto rounded-3 bg-raised p-1 text-13 shadow-float outline-none">
            {options.map((option) => (
              <Base.Item
                key={option.value}
                value={option.value}
                className="flex min-h-10 cursor-pointer items-center gap-3 rounded-2 px-2.5 py-1 outline-none data-[highlighted]:bg-hover md:min-h-8"
              >
                <div className="min-w-0 flex-1">
                  <Base.ItemText className="font-medium">{option.label}</Base.ItemText>
                  {option.hint && <div className="text-12 text-ink-3">{option.hint}</div>}
                </div>
                <Base.ItemIndicator>
                  <Icon of={Check} className="text-ink-2" />
                </Base.ItemIndicator>
              </Base.Item>
            ))}
          </Base.Popup>
        </Base.Positioner>
      </Base.Portal>
    </Base.Root>
  );
}

interface Segment<Value extends string> {
  value: Value;
  label: string;
  icon?: LucideIcon;
}

/** One of two or three, all in sight. With icons the labels are for readers. */
export function Segmented<Value extends string>({
  label,
  value,
  segments,
  onChange,
  className,
}: {
  label: string;
  value: Value;
  segments: Segment<Value>[];
  onChange: (value: Value) => void;
  className?: string;
}) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset cannot be laid out as a row in every browser
    <div role="group" aria-label={label} className={cx("inline-flex rounded-2 bg-seg p-0.5 text-13", className)}>
      {segments.map((segment) => (
        <button
          key={segment.value}
          type="button"
          aria-pressed={segment.value === value}
          aria-label={segment.icon ? segment.label : undefined}
          onClick={() => onChange(segment.value)}
          className={cx(
            "flex h-9 min-w-9 items-center justify-center gap-1.5 rounded-1 font-medium md:h-7 md:min-w-7",
            segment.icon ? "px-1.5" : "px-2.5",
            segment.value === value ? "bg-seg-on text-ink shadow-low" : "text-ink-2",
          )}
        >
          {segment.icon ? <Icon of={segment.icon} /> : segment.label}
        </button>
      ))}
    </div>
  );
}

export function Switch({
  label,
  hint,
  checked,
  onChange,
  disabled,
}: {
  label: string;
  hint?: ReactNode;
  checked: boolean;
  onChange: (checked: boolean) => void;
  disabled?: boolean;
}) {
  const id = useId();
  return (
    <div className="flex items-start gap-3">
      <div className="min-w-0 flex-1">
        <div id={id} className="text-13 font-medium">
          {label}
        </div>
        {hint && <p className="text-12 text-ink-3">{hint}</p>}
      </div>
      <BaseSwitch.Root
        checked={checked}
        onCheckedChange={onChange}
        disabled={disabled}
        aria-labelledby={id}
        className="relative inline-flex h-6 w-10 shrink-0 items-center rounded-full bg-control p-0.5 data-[checked]:bg-primary md:h-5 md:w-9"
      >
        <BaseSwitch.Thumb className="size-5 rounded-full bg-white transition-[translate] duration-(--mid) ease-out data-[checked]:translate-x-4 data-[checked]:bg-on-primary md:size-4" />
      </BaseSwitch.Root>
    </div>
  );
}

export function Checkbox({
  label,
  hint,
  checked,
  onChange,
  disabled,
}: {
  label: string;
  hint?: ReactNode;
  checked: boolean;
  onChange: (checked: boolean) => void;
  disabled?: boolean;
}) {
  return (
    <label className="flex min-h-6 cursor-pointer items-start gap-2.5 text-13">
      <input
        type="checkbox"
        checked={checked}
        disabled={disabled}
        onChange={(event) => onChange(event.target.checked)}
        className="mt-0.5 size-4 shrink-0 accent-primary"
      />
      <span>
        <span className="font-medium">{label}</span>
        {hint && <span className="block text-12 text-ink-3">{hint}</span>}
      </span>
    </label>
  );
}
