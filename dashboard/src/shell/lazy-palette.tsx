"use client";

import dynamic from "next/dynamic";
import { usePaletteOpen } from "./palette-state";

const Palette = dynamic(() => import("./palette").then(({ Palette }) => Palette), { ssr: false });

/** The search comes with its first use. */
export function LazyPalette() {
  const open = usePaletteOpen();
  return open ? <Palette /> : null;
}
