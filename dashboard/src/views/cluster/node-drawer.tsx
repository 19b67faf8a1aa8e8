"use client";

import type { ReactNode } from "react";
import type { Node } from "@/gen/supalove/v1/cluster_pb";
import { reservedOf } from "@/lib/capacity";
import { nodeShown } from "@/lib/states";
import { millis } from "@/lib/time";
import { sentence } from "@/lib/words";
import { CopyButton, Drawer, Meter, Notice, RelativeTime, State, Tag } from "@/ui";

/** All that is known of a node. */
export function NodeDrawer({ node, onClose }: { node: Node; onClose: () => void }) {
  return (
    <Drawer open onClose={onClose} title={node.name} description={node.advertiseAddress}>
      <div>
        <State of={nodeShown(node)} />
      </div>
      {node.conditions.map((condition) => (
        <Notice key={condition.reason} kind={condition.blocking ? "bad" : "warn"}>
          {sentence(condition.message)}
        </Notice>
      ))}
      <div className="flex flex-col gap-4">
        {reservedOf(node.used, node.capacity).map(({ id, label, used, limit, text }) => (
          <Meter key={id} label={label} used={used} limit={limit} text={text} showText />
        ))}
      </div>
      <dl className="border-t border-line text-13">
        <Row name="Projects">{node.projects}</Row>
        <Row name="Agent">{node.agentVersion || "–"}</Row>
        <Row name="Docker Engine">{node.engineVersion || "–"}</Row>
        <Row name="Last seen">
          <RelativeTime time={millis(node.lastSeenTime)} />
        </Row>
        <Row name="Joined">
          <RelativeTime time={millis(node.createTime)} />
        </Row>
        <Row name="Certificate ends">
          <RelativeTime time={millis(node.certificateExpireTime)} />
        </Row>
        {Object.keys(node.labels).length > 0 && (
          <Row name="Labels">
            <span className="flex flex-wrap justify-end gap-1">
              {Object.entries(node.labels).map(([key, value]) => (
                <Tag key={key}>{value ? `${key}=${value}` : key}</Tag>
              ))}
            </span>
          </Row>
        )}
        {node.blockedSlots.length > 0 && <Row name="Slots that cannot be used">{node.blockedSlots.join(", ")}</Row>}
        <Row name="Id">
          <span className="flex min-w-0 items-center justify-end gap-1">
            <span className="code truncate text-12">{node.id}</span>
            <CopyButton value={node.id} what="id" />
          </span>
        </Row>
      </dl>
    </Drawer>
  );
}

function Row({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="flex min-h-10 items-center justify-between gap-4 border-b border-line py-1.5 last:border-b-0">
      <dt className="shrink-0 text-ink-2">{name}</dt>
      <dd className="num min-w-0 text-right font-medium">{children}</dd>
    </div>
  );
}
