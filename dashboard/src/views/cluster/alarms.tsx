import type { Alarm } from "@/gen/supalove/v1/cluster_pb";
import { millis } from "@/lib/time";
import { sentence } from "@/lib/words";
import { Notice, RelativeTime } from "@/ui";
import { messages as say } from "./messages";

/** What is wrong with nodes: since when, what it means and what helps, in the server's words. */
export function Alarms({ alarms, className }: { alarms: Alarm[]; className?: string }) {
  return (
    <ul className={className}>
      {alarms.map((alarm) => (
        <li key={`${alarm.nodeId} ${alarm.reason}`} className="not-first:mt-2">
          <Notice kind={alarm.reason === "LOST" || alarm.blocking ? "bad" : "warn"}>
            <span className="font-medium">{alarm.nodeName}</span>{" "}
            {alarm.since && (
              <span className="text-ink-2">
                (<RelativeTime time={millis(alarm.since)} />){" "}
              </span>
            )}
            {sentence(alarm.message)}
            {alarm.blocking && <span className="text-ink-2"> It {say.blocking}.</span>}
          </Notice>
        </li>
      ))}
    </ul>
  );
}
