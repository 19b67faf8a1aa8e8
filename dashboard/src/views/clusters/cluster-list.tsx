"use client";

import type { Cluster } from "@/gen/supalove/v1/cluster_pb";
import { reservedOf } from "@/lib/capacity";
import { type Column, Link, Table, Tag } from "@/ui";
import { SmallMeter } from "../cluster/small-meter";
import { messages as say } from "./messages";

interface Props {
  clusters: Cluster[] | undefined;
  hrefOf: (cluster: Cluster) => string;
  /** Says of each whose it is. */
  owners?: boolean;
}

export function ClusterList({ clusters, hrefOf, owners }: Props) {
  const meter = (index: number, id: string, head: string): Column<Cluster> => ({
    id,
    head,
    wide: true,
    cell: (cluster) => <SmallMeter of={cluster.name} reserved={reservedOf(cluster.used, cluster.capacity)[index]!} />,
  });
  const columns: Column<Cluster>[] = [
    {
      id: "name",
      head: "Cluster",
      cell: (cluster) => (
        <div className="min-w-0">
          <div className="flex min-w-0 items-center gap-2">
            <Link href={hrefOf(cluster)} className="truncate rounded-1 font-medium hover:underline">
              {cluster.name}
            </Link>
            {owners && <Tag>{cluster.organization || say.shared}</Tag>}
          </div>
          {cluster.region && <div className="truncate text-12 text-ink-3">{cluster.region}</div>}
        </div>
      ),
    },
    {
      id: "nodes",
      head: "Nodes",
      cell: ({ nodes, nodesConnected }) => (
        <span className={nodesConnected < nodes ? "num text-warn" : "num text-ink-2"}>
          {nodes === 0 ? "none" : `${nodesConnected} of ${nodes}`}
          <span className="max-md:hidden">{nodes > 0 && " connected"}</span>
        </span>
      ),
    },
    meter(0, "cpu", "CPU"),
    meter(1, "memory", "Memory"),
    meter(2, "disk", "Disk"),
    { id: "projects", head: "Projects", right: true, cell: ({ projects }) => projects },
  ];
  return <Table caption={say.caption} columns={columns} rows={clusters} rowKey={({ id }) => id} />;
}
