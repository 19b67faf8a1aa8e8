"use client";

import dynamic from "next/dynamic";
import { useLayoutEffect, useRef, useState } from "react";

/** Comes with the first long list. */
export const VirtualRows = dynamic(() => import("./virtual-rows").then((module) => module.VirtualRows), { ssr: false });

/** How many columns of a least width fit. */
export function useColumns(least: number, gap: number) {
  const box = useRef<HTMLDivElement>(null);
  const [columns, setColumns] = useState(1);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const measure = () => setColumns(Math.max(1, Math.floor((element.clientWidth + gap) / (least + gap))));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [least, gap]);
  return { box, columns };
}
