import type { ReactNode } from "react";
import type { Project } from "@/gen/supalove/v1/project_pb";

/** What the user may do with a project from its card. */
export interface ProjectActs {
  start: (project: Project) => void;
  stop: (project: Project) => void;
  restore: (project: Project) => void;
}

/** What other calls know of a project. */
export interface ProjectExtras {
  /** "eu-fra · medium" */
  where: string;
  /** "18 % CPU, 1.2 of 2 GB"; empty if nothing is known. */
  use: string;
  /** Its processor time of the last day. */
  spark?: ReactNode;
}
