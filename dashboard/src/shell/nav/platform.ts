import type { NavGroup } from "./types";

/** Pages below `/platform`, for operators. Empty: the platform is not linked anywhere. */
export const PLATFORM: NavGroup[] = [];
