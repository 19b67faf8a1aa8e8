import type { LucideIcon } from "lucide-react";

/** An entry of the sidebar. It exists once its page does. */
export interface NavItem {
  /** The page's last part of the path; "" = the space's first page. */
  page: string;
  label: string;
  icon: LucideIcon;
  /** For operators, owners and so on: hidden from others. */
  for?: "administrators" | "developers";
}

export interface NavGroup {
  /** Without a label for the first and the last group. */
  label?: string;
  items: NavItem[];
}
