import { count } from "@/lib/words";

export const messages = {
  failed: "The cluster could not be loaded",
  nodesFailed: "Nodes could not be loaded",
  gone: "This cluster does not exist, or you may not see it",
  toClusters: "All clusters",
  shared: "Shared",
  privateOf: (organization: string) => `Private · ${organization}`,
  nodes: "Nodes",
  nodesOf: (cluster: string) => `Nodes of ${cluster}`,
  add: "Add a node",
  addFirst: "Add the first node",
  addWhy: "A node is a Linux host with Docker. It dials out, so no port needs to be opened.",
  alarms: "Needs a look",
  blocking: "takes no new projects meanwhile",
  leftovers: "Leftovers",
  leftoversWhat:
    "Found on a host, though no placement puts it there: after a restore of the control database, or when a lost host came back.",
  delete: "Delete cluster",
  deleteWhat: (name: string) =>
    `${name} is deleted, with its join tokens and registry credentials. Nodes or projects in it keep it from being deleted.`,
  deleted: (name: string) => `${name} is deleted`,
  cordon: "Cordon",
  uncordon: "Take new projects again",
  drain: "Drain",
  remove: "Remove",
  forget: "Forget",
  cordoned: (name: string) => `${name} takes no new projects`,
  uncordoned: (name: string) => `${name} takes new projects again`,
  draining: (name: string) => `${name} is draining`,
  removed: (name: string) => `${name} is removed`,
  forgotten: (name: string) => `${name} is forgotten`,
  drainTitle: (name: string) => `Drain ${name}`,
  drainWhat:
    "No new project comes, and no stopped one starts. Databases do not move: what runs keeps running here, until it is deleted. You can end the drain at any time.",
  drainEmpty: "No project stands on it: it is empty at once, and can be removed.",
  removeTitle: (name: string) => `Remove ${name}`,
  removeEmpty: "No project stands on it. Its certificate is revoked for good: the host can only join again as a new node.",
  removeWhat: (projects: number) =>
    `${count(projects, "project stands", "projects stand")} on it. They stay on the host as they are, and nobody manages them any more: no start, stop, upgrade or backup. The node's certificate is revoked for good.`,
  forgetTitle: (name: string) => `Forget ${name}`,
  forgetEmpty: "No project stood on it. Its certificate is revoked for good.",
  forgetWhat: (projects: number) =>
    `Only for a host that never comes back. ${count(projects, "project")} on it ${projects === 1 ? "ends" : "end"} for good: the databases are lost to the platform. Names and quota are free again.`,
  standing: (number: number) => `${count(number, "project stands", "projects stand")} on it`,
  runs: "runs",
  stopped: "stopped",
  standingFailed: "What stands on the node could not be read.",
  looking: "Looking what stands on it …",
  adopt: "Adopt",
  adopted: (ref: string) => `${ref} is adopted and continues on this node`,
  deleteLeftover: "Delete leftover",
  deleteLeftoverWhat: (ref: string, node: string, volumes: number) =>
    `Containers, network, files and ${count(volumes, "volume")} of ${ref} on ${node} are deleted for good, with the data in them.`,
  leftoverDeleting: (ref: string) => `${ref} is being deleted`,
};

/** "4 nodes, 3 in use for new projects. 30 projects." */
export function summary(nodes: number, usable: number, projects: number): string {
  const of =
    nodes === 0 ? "No nodes yet" : `${count(nodes, "node")}, ${usable === nodes ? "all" : usable} in use for new projects`;
  return `${of}. ${projects === 0 ? "No projects" : count(projects, "project")}.`;
}

export const addMessages = {
  title: (cluster: string) => `Add a node to ${cluster}`,
  description: "A Linux host with Docker. It dials out, so no port needs to be opened.",
  token: "Make a join token",
  tokenFor: (until: string) => `For 1 host, valid until ${until}.`,
  run: "Run this on the host, as root",
  onlyNow: "Token shown only now",
  copy: "Copy command",
  wait: "Wait for the host",
  waiting: "Nothing has joined with this token yet. This page turns by itself.",
  joined: (name: string) => `${name} has joined`,
  connects: "It has used the token. Waiting until its agent connects.",
  ready: (name: string) => `${name} is ready`,
  readyWhat: "It takes projects from now on.",
  accepted: "Token accepted",
  firstContact: "Agent connected",
  ends: (until: string) => `The token ends at ${until}`,
  ended: "The token has ended. Make another one.",
  again: "Make another token",
  revoke: "Revoke token",
  revoked: "The token is revoked",
  close: "Close",
  done: "Done",
  architectures: (list: string) => `For hosts with ${list}.`,
  hasAgent: "The host has the agent already",
};
