import { Activity, House } from "lucide-react";
import type { NavGroup } from "./types";

/** Pages below `/p/{ref}`. */
export const PROJECT: NavGroup[] = [
  { items: [{ page: "", label: "Overview", icon: House }] },
  { label: "Observe", items: [{ page: "activity", label: "Activity", icon: Activity }] },
];
