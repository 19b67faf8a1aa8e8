import { TriangleAlert } from "lucide-react";
import { type Reserved, shareOf } from "@/lib/capacity";
import { percent } from "@/lib/format";
import { cx, Icon, Meter, Tooltip } from "@/ui";

/** A bar and its share, in a table; the amounts on hover and for readers. */
export function SmallMeter({ of, reserved, className }: { of: string; reserved: Reserved; className?: string }) {
  const share = shareOf(reserved.used, reserved.limit);
  const near = share >= 0.8;
  return (
    <Tooltip text={`${reserved.label}: ${reserved.text}`}>
      <div className={cx("num flex items-center gap-2 text-ink-2", className)}>
        <Meter
          label={`${of}, ${reserved.label}`}
          used={reserved.used}
          limit={reserved.limit}
          text={reserved.text}
          className="w-16 shrink-0"
        />
        <span className="flex items-center gap-1 whitespace-nowrap">
          {percent(share)}
          {near && <Icon of={TriangleAlert} small className="text-warn-dot" />}
        </span>
      </div>
    </Tooltip>
  );
}
