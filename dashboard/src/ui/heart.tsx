/** The mark, and a project's icon: seven bars, one per service. The words beside it say the same. */

import { cx } from "./cx";

export type Bar = "up" | "coming" | "warn" | "bad" | "none" | "off";

const TOPS = [4.9, 2.0, 1.4, 3.5, 1.4, 2.0, 4.9];
const ENDS = [13, 16.9, 20.1, 22.9, 20.1, 16.9, 13];
const FILLS: Record<Bar, string> = {
  up: "fill-brand-solid",
  coming: "fill-busy-dot animate-beat",
  warn: "fill-warn-dot",
  bad: "fill-bad-dot",
  none: "fill-line-strong",
  off: "fill-transparent stroke-control",
};

interface Props {
  /** One for each service; without it the whole heart is up. */
  bars?: Bar[];
  /** Width in px / 4: 26/4 of the design's sizes. */
  className?: string;
  breathes?: boolean;
}

export function Heart({ bars, className = "w-6.5", breathes }: Props) {
  return (
    <svg viewBox="0 0 26 24" aria-hidden="true" className={cx("h-auto shrink-0 overflow-visible", className)}>
      {shareOut(bars).map((bar, index) => (
        <rect
          // biome-ignore lint/suspicious/noArrayIndexKey: the bars are places, in a fixed order
          key={index}
          x={0.3 + index * 3.75}
          y={TOPS[index]}
          width={2.9}
          height={ENDS[index]! - TOPS[index]!}
          rx={1.45}
          className={cx(FILLS[bar], breathes && `heart-breathes heart-breathes-${index}`)}
        />
      ))}
    </svg>
  );
}

/** Seven bars of n services, the left ones having one more: 3 services are 3-2-2. */
export function shareOut(bars: Bar[] | undefined): Bar[] {
  if (!bars || bars.length === 0) return TOPS.map(() => (bars ? "none" : "up"));
  return TOPS.map((_, index) => bars[Math.floor((index * bars.length) / TOPS.length)]!);
}
