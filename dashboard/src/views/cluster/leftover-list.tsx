"use client";

import { useState } from "react";
import { explain, told } from "@/api/errors";
import { useAdoptLeftover, useDeleteLeftover } from "@/api/mutations/nodes";
import type { Node } from "@/gen/supalove/v1/cluster_pb";
import type { Leftover } from "@/gen/supalove/v1/leftover_pb";
import { millis } from "@/lib/time";
import { count } from "@/lib/words";
import { Button, type Column, ConfirmByName, Notice, RelativeTime, Table, toast } from "@/ui";
import { messages as say } from "./messages";

interface Props {
  leftovers: Leftover[];
  nodes: Node[];
  may: boolean;
}

export function LeftoverList({ leftovers, nodes, may }: Props) {
  const adopt = useAdoptLeftover();
  const remove = useDeleteLeftover();
  const [asked, setAsked] = useState<Leftover>();
  const [problem, setProblem] = useState("");
  const nameOf = (id: string) => nodes.find((node) => node.id === id)?.name ?? id;
  const onError = (error: unknown) => {
    setAsked(undefined);
    setProblem(told(explain(error)));
  };
  const columns: Column<Leftover>[] = [
    {
      id: "ref",
      head: "Project",
      cell: (leftover) => (
        <div className="min-w-0">
          <div className="code truncate">{leftover.projectRef}</div>
          <div className="truncate text-12 text-ink-3">
            {nameOf(leftover.nodeId)}, found <RelativeTime time={millis(leftover.findTime)} />
          </div>
        </div>
      ),
    },
    {
      id: "what",
      head: "What is there",
      wide: true,
      cell: ({ containers, volumes }) => (
        <span className="text-ink-2">
          {count(containers.length, "container")}, {count(volumes.length, "volume")}
        </span>
      ),
    },
    {
      id: "why",
      head: "Why",
      wide: true,
      className: "md:w-2/5",
      cell: (leftover) => (
        <span className="text-12 text-ink-2">
          {leftover.deleteError || leftover.notDeletableReason || leftover.notAdoptableReason}
        </span>
      ),
    },
    {
      id: "actions",
      head: "Actions",
      hideHead: true,
      right: true,
      cell: (leftover) =>
        may && (
          <div className="flex justify-end gap-1">
            {leftover.adoptable && (
              <Button
                size="small"
                busy={adopt.isPending}
                onClick={() => adopt.mutate(leftover, { onSuccess: () => toast(say.adopted(leftover.projectRef)), onError })}
              >
                {say.adopt}
                <span className="sr-only"> {leftover.projectRef}</span>
              </Button>
            )}
            {leftover.deletable && !leftover.deleteRequestTime && (
              <Button size="small" look="ghost" onClick={() => setAsked(leftover)}>
                Delete<span className="sr-only"> {leftover.projectRef}</span>
              </Button>
            )}
            {leftover.deleteRequestTime && <span className="text-ink-3">Being deleted</span>}
          </div>
        ),
    },
  ];
  return (
    <>
      <p className="mb-3 max-w-180 text-13 text-ink-2">{say.leftoversWhat}</p>
      {problem && (
        <div role="alert" className="mb-3">
          <Notice kind="bad">{problem}</Notice>
        </div>
      )}
      <Table
        caption={say.leftovers}
        columns={columns}
        rows={leftovers}
        rowKey={({ nodeId, projectRef }) => `${nodeId} ${projectRef}`}
      />
      {asked && (
        <ConfirmByName
          open
          onClose={() => setAsked(undefined)}
          name={asked.projectRef}
          what="project"
          title={say.deleteLeftover}
          description={say.deleteLeftoverWhat(asked.projectRef, nameOf(asked.nodeId), asked.volumes.length)}
          action={say.deleteLeftover}
          busy={remove.isPending}
          onConfirm={() =>
            remove.mutate(asked, {
              onSuccess: () => {
                toast(say.leftoverDeleting(asked.projectRef));
                setAsked(undefined);
              },
              onError,
            })
          }
        />
      )}
    </>
  );
}
