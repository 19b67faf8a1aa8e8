"use client";

import { Suspense } from "react";
import { useMembers } from "@/api/queries/members";
import { useMe, useOrganization } from "@/api/queries/organizations";
import { useSlug } from "@/lib/routes";
import { nameOf } from "../members/member-list";
import { NotOperator } from "../platform/refused";
import { AuditView } from "./audit-view";
import { messages as say } from "./messages";

/** The address has the filter, and the export knows no address. */
export function AuditPage() {
  return (
    <Suspense>
      <OrganizationAudit />
    </Suspense>
  );
}

export function PlatformAuditPage() {
  return (
    <Suspense>
      <PlatformAudit />
    </Suspense>
  );
}

function OrganizationAudit() {
  const slug = useSlug();
  const name = useOrganization(slug).data?.name ?? slug;
  const members = useMembers(slug).data ?? [];
  const people = members.map((member) => ({ id: member.userId, name: nameOf(member) }));
  return <AuditView scope={slug} tab={`${say.title} · ${name}`} people={people} />;
}

function PlatformAudit() {
  const me = useMe().data;
  if (me?.operator === false) return <NotOperator title={say.title} />;
  const people = me ? [{ id: me.id, name: `${me.displayName || me.email} (${say.you})` }] : [];
  return <AuditView scope="" tab={`${say.title} · Platform`} people={people} />;
}
