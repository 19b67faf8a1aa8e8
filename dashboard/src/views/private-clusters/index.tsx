"use client";

import { Plus, Server } from "lucide-react";
import { useSearchParams } from "next/navigation";
import { Suspense, useState } from "react";
import { useOrganizationClusters } from "@/api/queries/clusters";
import { useEntitlements } from "@/api/queries/entitlements";
import { useMe, useOrganization } from "@/api/queries/organizations";
import type { Cluster } from "@/gen/supalove/v1/cluster_pb";
import { Entitlement } from "@/gen/supalove/v1/plan_pb";
import { mayAdminister } from "@/lib/roles";
import { paths, useSlug } from "@/lib/routes";
import { Button, EmptyState, ErrorState, Page, Skeleton } from "@/ui";
import { ClusterView } from "../cluster/cluster-view";
import { ClusterList } from "../clusters/cluster-list";
import { NewCluster } from "../clusters/new-cluster";
import { messages as say, summary } from "./messages";

/** The address names the cluster that is open (`?c=clu_…`). */
export function PrivateClustersPage() {
  return (
    <Suspense>
      <Content />
    </Suspense>
  );
}

function Content() {
  const slug = useSlug();
  const open = useSearchParams().get("c");
  const role = useOrganization(slug).data?.role;
  const operator = useMe().data?.operator ?? false;
  if (open) {
    return (
      <ClusterView
        key={open}
        of={open}
        may={mayAdminister(role) || operator}
        operator={operator}
        back={paths.organization(slug, "clusters")}
      />
    );
  }
  return <List slug={slug} may={mayAdminister(role)} />;
}

function List({ slug, may }: { slug: string; may: boolean }) {
  const clusters = useOrganizationClusters(slug);
  const name = useOrganization(slug).data?.name ?? slug;
  const entitlements = useEntitlements(slug).data;
  const [creating, setCreating] = useState(false);
  const limit = entitlements?.entitlements.find(({ entitlement }) => entitlement === Entitlement.PRIVATE_CLUSTERS)?.limit;
  const allowed = limit?.kind.case === "allowed" && limit.kind.value;
  const hrefOf = (cluster: Pick<Cluster, "id">) => `${paths.organization(slug, "clusters")}?c=${cluster.id}`;
  const sum = (of: (cluster: Cluster) => number) => clusters.data?.reduce((all, cluster) => all + of(cluster), 0) ?? 0;
  const create = may && allowed && (
    <Button look="primary" icon={Plus} onClick={() => setCreating(true)}>
      {say.create}
    </Button>
  );
  return (
    <Page
      title={say.title}
      tab={`${say.title} · ${name}`}
      actions={clusters.data && clusters.data.length > 0 && create}
      description={
        clusters.data ? (
          summary(
            clusters.data.length,
            sum(({ nodes }) => nodes),
            sum(({ projects }) => projects),
          )
        ) : (
          <Skeleton className="h-5 w-56" />
        )
      }
    >
      {clusters.error && !clusters.data ? (
        <ErrorState title={say.failed} error={clusters.error} onRetry={() => void clusters.refetch()} />
      ) : clusters.data?.length === 0 && entitlements ? (
        <EmptyState title={say.emptyTitle} icon={Server} action={create}>
          {!allowed ? say.notOnPlan(entitlements.plan?.displayName ?? "") : may ? say.empty : say.readOnly}
        </EmptyState>
      ) : (
        <ClusterList clusters={clusters.data?.length === 0 ? undefined : clusters.data} hrefOf={hrefOf} />
      )}
      {creating && (
        <NewCluster
          organization={slug}
          onClose={() => setCreating(false)}
          onCreated={() => {
            setCreating(false);
            void clusters.refetch();
          }}
        />
      )}
    </Page>
  );
}
