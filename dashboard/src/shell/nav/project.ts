import type { NavGroup } from "./types";

/** Pages below `/p/{ref}`. */
export const PROJECT: NavGroup[] = [];
