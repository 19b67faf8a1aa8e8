"use client";

import { useEffect } from "react";
import { useStored } from "./stored";

export type Theme = "system" | "light" | "dark";

export function useTheme(): [Theme, (theme: Theme) => void] {
  const [value, set] = useStored("theme", "system");
  const theme: Theme = value === "light" || value === "dark" ? value : "system";
  useEffect(() => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }, [theme]);
  return [theme, set];
}
