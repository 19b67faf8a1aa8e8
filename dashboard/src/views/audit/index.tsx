"use client";

import { Suspense } from "react";
import { useMembers } from "@/api/queries/members";
import { useMe, useOrganization } from "@/api/queries/organizations";
import { mayAdminister, roleName } from "@/lib/roles";
import { useSlug } from "@/lib/routes";
import { Page, Refused } from "@/ui";
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
  const organization = useOrganization(slug).data;
  const operator = useMe().data?.operator;
  const name = organization?.name ?? slug;
  const members = useMembers(slug).data ?? [];
  const people = members.map((member) => ({ id: member.userId, name: nameOf(member) }));
  if (organization && operator === false && !mayAdminister(organization.role)) {
    return (
      <Page title={say.title} tab={`${say.title} · ${name}`}>
        <Refused title={say.refused}>{say.refusedWhat(roleName(organization.role))}</Refused>
      </Page>
    );
  }
  return <AuditView scope={slug} tab={`${say.title} · ${name}`} people={people} />;
}

function PlatformAudit() {
  const me = useMe().data;
  if (me?.operator === false) return <NotOperator title={say.title} />;
  const people = me ? [{ id: me.id, name: `${me.displayName || me.email} (${say.you})` }] : [];
  return <AuditView scope="" tab={`${say.title} · Platform`} people={people} />;
}
