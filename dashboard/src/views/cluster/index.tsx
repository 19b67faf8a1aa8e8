"use client";

import { useMe } from "@/api/queries/organizations";
import { paths, useClusterName } from "@/lib/routes";
import { NotOperator } from "../platform/refused";
import { ClusterView } from "./cluster-view";

export function ClusterPage() {
  const name = useClusterName();
  const me = useMe().data;
  if (me?.operator === false) return <NotOperator title={name} />;
  return (
    <ClusterView of={name} may={me?.operator ?? false} operator={me?.operator ?? false} back={paths.platform("clusters")} />
  );
}
