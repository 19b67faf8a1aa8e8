"use client";

import { useMe } from "@/api/queries/organizations";
import { paths, useClusterName } from "@/lib/routes";
import { ClusterView } from "./cluster-view";

export function ClusterPage() {
  const operator = useMe().data?.operator ?? false;
  const name = useClusterName();
  return <ClusterView of={name} may={operator} operator={operator} back={paths.platform("clusters")} />;
}
