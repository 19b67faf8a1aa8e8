"use client";

import { Ban, CircleMinus, CirclePlus, LogOut, type LucideIcon, Server, Trash2 } from "lucide-react";
import type { Node } from "@/gen/supalove/v1/cluster_pb";
import { reservedOf } from "@/lib/capacity";
import { nodeShown } from "@/lib/states";
import { millis } from "@/lib/time";
import { ActionsMenu, type Column, Icon, MenuItem, MenuLine, RelativeTime, State, Table } from "@/ui";
import { actsOf, type NodeAct } from "./life";
import { messages as say } from "./messages";
import { SmallMeter } from "./small-meter";

const ICONS: Record<NodeAct, LucideIcon> = {
  cordon: CircleMinus,
  uncordon: CirclePlus,
  drain: LogOut,
  remove: Trash2,
  forget: Ban,
};
const DANGERS: NodeAct[] = ["remove", "forget"];

interface Props {
  cluster: string;
  nodes: Node[] | undefined;
  may: boolean;
  onOpen: (node: Node) => void;
  onAct: (act: NodeAct, node: Node) => void;
}

export function NodeList({ cluster, nodes, may, onOpen, onAct }: Props) {
  const meter = (index: number, id: string, head: string): Column<Node> => ({
    id,
    head,
    wide: true,
    cell: (node) => <SmallMeter of={node.name} reserved={reservedOf(node.used, node.capacity)[index]!} />,
  });
  const columns: Column<Node>[] = [
    {
      id: "node",
      head: "Node",
      cell: (node) => (
        <div className="flex min-w-0 items-center gap-3">
          <Icon of={Server} className="text-ink-3 max-md:hidden" />
          <div className="min-w-0">
            <button
              type="button"
              onClick={() => onOpen(node)}
              className="block max-w-full truncate rounded-1 text-left font-medium hover:underline"
            >
              {node.name}
            </button>
            <div className="code truncate text-12 text-ink-3">{node.advertiseAddress || node.id}</div>
          </div>
        </div>
      ),
    },
    { id: "state", head: "State", cell: (node) => <State of={nodeShown(node)} /> },
    meter(0, "cpu", "CPU"),
    meter(1, "memory", "Memory"),
    meter(2, "disk", "Disk"),
    { id: "projects", head: "Projects", right: true, wide: true, cell: ({ projects }) => projects },
    {
      id: "agent",
      head: "Agent",
      wide: true,
      className: "max-lg:hidden",
      cell: ({ agentVersion }) => <span className="num text-ink-2">{agentVersion || "–"}</span>,
    },
    {
      id: "seen",
      head: "Last seen",
      wide: true,
      className: "max-lg:hidden",
      cell: (node) => (
        <span className="text-ink-2">
          <RelativeTime time={millis(node.lastSeenTime)} />
        </span>
      ),
    },
    {
      id: "actions",
      head: "Actions",
      hideHead: true,
      right: true,
      className: "w-12",
      cell: (node) => {
        const acts = may ? actsOf(node) : [];
        if (acts.length === 0) return null;
        return (
          <ActionsMenu of={node.name}>
            {acts.map((act, index) => {
              const danger = DANGERS.includes(act);
              return (
                <div key={act}>
                  {danger && index > 0 && !DANGERS.includes(acts[index - 1]!) && <MenuLine />}
                  <MenuItem icon={ICONS[act]} danger={danger} onSelect={() => onAct(act, node)}>
                    {say[act]}
                  </MenuItem>
                </div>
              );
            })}
          </ActionsMenu>
        );
      },
    },
  ];
  return <Table caption={say.nodesOf(cluster)} columns={columns} rows={nodes} rowKey={({ id }) => id} />;
}
