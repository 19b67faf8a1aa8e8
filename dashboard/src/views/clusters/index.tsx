"use client";

import { Plus } from "lucide-react";
import { useRouter } from "next/navigation";
import { useState } from "react";
import { useAlarms, useClusters } from "@/api/queries/clusters";
import { useMe } from "@/api/queries/organizations";
import { type Cluster, ClusterKind } from "@/gen/supalove/v1/cluster_pb";
import { paths } from "@/lib/routes";
import { Button, ErrorState, Page, Section, Skeleton } from "@/ui";
import { Alarms } from "../cluster/alarms";
import { NotOperator } from "../platform/refused";
import { ClusterList } from "./cluster-list";
import { messages as say, summary } from "./messages";
import { NewCluster } from "./new-cluster";

/** All clusters of the platform, for its operator. */
export function ClustersPage() {
  const router = useRouter();
  const clusters = useClusters();
  const alarms = useAlarms().data ?? [];
  const [creating, setCreating] = useState(false);
  if (useMe().data?.operator === false) return <NotOperator title={say.title} />;
  const sum = (of: (cluster: Cluster) => number) => clusters.data?.reduce((all, cluster) => all + of(cluster), 0) ?? 0;
  return (
    <Page
      title={say.title}
      description={
        clusters.data ? (
          summary(
            clusters.data.length,
            sum(({ nodesConnected }) => nodesConnected),
            sum(({ nodes }) => nodes),
            sum(({ projects }) => projects),
          )
        ) : (
          <Skeleton className="h-5 w-64" />
        )
      }
      actions={
        <Button look="primary" icon={Plus} onClick={() => setCreating(true)}>
          {say.create}
        </Button>
      }
    >
      {clusters.error && !clusters.data ? (
        <ErrorState title={say.failed} error={clusters.error} onRetry={() => void clusters.refetch()} />
      ) : (
        <ClusterList
          owners
          clusters={clusters.data}
          // The names of private clusters are unique only in their organization.
          hrefOf={({ kind, name, id }) => paths.cluster(kind === ClusterKind.PRIVATE ? id : name)}
        />
      )}
      {alarms.length > 0 && (
        <Section title={say.alarms}>
          <Alarms alarms={alarms} />
        </Section>
      )}
      {creating && (
        <NewCluster organization="" onClose={() => setCreating(false)} onCreated={(name) => router.push(paths.cluster(name))} />
      )}
    </Page>
  );
}
