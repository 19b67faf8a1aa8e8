"use client";

import { useQueryClient } from "@tanstack/react-query";
import { Plus, Server, Trash2 } from "lucide-react";
import { useRouter } from "next/navigation";
import { useEffect, useState } from "react";
import { explain, isNotFound, told } from "@/api/errors";
import { keys } from "@/api/keys";
import { useWatch } from "@/api/live/use-watch";
import { useDeleteCluster } from "@/api/mutations/nodes";
import { useAlarms, useCluster, useLeftovers, useNodes } from "@/api/queries/clusters";
import { ClusterKind, type Node, NodeState } from "@/gen/supalove/v1/cluster_pb";
import { useSetCrumb } from "@/shell/crumb";
import {
  ActionsMenu,
  Button,
  ConfirmByName,
  EmptyState,
  ErrorState,
  LinkButton,
  MenuItem,
  Notice,
  Page,
  Refused,
  Section,
  Skeleton,
  Tag,
  toast,
} from "@/ui";
import { ActDialog, useCordon } from "./act-dialog";
import { AddNode } from "./add-node";
import { Alarms } from "./alarms";
import { Figures } from "./figures";
import { LeftoverList } from "./leftover-list";
import { isUsable, type NodeAct } from "./life";
import { messages as say, summary } from "./messages";
import { NodeDrawer } from "./node-drawer";
import { NodeList } from "./node-list";

/** A node can be watched, a hundred objects in all. */
const WATCHED = 60;

interface Props {
  /** Name or id. */
  of: string;
  /** The caller may change it. */
  may: boolean;
  /** The caller is the operator, who may watch nodes. */
  operator: boolean;
  /** Where the list of clusters is. */
  back: string;
}

/** A cluster with its nodes: for operators, and for owners of a private one. */
export function ClusterView({ of, may, operator, back }: Props) {
  const router = useRouter();
  const cluster = useCluster(of);
  const nodes = useNodes(of);
  const alarms = useAlarms(of).data ?? [];
  const shown = nodes.data?.filter((node) => !node.forgetTime);
  const living = shown?.filter(({ state }) => state !== NodeState.REVOKED) ?? [];
  const suspects = living.filter((node) => node.alarms.length > 0 || node.unexplainedProjects.length > 0);
  const leftovers = useLeftovers(suspects.map(({ id }) => id));
  const [adding, setAdding] = useState(false);
  const [opened, setOpened] = useState<string>();
  const [asked, setAsked] = useState<{ act: NodeAct; node: Node }>();
  const [deleting, setDeleting] = useState(false);
  const [problem, setProblem] = useState("");
  const remove = useDeleteCluster();
  const { cordon, uncordon } = useCordon(setProblem);
  const name = cluster.data?.name ?? "";
  useSetCrumb(name || of);
  useWatch(...(operator ? living.slice(0, WATCHED).map(({ id }) => ({ case: "nodeId" as const, value: id })) : []));
  useFollow(of, nodes.data);

  if (isNotFound(cluster.error) && !cluster.data) {
    return (
      <Page title={of}>
        <Refused title={say.gone} action={<LinkButton href={back}>{say.toClusters}</LinkButton>}>
          {""}
        </Refused>
      </Page>
    );
  }
  const act = (which: NodeAct, node: Node) => {
    setProblem("");
    if (which === "cordon") cordon(node);
    else if (which === "uncordon") uncordon(node);
    else setAsked({ act: which, node });
  };
  const node = nodes.data?.find(({ id }) => id === opened);
  return (
    <Page
      title={name || of}
      tab={`${name || of} · Clusters`}
      beside={
        cluster.data && (
          <Tag>
            {cluster.data.kind === ClusterKind.PRIVATE ? say.privateOf(cluster.data.organization) : say.shared}
            {cluster.data.region && ` · ${cluster.data.region}`}
          </Tag>
        )
      }
      description={
        shown && cluster.data ? (
          summary(living.length, living.filter(isUsable).length, cluster.data.projects)
        ) : (
          <Skeleton className="h-5 w-64" />
        )
      }
      actions={
        may && (
          <>
            <Button look="primary" icon={Plus} onClick={() => setAdding(true)}>
              {say.add}
            </Button>
            {cluster.data && name !== "default" && (
              <span className="flex items-center max-md:flex-none!">
                <ActionsMenu of={name}>
                  <MenuItem icon={Trash2} danger onSelect={() => setDeleting(true)}>
                    {say.delete}
                  </MenuItem>
                </ActionsMenu>
              </span>
            )}
          </>
        )
      }
    >
      {problem && (
        <div role="alert" className="mb-4">
          <Notice kind="bad">{problem}</Notice>
        </div>
      )}
      {cluster.error && !cluster.data ? (
        <ErrorState title={say.failed} error={cluster.error} onRetry={() => void cluster.refetch()} />
      ) : (
        <Figures cluster={cluster.data} />
      )}
      <Section title={say.nodes}>
        {nodes.error && !nodes.data ? (
          <ErrorState title={say.nodesFailed} error={nodes.error} onRetry={() => void nodes.refetch()} />
        ) : shown?.length === 0 ? (
          <EmptyState
            title={say.addFirst}
            icon={Server}
            action={
              may && (
                <Button look="primary" icon={Plus} onClick={() => setAdding(true)}>
                  {say.add}
                </Button>
              )
            }
          >
            {say.addWhy}
          </EmptyState>
        ) : (
          <NodeList cluster={name} nodes={shown} may={may} onOpen={({ id }) => setOpened(id)} onAct={act} />
        )}
        {alarms.length > 0 && <Alarms alarms={alarms} className="mt-3" />}
      </Section>
      {leftovers.rows.length > 0 && (
        <Section title={say.leftovers}>
          <LeftoverList leftovers={leftovers.rows} nodes={nodes.data ?? []} may={may} />
        </Section>
      )}
      {adding && nodes.data && (
        <AddNode name={name} cluster={of} nodes={nodes.data} live={operator} onClose={() => setAdding(false)} />
      )}
      {node && <NodeDrawer node={node} onClose={() => setOpened(undefined)} />}
      {asked && asked.act !== "cordon" && asked.act !== "uncordon" && (
        <ActDialog act={asked.act} node={asked.node} onClose={() => setAsked(undefined)} />
      )}
      {deleting && (
        <ConfirmByName
          open
          onClose={() => setDeleting(false)}
          name={name}
          what="cluster"
          title={`${say.delete} ${name}`}
          description={say.deleteWhat(name)}
          action={say.delete}
          busy={remove.isPending}
          onConfirm={() =>
            remove.mutate(of, {
              onSuccess: () => {
                toast(say.deleted(name));
                router.push(back);
              },
              onError: (error) => {
                setDeleting(false);
                setProblem(told(explain(error)));
              },
            })
          }
        />
      )}
    </Page>
  );
}

/** What the nodes' live states bring with them: other alarms, other sums of the cluster. */
function useFollow(of: string, nodes: Node[] | undefined) {
  const cache = useQueryClient();
  const state = nodes
    ?.map((node) => [node.id, node.state, node.availability, node.projects, node.alarms.length, node.conditions.length].join())
    .join(" ");
  useEffect(() => {
    if (state === undefined) return;
    void cache.invalidateQueries({ queryKey: keys.alarmsOf(of) });
    void cache.invalidateQueries({ queryKey: keys.cluster(of) });
  }, [cache, of, state]);
}
