import { Layers, ScrollText, Users } from "lucide-react";
import type { NavGroup } from "./types";

/** Pages below `/o/{slug}`. */
export const ORGANIZATION: NavGroup[] = [
  {
    items: [
      { page: "", label: "Projects", icon: Layers },
      { page: "members", label: "Members", icon: Users },
      { page: "audit", label: "Audit log", icon: ScrollText },
    ],
  },
];
