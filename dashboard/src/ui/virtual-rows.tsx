"use client";

import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useLayoutEffect, useRef, useState } from "react";

interface Props {
  rows: number;
  /** Height of a row in px with the gap below it. */
  height: number;
  row: (index: number) => ReactNode;
}

/** Rows of one height, of which only those in sight exist; the page scrolls, not a box. */
export function VirtualRows({ rows, height, row }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  useLayoutEffect(() => setTop(box.current?.offsetTop ?? 0), []);
  const virtual = useWindowVirtualizer({
    count: rows,
    estimateSize: () => height,
    overscan: 6,
    scrollMargin: top,
  });
  return (
    <div ref={box} className="relative" style={{ height: virtual.getTotalSize() }}>
      {virtual.getVirtualItems().map(({ index, start }) => (
        <div key={index} className="absolute inset-x-0 top-0" style={{ transform: `translateY(${start - top}px)` }}>
          {row(index)}
        </div>
      ))}
    </div>
  );
}
