/** A state: icon and word always, colour third. Fine and idle are plain text, the others pills. */

import {
  CircleCheck,
  CircleDashed,
  CircleHelp,
  CircleMinus,
  CirclePause,
  CircleX,
  Clock,
  CloudOff,
  Hourglass,
  LoaderCircle,
  Lock,
  type LucideIcon,
  Trash2,
  TriangleAlert,
} from "lucide-react";
import type { Kind, Shown, StateIcon } from "@/lib/states";
import { cx } from "./cx";
import { Icon } from "./icon";

const ICONS: Record<StateIcon, LucideIcon> = {
  check: CircleCheck,
  pause: CirclePause,
  spin: LoaderCircle,
  hourglass: Hourglass,
  alert: TriangleAlert,
  fail: CircleX,
  trash: Trash2,
  dashed: CircleDashed,
  cloud: CloudOff,
  help: CircleHelp,
  clock: Clock,
  minus: CircleMinus,
  lock: Lock,
};
const DOTS: Record<Kind, string> = {
  ok: "text-ok-dot",
  idle: "text-idle-dot",
  busy: "text-busy-dot",
  warn: "text-warn-dot",
  bad: "text-bad-dot",
};
const PILLS: Record<Kind, string> = {
  ok: "bg-ok-soft text-ok",
  idle: "bg-idle-soft text-idle",
  busy: "bg-busy-soft text-busy",
  warn: "bg-warn-soft text-warn",
  bad: "bg-bad-soft text-bad",
};

/** `plain` shows every kind without a ground, for dense lists. */
export function State({ of, plain }: { of: Shown; plain?: boolean }) {
  const pill = !plain && of.kind !== "ok" && of.kind !== "idle";
  return (
    <span
      className={cx(
        "inline-flex items-center gap-1.5 align-middle font-medium whitespace-nowrap",
        pill ? `h-6 rounded-full pr-2 pl-1.5 text-12 ${PILLS[of.kind]}` : "text-13 text-ink-2",
      )}
    >
      <StateGlyph of={of} bare={pill} />
      {of.word}
    </span>
  );
}

/** The icon alone; the word stands elsewhere. */
export function StateGlyph({ of, bare }: { of: Shown; bare?: boolean }) {
  return <Icon of={ICONS[of.icon]} small className={cx(!bare && DOTS[of.kind], of.icon === "spin" && "animate-turn")} />;
}
