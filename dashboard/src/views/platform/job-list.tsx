"use client";

import type { Job } from "@/gen/supalove/v1/platform_pb";
import { millis } from "@/lib/time";
import { sentence } from "@/lib/words";
import { type Column, RelativeTime, State, Table } from "@/ui";
import { byTrouble, jobShown, rhythmOf } from "./jobs";
import { messages as say } from "./messages";

export function JobList({ jobs }: { jobs: Job[] | undefined }) {
  const columns: Column<Job>[] = [
    {
      id: "job",
      head: "Job",
      className: "md:w-1/2",
      cell: (job) => (
        <div className="min-w-0 py-2">
          <div className="code truncate">{job.name}</div>
          {job.lastError && (
            <div className="text-12 text-ink-3 wrap-anywhere max-md:line-clamp-2">
              Failed <RelativeTime time={millis(job.lastFailureTime)} />: {sentence(job.lastError)}
            </div>
          )}
        </div>
      ),
    },
    { id: "state", head: "State", cell: (job) => <State of={jobShown(job)} /> },
    { id: "rhythm", head: "Runs", wide: true, cell: (job) => <span className="text-ink-2">{rhythmOf(job)}</span> },
    {
      id: "success",
      head: "Last success",
      wide: true,
      cell: (job) => (
        <span className="text-ink-2">
          <RelativeTime time={millis(job.lastSuccessTime)} />
        </span>
      ),
    },
  ];
  return (
    <Table
      caption={say.jobs}
      columns={columns}
      rows={jobs && byTrouble(jobs)}
      rowKey={({ name, controllerId }) => `${name} ${controllerId}`}
      expected={8}
    />
  );
}
