import { type Project, ProjectState, ServiceState } from "@/gen/supalove/v1/project_pb";
import type { Bar } from "@/ui/heart";

const BARS: Partial<Record<ServiceState, Bar>> = {
  [ServiceState.PULLING]: "coming",
  [ServiceState.CREATED]: "coming",
  [ServiceState.STARTING]: "coming",
  [ServiceState.HEALTHY]: "up",
  [ServiceState.UNHEALTHY]: "warn",
  [ServiceState.EXITED]: "bad",
  [ServiceState.STOPPED]: "off",
};

/** The bars of a project's heart, one per service. */
export function barsOf(project: Pick<Project, "state" | "services" | "purgeTime">): Bar[] {
  if (project.purgeTime || project.state === ProjectState.REMOVED) return ["none"];
  if (project.state === ProjectState.INACTIVE) return ["off"];
  if (project.state === ProjectState.UNKNOWN) return ["warn"];
  return project.services.length > 0 ? project.services.map(({ state }) => BARS[state] ?? "none") : ["none"];
}
