import type { ReactNode } from "react";

/** The export has one path for all organizations; the server answers each slug with it. */
export function generateStaticParams() {
  return [{ slug: "_" }];
}

export default function Organization({ children }: { children: ReactNode }) {
  return children;
}
