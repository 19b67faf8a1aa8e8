import type { LucideIcon } from "lucide-react";
import { cx } from "./cx";

/** 16 px at 1.75, or 14 px at 2 in pills and small texts. Decoration: the word stands beside it. */
export function Icon({ of: Glyph, small, className }: { of: LucideIcon; small?: boolean; className?: string }) {
  return (
    <Glyph
      aria-hidden="true"
      strokeWidth={small ? 2 : 1.75}
      className={cx("shrink-0", small ? "size-3.5" : "size-4", className)}
    />
  );
}
