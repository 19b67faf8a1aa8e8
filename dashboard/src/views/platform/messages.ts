import { count } from "@/lib/words";

export const messages = {
  title: "Overview",
  failed: "Jobs could not be loaded",
  refresh: "Load again",
  nodes: "Nodes connected",
  projects: "Projects",
  clusters: "Clusters",
  alarms: "Needs a look",
  jobs: "Background jobs",
  always: "always",
  every: (span: string) => `every ${span}`,
  woken: (span: string) => `on change, at least every ${span}`,
  refused: "The platform's pages are for its operators",
  refusedWhat: "Ask one of them to make you an operator.",
  toYours: "Your organizations",
};

/** "27 jobs, all do their work." */
export function summary(jobs: number, failing: number): string {
  if (failing === 0) return `${count(jobs, "background job")}, all do their work.`;
  return `${count(failing, "background job")} of ${jobs} ${failing === 1 ? "fails" : "fail"}.`;
}
