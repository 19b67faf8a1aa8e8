import { count } from "@/lib/words";

export const messages = {
  title: "Clusters",
  create: "New cluster",
  failed: "Clusters could not be loaded",
  emptyTitle: "Bring your own hosts",
  empty: "A private cluster has hosts of your organization. Only its projects are placed there.",
  notOnPlan: (plan: string) => `The ${plan} plan has no private clusters. Projects are placed on the platform's shared ones.`,
  readOnly: "Owners and administrators can create clusters.",
};

/** "2 private clusters, 5 nodes. 12 projects." */
export const summary = (clusters: number, nodes: number, projects: number): string =>
  clusters === 0
    ? "No private clusters."
    : `${count(clusters, "private cluster")}, ${count(nodes, "node")}. ${count(projects, "project")}.`;
