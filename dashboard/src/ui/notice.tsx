import { Info, LoaderCircle, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { cx } from "./cx";
import { Icon } from "./icon";

type Kind = "plain" | "busy" | "warn" | "bad";

const GROUNDS: Record<Kind, string> = {
  plain: "border-line bg-sunken",
  busy: "border-transparent bg-busy-soft",
  warn: "border-transparent bg-warn-soft",
  bad: "border-transparent bg-bad-soft",
};
const SIGNS: Record<Kind, string> = { plain: "text-ink-3", busy: "text-busy", warn: "text-warn", bad: "text-bad" };

/** A sentence that belongs to the page, with what to do about it at the right. */
export function Notice({ kind = "plain", children, action }: { kind?: Kind; children: ReactNode; action?: ReactNode }) {
  const icon = kind === "plain" ? Info : kind === "busy" ? LoaderCircle : TriangleAlert;
  return (
    <div className={cx("flex flex-wrap items-center gap-x-2.5 gap-y-2 rounded-2 border px-3.5 py-3 text-13", GROUNDS[kind])}>
      <Icon of={icon} className={cx(SIGNS[kind], kind === "busy" && "animate-turn")} />
      <div className="min-w-0 flex-1 basis-60">{children}</div>
      {action}
    </div>
  );
}
