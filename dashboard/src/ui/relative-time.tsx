"use client";

import { useEffect, useState } from "react";
import { exact, nextChange, relative } from "@/lib/time";
import { Tooltip } from "./tooltip";

/** "38 s ago", renewed by itself; the exact local time on hover and focus. */
export function RelativeTime({ time }: { time: number | undefined }) {
  const now = useNow(time);
  if (time === undefined) return <span>never</span>;
  return (
    <Tooltip text={exact(time)}>
      <time dateTime={new Date(time).toISOString()} className="num whitespace-nowrap">
        {relative(time, now)}
      </time>
    </Tooltip>
  );
}

/** Now, renewed as often as the words about `time` change. */
export function useNow(time: number | undefined): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (time === undefined) return;
    const timer = setTimeout(() => setNow(Date.now()), nextChange(time, now));
    return () => clearTimeout(timer);
  }, [time, now]);
  return now;
}
