"use client";

import { RotateCw } from "lucide-react";
import { isRefused } from "@/api/errors";
import { useAlarms, useClusters } from "@/api/queries/clusters";
import { useJobs } from "@/api/queries/platform";
import type { Cluster } from "@/gen/supalove/v1/cluster_pb";
import { JobState } from "@/gen/supalove/v1/platform_pb";
import { paths } from "@/lib/routes";
import { Button, Card, cx, ErrorState, Page, Section, Skeleton, TextLink } from "@/ui";
import { Alarms } from "../cluster/alarms";
import { JobList } from "./job-list";
import { messages as say, summary } from "./messages";
import { NotOperator } from "./refused";

/** Whether the platform does its work: alarms of nodes, and its background jobs. */
export function PlatformPage() {
  const jobs = useJobs();
  const clusters = useClusters().data;
  const alarms = useAlarms();
  if (isRefused(jobs.error)) return <NotOperator title={say.title} />;
  const sum = (of: (cluster: Cluster) => number) => clusters?.reduce((all, cluster) => all + of(cluster), 0);
  const nodes = sum((cluster) => cluster.nodes);
  const figures = [
    { label: say.nodes, value: sum((cluster) => cluster.nodesConnected), of: nodes },
    { label: say.projects, value: sum((cluster) => cluster.projects) },
    { label: say.clusters, value: clusters?.length },
  ];
  const failing = jobs.data?.filter(({ state }) => state === JobState.FAILING).length ?? 0;
  return (
    <Page
      title={say.title}
      tab="Platform"
      description={jobs.data ? summary(jobs.data.length, failing) : <Skeleton className="h-5 w-64" />}
      actions={
        <Button
          icon={RotateCw}
          busy={jobs.isFetching}
          onClick={() => {
            void jobs.refetch();
            void alarms.refetch();
          }}
        >
          {say.refresh}
        </Button>
      }
    >
      <Card className="grid grid-cols-3 overflow-hidden">
        {figures.map(({ label, value, of }, index) => (
          <div key={label} className={cx("border-line px-4 py-4 md:px-5", index > 0 && "border-l")}>
            <div className="text-13 text-ink-2">{label}</div>
            {value === undefined ? (
              <Skeleton className="mt-1 h-6 w-16" />
            ) : (
              <div className="num text-20 font-semibold tracking-title">
                {value}
                {of !== undefined && <span className="text-13 font-normal tracking-normal text-ink-2"> of {of}</span>}
              </div>
            )}
          </div>
        ))}
      </Card>
      {alarms.data && alarms.data.length > 0 && (
        <Section title={say.alarms} actions={<TextLink href={paths.platform("clusters")}>{say.clusters}</TextLink>}>
          <Alarms alarms={alarms.data} />
        </Section>
      )}
      <Section title={say.jobs}>
        {jobs.error && !jobs.data ? (
          <ErrorState title={say.failed} error={jobs.error} onRetry={() => void jobs.refetch()} />
        ) : (
          <JobList jobs={jobs.data} />
        )}
      </Section>
    </Page>
  );
}
