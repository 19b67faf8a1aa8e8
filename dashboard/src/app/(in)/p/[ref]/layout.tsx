import type { ReactNode } from "react";

/** The export has one path for all projects; the server answers each ref with it. */
export function generateStaticParams() {
  return [{ ref: "_" }];
}

export default function Project({ children }: { children: ReactNode }) {
  return children;
}
