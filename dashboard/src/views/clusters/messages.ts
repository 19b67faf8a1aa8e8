import { count } from "@/lib/words";

export const messages = {
  title: "Clusters",
  caption: "Clusters",
  create: "New cluster",
  failed: "Clusters could not be loaded",
  alarms: "Needs a look",
  shared: "Shared",
  createWhat: "A set of hosts on which projects of all organizations are placed. Nodes are added to it afterwards.",
  createPrivateWhat: "Your organization's own hosts. Only its projects are placed there.",
  name: "Name",
  nameHint: "2 to 40 of a-z, 0-9 and “-”, starting with a letter.",
  nameWrong: "Enter 2 to 40 of a-z, 0-9 and “-”, starting with a letter.",
  region: "Region",
  regionHint: "Where its hosts are, for people: eu-central.",
  created: (name: string) => `${name} is created`,
};

/** "2 clusters, 5 of 6 nodes connected. 31 projects." */
export function summary(clusters: number, connected: number, nodes: number, projects: number): string {
  return `${count(clusters, "cluster")}, ${connected} of ${count(nodes, "node")} connected. ${count(projects, "project")}.`;
}
