import { Activity, ScrollText, Server } from "lucide-react";
import type { NavGroup } from "./types";

/** Pages below `/platform`, for operators. */
export const PLATFORM: NavGroup[] = [
  {
    items: [
      { page: "", label: "Overview", icon: Activity },
      { page: "clusters", label: "Clusters", icon: Server },
      { page: "audit", label: "Audit log", icon: ScrollText },
    ],
  },
];
