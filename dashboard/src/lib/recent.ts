"use client";

import { store, stored } from "./stored";

const MOST = 30;

/** Refs of the projects that were open last in this browser, the newest first. */
export function recentProjects(): string[] {
  return (stored("recent-projects") ?? "").split(" ").filter(Boolean);
}

export function visitProject(ref: string): void {
  store("recent-projects", [ref, ...recentProjects().filter((known) => known !== ref)].slice(0, MOST).join(" "));
}
