import { Activity, House, SlidersHorizontal } from "lucide-react";
import type { NavGroup } from "./types";

/** Pages below `/p/{ref}`. */
export const PROJECT: NavGroup[] = [
  { items: [{ page: "", label: "Overview", icon: House }] },
  { label: "Observe", items: [{ page: "activity", label: "Activity", icon: Activity }] },
  { items: [{ page: "settings", label: "Settings", icon: SlidersHorizontal }] },
];
