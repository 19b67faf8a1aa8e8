"use client";

import { LoaderCircle, type LucideIcon } from "lucide-react";
import type { ComponentProps, ReactNode } from "react";
import { cx } from "./cx";
import { Icon } from "./icon";
import { Link } from "./link";

type Look = "primary" | "secondary" | "ghost" | "danger";
type Size = "small" | "normal" | "large";

const LOOKS: Record<Look, string> = {
  primary: "bg-primary text-on-primary hover:bg-primary-hover border-transparent",
  secondary: "bg-surface text-ink border-line-strong shadow-low hover:bg-hover",
  ghost: "text-ink-2 hover:bg-hover hover:text-ink border-transparent",
  danger: "bg-bad-solid text-white hover:opacity-90 border-transparent",
};
const SIZES: Record<Size, string> = {
  small: "h-8 md:h-7 px-2.5 text-13",
  normal: "h-10 md:h-8 px-3 text-13",
  large: "h-10 px-4 text-14",
};
const BASE =
  "inline-flex items-center justify-center gap-1.5 rounded-2 border font-medium whitespace-nowrap transition-colors duration-(--fast) select-none";

interface Shape {
  look?: Look;
  size?: Size;
  icon?: LucideIcon;
  children: ReactNode;
}

interface ButtonProps extends Shape, Omit<ComponentProps<"button">, "children"> {
  /** The call is under way: the label and the width stay, further presses are ignored. */
  busy?: boolean;
}

export function Button({
  look = "secondary",
  size = "normal",
  icon,
  busy,
  children,
  className,
  onClick,
  ...rest
}: ButtonProps) {
  return (
    <button
      type="button"
      {...rest}
      aria-busy={busy || undefined}
      onClick={busy ? (event) => event.preventDefault() : onClick}
      className={cx(BASE, LOOKS[look], SIZES[size], busy && "cursor-progress", className)}
    >
      {busy ? <Icon of={LoaderCircle} className="-ml-0.5 animate-turn" /> : icon && <Icon of={icon} className="-ml-0.5" />}
      {children}
    </button>
  );
}

export function LinkButton({
  look = "secondary",
  size = "normal",
  icon,
  children,
  className,
  href,
}: Shape & { href: string; className?: string }) {
  return (
    <Link href={href} className={cx(BASE, LOOKS[look], SIZES[size], className)}>
      {icon && <Icon of={icon} className="-ml-0.5" />}
      {children}
    </Link>
  );
}

/** An icon that says with `label` what it does, and to what: "Actions for storefront". */
export function IconButton({
  label,
  icon,
  small,
  className,
  ...rest
}: { label: string; icon: LucideIcon; small?: boolean } & Omit<ComponentProps<"button">, "children">) {
  return (
    <button
      type="button"
      aria-label={label}
      {...rest}
      className={cx(
        "inline-flex shrink-0 items-center justify-center rounded-2 text-ink-3 hover:bg-hover hover:text-ink",
        small ? "size-8 md:size-7" : "size-10 md:size-8",
        className,
      )}
    >
      <Icon of={icon} />
    </button>
  );
}
