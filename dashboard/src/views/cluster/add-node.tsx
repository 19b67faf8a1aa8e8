"use client";

import { Check, Copy, Eye } from "lucide-react";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { explain, told } from "@/api/errors";
import { useWatch } from "@/api/live/use-watch";
import { useCreateJoinToken, useJoining, useRevokeJoinToken } from "@/api/queries/join";
import type { Node } from "@/gen/supalove/v1/cluster_pb";
import type { Shown } from "@/lib/states";
import { clock, millis } from "@/lib/time";
import { list } from "@/lib/words";
import { Button, cx, Drawer, FormError, Icon, Skeleton, State, toast, useCopy } from "@/ui";
import { joiningOf } from "./join";
import { addMessages as say } from "./messages";

interface Props {
  /** Its name, and what calls name it by. */
  name: string;
  cluster: string;
  nodes: Node[];
  /** Nodes can be watched: the caller is the operator. */
  live: boolean;
  onClose: () => void;
}

const DONE: Shown = { word: "", icon: "check", kind: "ok" };
const NEXT: Shown = { word: "", icon: "dashed", kind: "idle" };
const NOW: Shown = { word: "", icon: "spin", kind: "busy" };

/** Token, command, and the host as it comes: the drawer turns to "is ready" by itself. */
export function AddNode({ name, cluster, nodes, live, onClose }: Props) {
  const make = useCreateJoinToken(cluster);
  const revoke = useRevokeJoinToken();
  const [before] = useState(() => nodes.map(({ id }) => id));
  const [ready, setReady] = useState(false);
  const joining = useJoining(cluster, make.data?.id ?? "", make.isSuccess && !ready);
  const now = joiningOf(joining.data?.token, joining.data?.nodes ?? nodes, before);
  const node = "node" in now ? now.node : undefined;
  const { mutate } = make;
  const begun = useRef(false);
  useEffect(() => {
    // Once: a repeated effect would leave a token that nobody sees.
    if (begun.current) return;
    begun.current = true;
    mutate();
  }, [mutate]);
  useEffect(() => setReady(now.step === "ready"), [now.step]);
  useWatch({ case: "nodeId", value: live && node ? node.id : "" });

  const ends = millis(make.data?.expireTime);
  const again = () => {
    joining.refetch();
    make.mutate();
  };
  return (
    <Drawer
      open
      onClose={onClose}
      title={say.title(name)}
      description={say.description}
      footer={
        <>
          {make.data && now.step === "waiting" && (
            <>
              <span className="mr-auto text-12 text-ink-3 max-md:hidden">{ends !== undefined && say.ends(clock(ends))}</span>
              <Button
                look="ghost"
                busy={revoke.isPending}
                onClick={() =>
                  revoke.mutate(make.data.id, {
                    onSuccess: () => {
                      toast(say.revoked);
                      onClose();
                    },
                  })
                }
              >
                {say.revoke}
              </Button>
            </>
          )}
          <Button look={now.step === "ready" ? "primary" : "secondary"} onClick={onClose}>
            {now.step === "ready" ? say.done : say.close}
          </Button>
        </>
      }
    >
      <FormError>{make.error && told(explain(make.error))}</FormError>
      <FormError>{revoke.error && told(explain(revoke.error))}</FormError>
      <ol className="flex flex-col">
        <Step number={1} done={make.isSuccess} now={!make.isSuccess} title={say.token}>
          {ends === undefined ? <Skeleton className="h-5 w-40" /> : say.tokenFor(clock(ends))}
        </Step>
        <Step number={2} done={node !== undefined} now={make.isSuccess && !node} title={say.run}>
          {make.data ? (
            <>
              <Command text={make.data.joinCommand} />
              {make.data.architectures.length > 0 && (
                <p className="mt-2 text-12 text-ink-3">{say.architectures(list(make.data.architectures))}</p>
              )}
            </>
          ) : (
            <Skeleton className="h-28 w-full" />
          )}
        </Step>
        <Step
          number={3}
          done={now.step === "ready"}
          now={make.isSuccess && now.step !== "ready"}
          last
          title={now.step === "ready" ? say.ready(now.node.name) : node ? say.joined(node.name) : say.wait}
        >
          <p role="status">
            {now.step === "ready"
              ? say.readyWhat
              : now.step === "joined"
                ? say.connects
                : now.step === "ended"
                  ? say.ended
                  : say.waiting}
          </p>
          {now.step === "ended" ? (
            <Button className="mt-3" onClick={again} busy={make.isPending}>
              {say.again}
            </Button>
          ) : (
            <ul className="mt-3 flex flex-col gap-2">
              <li>
                <State plain of={{ ...(node ? DONE : NOW), word: say.accepted }} />
              </li>
              <li>
                <State plain of={{ ...(now.step === "ready" ? DONE : node ? NOW : NEXT), word: say.firstContact }} />
              </li>
            </ul>
          )}
        </Step>
      </ol>
    </Drawer>
  );
}

interface StepProps {
  number: number;
  done: boolean;
  now: boolean;
  last?: boolean;
  title: string;
  children: ReactNode;
}

function Step({ number, done, now, last, title, children }: StepProps) {
  return (
    <li className="flex gap-3" aria-current={now ? "step" : undefined}>
      <div className="flex flex-col items-center">
        <span
          className={cx(
            "num inline-flex size-6 shrink-0 items-center justify-center rounded-full text-12 font-semibold",
            done ? "bg-ok-soft text-ok" : now ? "bg-busy-soft text-busy" : "bg-idle-soft text-idle",
          )}
        >
          {done ? <Icon of={Check} small /> : number}
        </span>
        {!last && <span className="my-1 w-px flex-1 bg-line" />}
      </div>
      <div className={cx("min-w-0 flex-1 text-13 text-ink-2", !last && "pb-5")}>
        <h3 className="mb-0.5 text-14 leading-6 font-semibold text-ink">
          {title}
          {done && <span className="sr-only"> (done)</span>}
        </h3>
        {children}
      </div>
    </li>
  );
}

/** The command holds the token, which is shown only now. */
function Command({ text }: { text: string }) {
  const { copied, copy } = useCopy();
  return (
    <div className="mt-2 overflow-hidden rounded-2 border border-line bg-sunken text-ink">
      <pre
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls by the keyboard
        tabIndex={0}
        className="code max-h-40 overflow-auto px-3.5 py-3 text-13 wrap-anywhere whitespace-pre-wrap"
      >
        {text}
      </pre>
      <div className="flex items-center gap-2 border-t border-line py-1.5 pr-1.5 pl-3.5">
        <Icon of={Eye} small className="text-ink-3" />
        <span className="flex-1 text-12 text-ink-3">{say.onlyNow}</span>
        <Button size="small" icon={copied ? Check : Copy} onClick={() => void copy(text)}>
          {say.copy}
        </Button>
      </div>
    </div>
  );
}
