"use client";

import { useWatch } from "@/api/live/use-watch";
import { useEntitlements } from "@/api/queries/entitlements";
import { useOrganization } from "@/api/queries/organizations";
import { usePlans } from "@/api/queries/plans";
import { type Entitlements, type OrganizationEntitlement, type Plan, SizeAction } from "@/gen/supalove/v1/plan_pb";
import { useSlug } from "@/lib/routes";
import { Card, type Column, ErrorState, Meter, Page, Section, Skeleton, Table } from "@/ui";
import { type Difference, differences, limitText, nameOf, nextPlan, numberOf, usedText } from "./limits";
import { price, messages as say } from "./messages";

export function PlanPage() {
  const slug = useSlug();
  const name = useOrganization(slug).data?.name ?? slug;
  const entitlements = useEntitlements(slug);
  const plans = usePlans().data ?? [];
  useWatch({ case: "organization", value: slug });
  const { data } = entitlements;
  const next = data?.plan && nextPlan(plans, data.plan);
  return (
    <Page
      title={say.title}
      tab={`${say.title} · ${name}`}
      description={data?.plan ? say.description(data.plan.displayName) : <Skeleton className="h-5 w-72" />}
    >
      {entitlements.error && !data ? (
        <ErrorState title={say.failed} error={entitlements.error} onRetry={() => void entitlements.refetch()} />
      ) : data ? (
        <Shown of={data} />
      ) : (
        <Skeleton className="h-96 w-full" />
      )}
      {data?.plan?.limits && next?.limits && (
        <Section title={say.next(next.displayName)}>
          <Next from={data.plan} to={next} rows={differences(data.plan.limits, next.limits)} />
        </Section>
      )}
    </Page>
  );
}

function Shown({ of }: { of: Entitlements }) {
  return (
    <>
      <Card className="flex flex-wrap items-baseline gap-x-6 gap-y-1 px-4 py-4 md:px-5">
        <div>
          <div className="text-13 text-ink-2">{say.title}</div>
          <div className="text-20 font-semibold tracking-title">{of.plan?.displayName}</div>
        </div>
        <p className="num ml-auto text-13 text-ink-2">{of.plan && price(of.plan.priceCents)}</p>
        <p className="w-full text-13 text-ink-2">
          {of.plan?.atSizeLimit === SizeAction.READ_ONLY ? say.sizeOver : say.sizeTold} {say.since(of.planReason)}
        </p>
      </Card>
      <Section title={say.limits}>
        <ul className="overflow-hidden rounded-3 border border-line bg-surface">
          {of.entitlements.map((one) => (
            <Limit key={one.entitlement} of={one} />
          ))}
        </ul>
      </Section>
    </>
  );
}

function Limit({ of }: { of: OrganizationEntitlement }) {
  const limit = numberOf(of.limit?.kind);
  const used = of.used === undefined || limit === undefined ? undefined : Number(of.used);
  const name = nameOf(of.entitlement);
  return (
    <li className="flex min-h-12 flex-wrap items-center gap-x-4 gap-y-1.5 border-b border-line px-4 py-3 text-13 last:border-b-0 md:flex-nowrap">
      <div className="min-w-0 flex-1 md:w-56 md:flex-none">
        <div className="font-medium">{name}</div>
        {of.override && <div className="text-12 text-ink-3">{say.override(of.override.reason)}</div>}
      </div>
      {used !== undefined && limit !== undefined && (
        <Meter
          label={name}
          used={used}
          limit={limit}
          text={usedText(of.entitlement, used, of.limit?.kind)}
          className="max-md:order-last max-md:w-full md:flex-1"
        />
      )}
      <div className="num ml-auto text-right text-ink-2 md:min-w-28">
        {used === undefined ? limitText(of.entitlement, of.limit?.kind) : usedText(of.entitlement, used, of.limit?.kind)}
      </div>
    </li>
  );
}

function Next({ from, to, rows }: { from: Plan; to: Plan; rows: Difference[] }) {
  const columns: Column<Difference>[] = [
    { id: "name", head: say.limit, cell: ({ name }) => <span className="font-medium">{name}</span> },
    { id: "from", head: from.displayName, right: true, cell: (row) => <span className="text-ink-2">{row.from}</span> },
    { id: "to", head: to.displayName, right: true, cell: (row) => <span className="font-medium">{row.to}</span> },
  ];
  return (
    <>
      <p className="mb-3 text-13 text-ink-2">
        {to.priceCents > 0n && `${price(to.priceCents)}. `}
        {say.nextWhat}
      </p>
      <Table caption={say.next(to.displayName)} columns={columns} rows={rows} rowKey={({ name }) => name} />
    </>
  );
}
