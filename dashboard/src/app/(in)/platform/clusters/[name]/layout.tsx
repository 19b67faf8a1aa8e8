import type { ReactNode } from "react";

/** The export has one path for all clusters; the server answers each name with it. */
export function generateStaticParams() {
  return [{ name: "_" }];
}

export default function Cluster({ children }: { children: ReactNode }) {
  return children;
}
