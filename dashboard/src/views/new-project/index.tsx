"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useQueryClient } from "@tanstack/react-query";
import { useRouter } from "next/navigation";
import { useRef, useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod/mini";
import { projects } from "@/api/clients";
import { explain, isOffline } from "@/api/errors";
import { toForm } from "@/api/forms";
import { keys } from "@/api/keys";
import { useAllowedSizes } from "@/api/queries/allowed-sizes";
import { useClusters } from "@/api/queries/clusters";
import { useOrganization } from "@/api/queries/organizations";
import { usePlacements } from "@/api/queries/placement";
import { usePlans, useSizes } from "@/api/queries/plans";
import { uuid } from "@/api/uuid";
import { mebibytes } from "@/lib/format";
import { mayOperate } from "@/lib/roles";
import { paths, useSlug } from "@/lib/routes";
import { useSetCrumb } from "@/shell/crumb";
import { Button, Card, Choice, ErrorState, Field, FormError, Input, LinkButton, Notice, Page, Refused, Skeleton } from "@/ui";
import { reserved, messages as say } from "./messages";
import { firstFitting, roomOf } from "./rooms";

const schema = z.object({
  name: z.string().check(z.trim(), z.minLength(1, say.nameEmpty), z.maxLength(80, say.nameLong)),
  cluster: z.string(),
  size: z.string(),
});

export function NewProjectPage() {
  const slug = useSlug();
  useSetCrumb(say.title);
  const organization = useOrganization(slug);
  const clusters = useClusters();
  const sizes = useSizes();
  const { data } = organization;
  const failed = organization.error ?? clusters.error ?? sizes.error;
  if (data && !mayOperate(data.role)) {
    return (
      <Page title={say.title} narrow>
        <Refused title={say.refused} action={<LinkButton href={paths.projects(slug)}>{say.back}</LinkButton>}>
          {say.refusedWho}
        </Refused>
      </Page>
    );
  }
  return (
    <Page title={say.title} description={say.what} narrow>
      {failed && !(data && clusters.data && sizes.data) ? (
        <ErrorState
          title={say.failed}
          error={failed}
          onRetry={() => void Promise.all([organization.refetch(), clusters.refetch(), sizes.refetch()])}
        />
      ) : data && clusters.data && sizes.data ? (
        <Form
          slug={slug}
          clusters={clusters.data.filter((cluster) => !cluster.organization || cluster.organization === slug)}
          sizes={sizes.data}
          organization={data}
        />
      ) : (
        <div aria-busy="true" className="flex flex-col gap-6">
          <Skeleton className="h-14" />
          <Skeleton className="h-16" />
          <Skeleton className="h-64" />
        </div>
      )}
    </Page>
  );
}

const NAME_TAKEN = ["ALREADY_EXISTS", "NAME_HELD_BY_DELETED_PROJECT"];

interface FormProps {
  slug: string;
  organization: NonNullable<ReturnType<typeof useOrganization>["data"]>;
  clusters: NonNullable<ReturnType<typeof useClusters>["data"]>;
  sizes: NonNullable<ReturnType<typeof useSizes>["data"]>;
}

function Form({ slug, organization, clusters, sizes }: FormProps) {
  const router = useRouter();
  const cache = useQueryClient();
  const plan = usePlans().data?.find(({ name }) => name === organization.plan);
  const planName = plan?.displayName ?? organization.plan;
  const allowed =
    useAllowedSizes(slug).data ?? sizes.filter(({ plans }) => plans.includes(organization.plan)).map(({ name }) => name);
  const form = useForm({
    resolver: zodResolver(schema),
    mode: "onTouched",
    defaultValues: { name: "", cluster: "", size: "" },
  });
  const { errors, isSubmitting } = form.formState;
  const [problem, setProblem] = useState("");
  const [unsure, setUnsure] = useState(false);
  // Stays the same until an answer came: the same call again creates nothing twice.
  const requestId = useRef(uuid());

  const name = form.watch("name").trim();
  const size = form.watch("size") || (sizes.find((one) => allowed.includes(one.name))?.name ?? "");
  const placements = usePlacements(slug, clusters, size);
  const rooms = clusters.map((cluster, index) => ({ id: cluster.id, room: roomOf(placements[index]?.data) }));
  const cluster = form.watch("cluster") || firstFitting(rooms);
  const room = rooms.find(({ id }) => id === cluster)?.room;
  const gets = placements[clusters.findIndex(({ id }) => id === cluster)]?.data?.resources;
  const full = organization.projectsUsed >= organization.projectsLimit;

  const submit = form.handleSubmit(async (values) => {
    setProblem("");
    setUnsure(false);
    try {
      const { project } = await projects.createProject({
        organization: slug,
        name: values.name,
        cluster,
        size,
        requestId: requestId.current,
      });
      requestId.current = uuid();
      if (!project) return;
      cache.setQueryData(keys.project(project.ref), project);
      void cache.invalidateQueries({ queryKey: keys.allProjects });
      void cache.invalidateQueries({ queryKey: keys.organization(slug) });
      router.push(paths.project(project.ref));
    } catch (error) {
      if (isOffline(error)) setUnsure(true);
      else {
        requestId.current = uuid();
        const { reason, message, remedy } = explain(error);
        // Of a taken name the server names no field.
        if (NAME_TAKEN.includes(reason)) form.setError("name", { message: `${message} ${remedy}` }, { shouldFocus: true });
        else setProblem(toForm(form, error));
      }
    }
  });
  return (
    <form onSubmit={submit} noValidate className="flex max-w-140 flex-col gap-6">
      {full && (
        <Notice kind="warn">
          <span className="font-medium">{say.full(organization.projectsLimit, planName)}</span> {say.fullRemedy}
        </Notice>
      )}
      <Field label={say.name} hint={say.nameHint} error={errors.name?.message}>
        <Input autoComplete="off" maxLength={80} {...form.register("name")} />
      </Field>
      <Choice
        legend={say.cluster}
        name="cluster"
        value={cluster}
        onChange={(value) => form.setValue("cluster", value)}
        hint={say.clusterHint}
        options={clusters.map(({ id, name, region }, index) => ({
          value: id,
          label: [name, region].filter(Boolean).join(" · "),
          aside: rooms[index]?.room.aside,
          hint: rooms[index]?.room.why,
        }))}
      />
      <Choice
        legend={say.size}
        name="size"
        value={size}
        onChange={(value) => form.setValue("size", value)}
        hint={say.sizeHint}
        options={sizes.map((one) => ({
          value: one.name,
          label: one.name,
          aside: `${mebibytes(one.memoryMib)} of memory`,
          hint: allowed.includes(one.name)
            ? say.gives(one)
            : say.notInPlan(one.plans.map((plan) => plan[0]!.toUpperCase() + plan.slice(1))),
          disabled: !allowed.includes(one.name),
        }))}
      />
      <Card className="bg-sunken px-4 py-3 text-13 text-ink-2">
        <h2 className="font-medium text-ink">{say.summary}</h2>
        <p className="num min-h-5">{gets ? `${reserved(gets)} in all, for the database and its services.` : say.asking}</p>
        <p className="num">
          {say.used(organization.projectsUsed, organization.projectsLimit)} {room?.fits === false && say.waits}
        </p>
      </Card>
      <FormError>{problem}</FormError>
      {unsure && (
        <Notice kind="warn" action={<Button onClick={() => void submit()}>{say.check}</Button>}>
          {say.unsure}
        </Notice>
      )}
      <div className="flex gap-2 max-md:flex-col">
        <Button type="submit" look="primary" busy={isSubmitting} disabled={full} className="max-w-full disabled:opacity-50">
          <span className="truncate">{say.create(name)}</span>
        </Button>
        <LinkButton href={paths.projects(slug)}>{say.cancel}</LinkButton>
      </div>
    </form>
  );
}
