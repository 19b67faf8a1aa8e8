import { CreditCard, Layers, ScrollText, Server, Settings2, Users } from "lucide-react";
import type { NavGroup } from "./types";

/** Pages below `/o/{slug}`. */
export const ORGANIZATION: NavGroup[] = [
  {
    items: [
      { page: "", label: "Projects", icon: Layers },
      { page: "members", label: "Members", icon: Users },
      { page: "plan", label: "Plan", icon: CreditCard },
      { page: "audit", label: "Audit log", icon: ScrollText },
      { page: "clusters", label: "Clusters", icon: Server },
      { page: "settings", label: "Settings", icon: Settings2 },
    ],
  },
];
