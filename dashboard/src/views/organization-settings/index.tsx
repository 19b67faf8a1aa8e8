"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useRouter } from "next/navigation";
import { useEffect, useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod/mini";
import { explain, told } from "@/api/errors";
import { toForm } from "@/api/forms";
import { useWatch } from "@/api/live/use-watch";
import { useDeleteOrganization, useRenameOrganization } from "@/api/mutations/organizations";
import { useOrganizationClusters } from "@/api/queries/clusters";
import { useOrganization } from "@/api/queries/organizations";
import { type Organization, Role } from "@/gen/supalove/v1/organization_pb";
import { mayAdminister } from "@/lib/roles";
import { paths, useSlug } from "@/lib/routes";
import {
  Button,
  Card,
  CardFoot,
  ConfirmByName,
  CopyField,
  ErrorState,
  Field,
  FormError,
  FormSection,
  Input,
  Page,
  Skeleton,
  toast,
} from "@/ui";
import { notEmpty, messages as say } from "./messages";

export function OrganizationSettingsPage() {
  const slug = useSlug();
  const organization = useOrganization(slug);
  useWatch({ case: "organization", value: slug });
  const { data } = organization;
  return (
    <Page narrow title={say.title} tab={`${say.title} · ${data?.name ?? slug}`} description={say.description}>
      {organization.error && !data ? (
        <ErrorState title={say.failed} error={organization.error} onRetry={() => void organization.refetch()} />
      ) : (
        <div>
          <FormSection title={say.general} description={say.generalWhat}>
            {data ? <General key={data.slug} organization={data} /> : <Skeleton className="h-48 w-full" />}
          </FormSection>
          <FormSection title={say.danger} description={say.dangerWhat}>
            {data ? <Danger organization={data} /> : <Skeleton className="h-24 w-full" />}
          </FormSection>
        </div>
      )}
    </Page>
  );
}

const schema = z.object({
  name: z.string().check(z.trim(), z.minLength(1, say.nameNone), z.maxLength(80, "At most 80 characters.")),
});

function General({ organization }: { organization: Organization }) {
  const may = mayAdminister(organization.role);
  const rename = useRenameOrganization();
  const [problem, setProblem] = useState("");
  const form = useForm({ resolver: zodResolver(schema), mode: "onTouched", defaultValues: { name: organization.name } });
  const { errors, isDirty } = form.formState;
  useEffect(() => {
    // Another member's change comes in as long as nothing is typed here.
    if (!isDirty) form.reset({ name: organization.name });
  }, [organization.name, isDirty, form]);
  const submit = form.handleSubmit(async ({ name }) => {
    setProblem("");
    try {
      await rename.mutateAsync({ slug: organization.slug, name });
      form.reset({ name });
      toast(say.saved(name));
    } catch (error) {
      setProblem(toForm(form, error));
    }
  });
  return (
    <form onSubmit={submit} noValidate>
      <Card>
        <div className="flex flex-col gap-5 p-4">
          <FormError>{problem}</FormError>
          <Field label={say.name} hint={say.nameHint} error={errors.name?.message}>
            <Input disabled={!may} autoComplete="organization" {...form.register("name")} />
          </Field>
          <div>
            <div className="mb-1.5 text-13 font-medium">{say.slug}</div>
            <CopyField value={organization.slug} what="address" />
            <p className="mt-1.5 text-12 text-ink-3">{say.slugHint}</p>
          </div>
        </div>
        <CardFoot>
          {may ? (
            <Button type="submit" look="primary" busy={rename.isPending} className="ml-auto">
              {say.save}
            </Button>
          ) : (
            say.readOnly
          )}
        </CardFoot>
      </Card>
    </form>
  );
}

function Danger({ organization }: { organization: Organization }) {
  const router = useRouter();
  const clusters = useOrganizationClusters(organization.slug);
  const remove = useDeleteOrganization();
  const [asks, setAsks] = useState(false);
  const [problem, setProblem] = useState("");
  const { name, slug, role, projectsUsed } = organization;
  const owner = role === Role.OWNER;
  const why = notEmpty(projectsUsed, clusters.data?.length ?? 0);
  return (
    <Card>
      <div className="flex flex-col gap-3 p-4">
        <FormError>{problem}</FormError>
        <div className="flex flex-wrap items-center gap-3 text-13 text-ink-2">
          <p className="min-w-0 flex-1 basis-60">{owner ? why || say.empty : say.ownersOnly}</p>
          {owner && !why && clusters.data && <Button onClick={() => setAsks(true)}>{say.delete}</Button>}
        </div>
      </div>
      <ConfirmByName
        open={asks}
        onClose={() => setAsks(false)}
        name={name}
        what="organization"
        title={say.deleteTitle(name)}
        description={say.deleteWhat(name)}
        action={say.deleteTitle(name)}
        busy={remove.isPending}
        onConfirm={() =>
          remove.mutate(slug, {
            onSuccess: () => {
              toast(say.deleted(name));
              router.push(paths.home);
            },
            onError: (error) => {
              setAsks(false);
              setProblem(told(explain(error)));
            },
          })
        }
      />
    </Card>
  );
}
