/** States as people read them: a word, an icon and a kind. The kind is a colour; the word never depends on it. */

import { type Node, NodeAvailability, NodeState } from "@/gen/supalove/v1/cluster_pb";
import { OperationState } from "@/gen/supalove/v1/operation_pb";
import { type Project, ProjectState, ServiceState } from "@/gen/supalove/v1/project_pb";

/** `ok` and `idle` are plain text; the others need a look and get a pill. */
export type Kind = "ok" | "idle" | "busy" | "warn" | "bad";

export type StateIcon =
  | "check"
  | "pause"
  | "spin"
  | "hourglass"
  | "alert"
  | "fail"
  | "trash"
  | "dashed"
  | "cloud"
  | "help"
  | "clock"
  | "minus"
  | "lock";

export interface Shown {
  word: string;
  icon: StateIcon;
  kind: Kind;
}

const shown = (word: string, icon: StateIcon, kind: Kind): Shown => ({ word, icon, kind });

const PROJECT: Record<ProjectState, Shown> = {
  [ProjectState.UNSPECIFIED]: shown("No state", "help", "idle"),
  [ProjectState.COMING_UP]: shown("Starting", "spin", "busy"),
  [ProjectState.ACTIVE_HEALTHY]: shown("Healthy", "check", "ok"),
  [ProjectState.ACTIVE_UNHEALTHY]: shown("Degraded", "alert", "warn"),
  [ProjectState.PAUSING]: shown("Stopping", "spin", "busy"),
  [ProjectState.INACTIVE]: shown("Stopped", "pause", "idle"),
  [ProjectState.RESTARTING]: shown("Restarting", "spin", "busy"),
  [ProjectState.RESIZING]: shown("Resizing", "spin", "busy"),
  [ProjectState.RESTORING]: shown("Restoring", "spin", "busy"),
  [ProjectState.UPGRADING]: shown("Upgrading", "spin", "busy"),
  [ProjectState.GOING_DOWN]: shown("Deleting", "spin", "busy"),
  [ProjectState.REMOVED]: shown("Removed", "dashed", "idle"),
  [ProjectState.INIT_FAILED]: shown("Setup failed", "fail", "bad"),
  [ProjectState.PAUSE_FAILED]: shown("Stop failed", "fail", "bad"),
  [ProjectState.RESTORE_FAILED]: shown("Restore failed", "fail", "bad"),
  [ProjectState.UNKNOWN]: shown("No contact", "cloud", "warn"),
};

/** The state of a project. A young one is being set up; one without a node waits for room; a deleted one can be restored. */
export function projectShown(
  project: Pick<Project, "state" | "nodeId" | "purgeTime" | "deleteTime" | "generation" | "stateReason">,
): Shown {
  const { state } = project;
  if (state === ProjectState.COMING_UP) {
    if (!project.nodeId && project.stateReason) return shown("No room", "hourglass", "warn");
    if (project.generation <= 1n) return shown("Setting up", "spin", "busy");
  }
  if (state === ProjectState.GOING_DOWN && project.purgeTime) return shown("Deleted", "trash", "idle");
  return PROJECT[state] ?? shown(`State ${state}`, "help", "idle");
}

/** A state without its project, as events name it. */
export function projectStateShown(state: ProjectState): Shown {
  return PROJECT[state] ?? shown(`State ${state}`, "help", "idle");
}

const SERVICE: Record<ServiceState, Shown> = {
  [ServiceState.UNSPECIFIED]: shown("No state", "help", "idle"),
  [ServiceState.PENDING]: shown("Next", "dashed", "idle"),
  [ServiceState.PULLING]: shown("Pulling", "spin", "busy"),
  [ServiceState.CREATED]: shown("Created", "spin", "busy"),
  [ServiceState.STARTING]: shown("Starting", "spin", "busy"),
  [ServiceState.HEALTHY]: shown("Healthy", "check", "ok"),
  [ServiceState.UNHEALTHY]: shown("Unhealthy", "alert", "warn"),
  [ServiceState.EXITED]: shown("Exited", "fail", "bad"),
  [ServiceState.STOPPED]: shown("Stopped", "pause", "idle"),
};

export function serviceShown(state: ServiceState): Shown {
  return SERVICE[state] ?? shown(`State ${state}`, "help", "idle");
}

const OPERATION: Record<OperationState, Shown> = {
  [OperationState.UNSPECIFIED]: shown("No state", "help", "idle"),
  [OperationState.PENDING]: shown("Waiting", "hourglass", "warn"),
  [OperationState.RUNNING]: shown("Under way", "spin", "busy"),
  [OperationState.SUCCEEDED]: shown("Done", "check", "ok"),
  [OperationState.FAILED]: shown("Failed", "fail", "bad"),
  [OperationState.CANCELLED]: shown("Cancelled", "minus", "idle"),
};

export function operationShown(state: OperationState): Shown {
  return OPERATION[state] ?? shown(`State ${state}`, "help", "idle");
}

const NODE: Record<NodeState, Shown> = {
  [NodeState.UNSPECIFIED]: shown("No state", "help", "idle"),
  [NodeState.ENROLLED]: shown("Never connected", "dashed", "idle"),
  [NodeState.READY]: shown("Ready", "check", "ok"),
  [NodeState.UNHEALTHY]: shown("Late", "clock", "warn"),
  [NodeState.LOST]: shown("Lost", "cloud", "bad"),
  [NodeState.REVOKED]: shown("Locked out", "lock", "idle"),
};

/** The state of a node. Of one that is connected: whether it takes projects. A silent one with trouble of its host is not late. */
export function nodeShown(node: Pick<Node, "state" | "availability" | "conditions">): Shown {
  if (node.state === NodeState.READY) {
    if (node.availability === NodeAvailability.CORDONED) return shown("Cordoned", "minus", "idle");
    if (node.availability === NodeAvailability.DRAINING) return shown("Draining", "spin", "busy");
  }
  if (node.state === NodeState.UNHEALTHY && node.conditions.some(({ blocking }) => blocking)) {
    return shown("Trouble", "alert", "warn");
  }
  return NODE[node.state] ?? shown(`State ${node.state}`, "help", "idle");
}

/** The order in which a list shows projects: what needs somebody first. */
export type Need = "trouble" | "busy" | "fine" | "stopped" | "deleted";

export function needOf(project: Parameters<typeof projectShown>[0]): Need {
  const { kind } = projectShown(project);
  if (kind === "warn" || kind === "bad") return "trouble";
  if (kind === "busy") return "busy";
  if (kind === "ok") return "fine";
  return project.purgeTime || project.state === ProjectState.REMOVED ? "deleted" : "stopped";
}
