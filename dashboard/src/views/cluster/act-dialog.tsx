"use client";

import { useState } from "react";
import { explain, told } from "@/api/errors";
import { useCordonNode, useDrainNode, useForgetNode, useRemoveNode, useUncordonNode } from "@/api/mutations/nodes";
import { useAllProjects } from "@/api/queries/projects";
import { useStanding } from "@/api/queries/standing";
import type { Node, StandingProject } from "@/gen/supalove/v1/cluster_pb";
import { Button, Confirm, ConfirmByName, Dialog, FormError, Skeleton, toast } from "@/ui";
import type { NodeAct } from "./life";
import { messages as say } from "./messages";

interface Props {
  act: Exclude<NodeAct, "cordon" | "uncordon">;
  node: Node;
  onClose: () => void;
}

/** Says what an act on a node will do, with what stands there, before it is done. */
export function ActDialog({ act, node, onClose }: Props) {
  const forget = act === "forget";
  const standing = useStanding(node.id);
  const drainNode = useDrainNode();
  const removeNode = useRemoveNode();
  const forgetNode = useForgetNode();
  const [problem, setProblem] = useState("");
  const projects = standing.data ?? [];
  const title = act === "drain" ? say.drainTitle(node.name) : forget ? say.forgetTitle(node.name) : say.removeTitle(node.name);
  const ends = (text: string) => ({
    onSuccess: () => {
      toast(text);
      onClose();
    },
    onError: (error: unknown) => {
      setProblem(told(explain(error)));
      void standing.refetch();
    },
  });
  const shown = (
    <>
      <FormError>{problem}</FormError>
      {projects.length > 0 && <Standing projects={projects} />}
    </>
  );
  if (standing.isPending || standing.error) {
    return (
      <Dialog
        open
        onClose={onClose}
        title={title}
        description={standing.error ? undefined : say.looking}
        footer={<Button onClick={onClose}>Cancel</Button>}
      >
        {standing.error ? (
          <FormError>
            {say.standingFailed} {told(explain(standing.error))}
          </FormError>
        ) : (
          <Skeleton className="h-16 w-full" />
        )}
      </Dialog>
    );
  }
  if (act === "drain") {
    return (
      <Confirm
        open
        onClose={onClose}
        title={title}
        description={projects.length === 0 ? say.drainEmpty : say.drainWhat}
        action={title}
        busy={drainNode.isPending}
        onConfirm={() => drainNode.mutate(node.id, ends(say.draining(node.name)))}
      >
        {(problem || projects.length > 0) && shown}
      </Confirm>
    );
  }
  const means = forget ? say.forgetWhat : say.removeWhat;
  const empty = forget ? say.forgetEmpty : say.removeEmpty;
  const run = forget ? forgetNode : removeNode;
  return (
    <ConfirmByName
      open
      onClose={onClose}
      name={node.name}
      what="node"
      title={title}
      description={projects.length === 0 ? empty : means(projects.length)}
      action={title}
      busy={run.isPending}
      onConfirm={() =>
        run.mutate(
          { nodeId: node.id, projects: projects.map((one) => one.projectRef) },
          ends(forget ? say.forgotten(node.name) : say.removed(node.name)),
        )
      }
    >
      {shown}
    </ConfirmByName>
  );
}

/** Projects by name where the caller may see them, and their refs. */
function Standing({ projects }: { projects: StandingProject[] }) {
  const names = new Map(useAllProjects().data?.map(({ ref, name }) => [ref, name]));
  return (
    <div>
      <h3 className="mb-1.5 text-13 font-medium">{say.standing(projects.length)}</h3>
      <ul
        tabIndex={projects.length > 6 ? 0 : undefined}
        className="max-h-48 overflow-y-auto rounded-2 border border-line bg-sunken text-13"
      >
        {projects.map(({ projectRef, running }) => (
          <li key={projectRef} className="flex min-w-0 items-baseline gap-3 border-b border-line px-3 py-1.5 last:border-b-0">
            {names.has(projectRef) && <span className="truncate font-medium">{names.get(projectRef)}</span>}
            <span className="code min-w-0 flex-1 truncate text-12 text-ink-3">{projectRef}</span>
            <span className="text-12 text-ink-3">{running ? say.runs : say.stopped}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** What needs no question, since it can be taken back. */
export function useCordon(onProblem: (text: string) => void) {
  const cordonNode = useCordonNode();
  const uncordonNode = useUncordonNode();
  const failed = (error: unknown) => onProblem(told(explain(error)));
  const uncordon = (node: Node) =>
    uncordonNode.mutate(node.id, { onSuccess: () => toast(say.uncordoned(node.name)), onError: failed });
  const cordon = (node: Node) =>
    cordonNode.mutate(node.id, {
      onSuccess: () => toast(say.cordoned(node.name), { undo: () => uncordon(node) }),
      onError: failed,
    });
  return { cordon, uncordon };
}
