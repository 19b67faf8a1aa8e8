import { TriangleAlert } from "lucide-react";
import { percent } from "@/lib/format";
import { cx } from "./cx";
import { Icon } from "./icon";

/** From here on a meter warns. */
const NEAR = 0.8;

interface Props {
  /** What is measured, for readers: "Disk". */
  label: string;
  used: number;
  limit: number;
  /** The numbers with their unit: "18.9 of 20 GB". Always shown as a text by who uses the meter, or here. */
  text: string;
  showText?: boolean;
  className?: string;
}

/** A bar with its limit: a tick at 80 %, from there on amber with an icon, red when it is full. */
export function Meter({ label, used, limit, text, showText, className }: Props) {
  const share = limit > 0 ? Math.min(1, used / limit) : used > 0 ? 1 : 0;
  const near = share >= NEAR;
  const full = share >= 1;
  return (
    <div className={className}>
      {showText && (
        <div className="mb-1.5 flex items-baseline justify-between gap-2 text-13">
          <span className="font-medium">{label}</span>
          <span className={cx("num flex items-center gap-1", near ? (full ? "text-bad" : "text-warn") : "text-ink-2")}>
            {near && <Icon of={TriangleAlert} small />}
            {text}
          </span>
        </div>
      )}
      {/* biome-ignore lint/a11y/useSemanticElements: browsers do not let a meter element be drawn like this */}
      <div
        role="meter"
        aria-label={label}
        aria-valuenow={Math.round(share * 100)}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuetext={`${text}, ${percent(share)}`}
        className="relative h-1.5 overflow-hidden rounded-1 bg-selected"
      >
        <div
          className={cx("h-full rounded-1", full ? "bg-bad-dot" : near ? "bg-warn-dot" : "bg-ink-2")}
          style={{ width: `${share * 100}%` }}
        />
        <div className="absolute inset-y-0 left-4/5 w-px bg-surface" />
      </div>
    </div>
  );
}

/** Work under way: determinate if the server gives a percentage. */
export function Progress({ label, share, className }: { label: string; share: number; className?: string }) {
  return (
    <div
      role="progressbar"
      aria-label={label}
      aria-valuenow={Math.round(share * 100)}
      aria-valuemin={0}
      aria-valuemax={100}
      className={cx("h-1.5 overflow-hidden rounded-1 bg-selected", className)}
    >
      <div className="h-full rounded-1 bg-busy-dot" style={{ width: `${share * 100}%` }} />
    </div>
  );
}
